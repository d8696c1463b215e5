package casefile

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// HostsFile is the name of the file that describes hosts of one's own, in any folder.
const HostsFile = "hosts.yaml"

// Fields of a case file, and of a hosts.yaml, that describe hosts.
const (
	hostsField        = "hosts"
	certificatesField = "clientCertificates"
)

// Hosts reads the hosts and client certificates of all hosts.yaml files below a folder, and of its cases. Whether they fit
// together, and beside the built-in ones, says internet.Hosts.Add. Errors name file and line.
func Hosts(fsys fs.FS) (*internet.Hosts, error) {
	out := &internet.Hosts{}
	var mistakes []error
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" {
			return err
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		more, err := hostsOf(p, b)
		if err != nil {
			if mistakes = append(mistakes, err); len(mistakes) >= maxMistakes {
				return errors.New("there may be more mistakes: not all files were read")
			}
			return nil
		}
		out.Hosts = append(out.Hosts, more.Hosts...)
		out.ClientCertificates = append(out.ClientCertificates, more.ClientCertificates...)
		return nil
	})
	if err = errors.Join(append(mistakes, err)...); err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	return out, nil
}

// hostsOf reads the hosts of one file. Files that cannot be parsed have none: who reads their cases says what is wrong.
func hostsOf(p string, b []byte) (*internet.Hosts, error) {
	if path.Base(p) == HostsFile {
		return internet.ReadHosts(p, b)
	}
	none := &internet.Hosts{}
	docs, err := input.Documents(p, b)
	if err != nil || len(docs) == 0 {
		return none, nil //nolint:nilerr // said where the cases are read
	}
	_, hosts, certificates := takeHosts(docs[0])
	if hosts == nil && certificates == nil {
		return none, nil
	}
	return internet.HostsFrom(p, hosts, certificates)
}

// takeHosts takes the fields that describe hosts out of a case; what remains is the case, which knows none. Objects are
// left as they are.
func takeHosts(doc *input.Node) (rest, hosts, certificates *input.Node) {
	if doc.Kind != yamlv3.MappingNode || fieldOf(doc, "claim") == nil {
		return doc, nil, nil
	}
	x := *doc
	x.Content = nil
	for i := 0; i+1 < len(doc.Content); i += 2 {
		switch key, value := doc.Content[i], doc.Content[i+1]; key.Value {
		case hostsField:
			hosts = value
		case certificatesField:
			certificates = value
		default:
			x.Content = append(x.Content, key, value)
		}
	}
	return &x, hosts, certificates
}

func fieldOf(n *input.Node, name string) *input.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}
