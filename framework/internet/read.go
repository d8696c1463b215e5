package internet

import (
	"errors"
	"fmt"
	"net/netip"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// ReadHosts reads a hosts.yaml, which has the fields hosts and clientCertificates; file is its name for errors, which
// name the line too. Whether the hosts fit those that are there, and each other, says Hosts.Add, which also chooses
// addresses.
func ReadHosts(file string, b []byte) (*Hosts, error) { return readHosts(file, b, "dns") }

// HostsFrom reads lists of hosts and client certificates that stand in another file, such as a case; nil for none.
func HostsFrom(file string, hosts, clientCertificates *input.Node) (*Hosts, error) {
	var out Hosts
	if err := list(file, "hosts", hosts, func(n *input.Node) error {
		x := Host{at: fmt.Sprintf("%s:%d", file, n.Line)}
		err := fields(file, n, &x, "chosen", "guest")
		out.Hosts = append(out.Hosts, x)
		return err
	}); err != nil {
		return nil, err
	}
	if err := list(file, "clientCertificates", clientCertificates, func(n *input.Node) error {
		x := ClientCertificate{at: fmt.Sprintf("%s:%d", file, n.Line)}
		err := fields(file, n, &x)
		out.ClientCertificates = append(out.ClientCertificates, x)
		return err
	}); err != nil {
		return nil, err
	}
	return &out, nil
}

// fields reads a mapping into a struct; hidden fields do not exist for the file.
func fields(file string, n *input.Node, into any, hidden ...string) error {
	d := input.Decoder{File: file, Hidden: hidden}
	d.Value(n, into)
	return d.Found.Err()
}

// list reads each element of a list and gathers the mistakes in all of them.
func list(file, field string, n *input.Node, read func(*input.Node) error) error {
	if n == nil {
		return nil
	}
	if n.Kind != yamlv3.SequenceNode {
		return fmt.Errorf("%s:%d: %s must be a list, each element with a \"-\" before it", file, n.Line, field)
	}
	if len(n.Content) > maxHosts {
		return fmt.Errorf("%s:%d: %s has %d elements, at most %d are possible", file, n.Line, field, len(n.Content), maxHosts)
	}
	var errs []error
	for _, e := range n.Content {
		if err := read(e); err != nil {
			errs = append(errs, err)
		}
	}
	return enough(errs)
}

// maxMistakes is how many mistakes are named at once.
const maxMistakes = 50

// enough joins errors, not too many of them.
func enough(errs []error) error {
	if len(errs) > maxMistakes {
		errs = append(errs[:maxMistakes:maxMistakes], fmt.Errorf("and %d more mistakes", len(errs)-maxMistakes))
	}
	return errors.Join(errs...)
}

// readHosts reads a file whose fields are those of Hosts, without the hidden ones.
func readHosts(file string, b []byte, hidden ...string) (*Hosts, error) {
	docs, err := input.Documents(file, b)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: one document with the field hosts is expected, there are %d", file, len(docs))
	}
	var top struct {
		DNS                netip.Addr    `json:"dns"`
		Hosts              []yamlv3.Node `json:"hosts"`
		ClientCertificates []yamlv3.Node `json:"clientCertificates"`
	}
	doc := *docs[0]
	nodes := map[string]*input.Node{}
	if doc.Kind == yamlv3.MappingNode {
		var rest []*input.Node
		for i := 0; i+1 < len(doc.Content); i += 2 {
			switch name := doc.Content[i].Value; name {
			case "hosts", "clientCertificates":
				nodes[name] = doc.Content[i+1]
			default:
				rest = append(rest, doc.Content[i], doc.Content[i+1])
			}
		}
		doc.Content = rest
	}
	if err := fields(file, &doc, &top, hidden...); err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%s:%d: neither hosts nor clientCertificates is there", file, doc.Line)
	}
	out, err := HostsFrom(file, nodes["hosts"], nodes["clientCertificates"])
	if err != nil {
		return nil, err
	}
	out.DNS = top.DNS
	return out, nil
}
