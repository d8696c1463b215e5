// Package casefile reads cases and clients from YAML: the built-in ones and those that a mesh team
// keeps in a folder of its own.
//
// A case file holds one case, and after it, as further documents, the Kubernetes objects that the
// case applies. Its area is its folder's name and its own name is area-file unless it says otherwise.
package casefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// ClientsFile is the name of the file that describes clients, in any folder.
const ClientsFile = "clients.yaml"

// Load reads every case below a folder, sorted by name, and the clients of its clients.yaml files.
// Errors name file and line; all files are looked at, so that one run finds all mistakes.
func Load(fsys fs.FS) ([]egress.Case, []egress.Client, error) {
	var cases []egress.Case
	var clients []egress.Client
	var all error
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" {
			return err
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		if path.Base(p) == ClientsFile {
			more, err := ParseClients(p, b)
			clients, all = append(clients, more...), errors.Join(all, err)
			return nil
		}
		c, err := Parse(p, b)
		if err != nil {
			all = errors.Join(all, err)
			return nil
		}
		cases = append(cases, c)
		return nil
	})
	if err = errors.Join(all, err); err != nil {
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
	docs, err := documents(file, b)
	if err != nil {
		return egress.Case{}, err
	}
	var c egress.Case
	if err := decode(file, docs[0], &c); err != nil {
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
		if err := convert(d, &o); err != nil {
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
	docs, err := documents(file, b)
	if err != nil {
		return nil, err
	}
	var out []egress.Client
	if docs[0].Kind != yamlv3.SequenceNode {
		return nil, fmt.Errorf("%s:%d: a list of clients is expected", file, docs[0].Line)
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

func documents(file string, b []byte) ([]*yamlv3.Node, error) {
	dec := yamlv3.NewDecoder(bytes.NewReader(b))
	var out []*yamlv3.Node
	for {
		var n yamlv3.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(n.Content) > 0 && n.Content[0].Tag != "!!null" {
			out = append(out, n.Content[0])
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", file)
	}
	return out, nil
}

// decode turns a node into a struct by its JSON field names. It goes down one level of lists of
// structs, so that an error has the line of the element.
func decode(file string, n *yamlv3.Node, into any) error {
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
		if err := convert(value, f.Addr().Interface()); err != nil {
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

// convert goes through JSON, whose rules for types are the ones of Kubernetes.
func convert(n *yamlv3.Node, into any) error {
	b, err := yamlv3.Marshal(n)
	if err != nil {
		return err
	}
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
