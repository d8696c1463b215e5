// Package casefile reads cases and clients from YAML: the built-in ones and those that a mesh team
// keeps in a folder of its own.
//
// A case file holds one case, and after it, as further documents, the Kubernetes objects that the
// case applies. Its area is its folder's name and its own name is area-file unless it says otherwise.
package casefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// ClientsFile is the name of the file that describes clients, in any folder.
const ClientsFile = "clients.yaml"

// maxMistakes is how many wrong files are enough for one run.
const maxMistakes = 50

// Load reads every case below a folder, sorted by name, and the clients of its clients.yaml files.
// Errors name file and line; all files are looked at, so that one run finds all mistakes, unless there are very many, or more
// files than one folder may have (input.MaxDocuments, input.MaxFolder).
func Load(fsys fs.FS) ([]egress.Case, []egress.Client, error) {
	var cases []egress.Case
	var clients []egress.Client
	var mistakes []error
	var documents, size int
	note := func(err error) error {
		if err != nil {
			mistakes = append(mistakes, err)
		}
		if len(mistakes) >= maxMistakes {
			return errors.New("there may be more mistakes: not all files were read")
		}
		return nil
	}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" {
			return err
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return note(err)
		}
		if size += len(b); size > input.MaxFolder {
			return fmt.Errorf("%s: the YAML files up to this one are longer than %d MiB together", p, input.MaxFolder>>20)
		}
		docs, err := nonEmpty(p, b)
		if err != nil {
			return note(err)
		}
		if documents += len(docs); documents > input.MaxDocuments {
			return fmt.Errorf("%s: the YAML files up to this one have more than %d documents together", p, input.MaxDocuments)
		}
		if path.Base(p) == HostsFile { // read by Hosts
			return nil
		}
		if path.Base(p) == ClientsFile {
			more, err := parseClients(p, docs)
			clients = append(clients, more...)
			return note(err)
		}
		c, err := parse(p, docs)
		if err != nil {
			return note(err)
		}
		cases = append(cases, c)
		return nil
	})
	if err = errors.Join(append(mistakes, err)...); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(cases, func(a, b egress.Case) int { return strings.Compare(a.Name, b.Name) })
	return cases, clients, nil
}

// Text is all that a case says, its fixtures included, for those who look for names and addresses in it.
func Text(c egress.Case, fixtures fs.FS) (string, error) {
	b, err := json.Marshal(c)
	for _, f := range c.Fixtures {
		if err != nil {
			break
		}
		var more []byte
		more, err = fs.ReadFile(fixtures, f)
		b = append(b, more...)
	}
	return string(b), err
}

// Parse reads one case file; file is its name, for errors and defaults.
func Parse(file string, b []byte) (egress.Case, error) {
	docs, err := nonEmpty(file, b)
	if err != nil {
		return egress.Case{}, err
	}
	return parse(file, docs)
}

func parse(file string, docs []*input.Node) (egress.Case, error) {
	var c egress.Case
	doc, _, _ := takeHosts(docs[0])
	if err := decode(file, doc, &c); err != nil {
		return c, err
	}
	c.File = file
	if c.Area == "" {
		c.Area = path.Base(path.Dir(file))
	}
	if c.Name == "" {
		c.Name = c.Area + "-" + strings.TrimSuffix(path.Base(file), ".yaml")
	}
	for i := range c.Probes {
		if c.Probes[i].From == "" {
			c.Probes[i].From = "client"
		}
	}
	for _, d := range docs[1:] {
		var o egress.Object
		if err := input.Decode(d, &o); err != nil {
			return c, fmt.Errorf("%s:%d: %w", file, d.Line, err)
		}
		if o["kind"] == nil || o["apiVersion"] == nil {
			return c, fmt.Errorf("%s:%d: every document after the case must be a Kubernetes object with apiVersion and kind", file, d.Line)
		}
		c.Objects = append(c.Objects, o)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("%s:%d: %w", file, docs[0].Line, err)
	}
	return c, nil
}

// ParseClients reads a list of clients.
func ParseClients(file string, b []byte) ([]egress.Client, error) {
	docs, err := nonEmpty(file, b)
	if err != nil {
		return nil, err
	}
	return parseClients(file, docs)
}

func parseClients(file string, docs []*input.Node) ([]egress.Client, error) {
	var out []egress.Client
	if docs[0].Kind != yamlv3.SequenceNode || len(docs) > 1 {
		return nil, fmt.Errorf("%s:%d: one list of clients is expected", file, docs[0].Line)
	}
	for _, n := range docs[0].Content {
		var c egress.Client
		err := decode(file, n, &c)
		c.Default()
		if err = errors.Join(err, c.Check()); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n.Line, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func nonEmpty(file string, b []byte) ([]*input.Node, error) {
	docs, err := input.Documents(file, b)
	if err == nil && len(docs) == 0 {
		err = fmt.Errorf("%s: the file is empty", file)
	}
	return docs, err
}

// decode turns a node into a struct by its JSON field names. It goes down one level of lists of
// structs, so that an error has the line of the element.
func decode(file string, n *input.Node, into any) error {
	v := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "-" {
			fields[name] = v.Field(i)
		}
	}
	if n.Kind != yamlv3.MappingNode {
		return fmt.Errorf("%s:%d: fields are expected: %s", file, n.Line, known(fields))
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f, ok := fields[key.Value]
		if !ok {
			return fmt.Errorf("%s:%d: field %q is unknown; allowed: %s", file, key.Line, key.Value, known(fields))
		}
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && value.Kind == yamlv3.SequenceNode {
			for _, e := range value.Content {
				x := reflect.New(f.Type().Elem())
				if err := decode(file, e, x.Interface()); err != nil {
					return err
				}
				f.Set(reflect.Append(f, x.Elem()))
			}
			continue
		}
		if err := input.Decode(value, f.Addr().Interface()); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", file, value.Line, key.Value, err)
		}
	}
	return nil
}

func known(fields map[string]reflect.Value) string {
	var out []string
	for n := range fields {
		out = append(out, n)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
