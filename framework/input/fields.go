package input

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Decoder turns nodes into values by their JSON field names, and notes every mistake with the line of what is wrong.
type Decoder struct {
	File   string
	Also   []string // fields of the outermost mapping that are read elsewhere
	Hidden []string // fields of Go structs that do not exist for the file
	// Former are fields that there were once, with what to do now: the name of another field, or a sentence. A name is said
	// only where there is such a field.
	Former map[string]string
	// Special decodes values that are written in a way of their own, and says whether it has; nil for none.
	Special func(d *Decoder, n *Node, field string, v reflect.Value) bool
	Found   Mistakes
}

// Mistake notes something that is wrong, at a node.
func (d *Decoder) Mistake(n *Node, what, remedy string) {
	d.Found = append(d.Found, Mistake{File: d.File, Line: n.Line, What: what, Remedy: remedy})
}

// Value decodes a node into what a pointer points at.
func (d *Decoder) Value(n *Node, into any) { d.Into(n, "", reflect.ValueOf(into).Elem()) }

// Into decodes the value of a field, "" for that of no field. It goes down structs, lists and maps; whatever decodes
// itself, and maps of anything such as Kubernetes objects, are taken as a whole.
func (d *Decoder) Into(n *Node, field string, v reflect.Value) {
	switch {
	case d.Special != nil && d.Special(d, n, field, v):
	case decodesItself(v):
		d.whole(n, field, v)
	case v.Kind() == reflect.Struct:
		d.fields(n, field, v)
	case v.Kind() == reflect.Slice && n.Kind == yamlv3.SequenceNode:
		for _, e := range n.Content {
			x := reflect.New(v.Type().Elem()).Elem()
			d.Into(e, field, x)
			v.Set(reflect.Append(v, x))
		}
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() != reflect.Interface && n.Kind == yamlv3.MappingNode:
		d.Entries(n, field, v)
	default:
		d.whole(n, field, v)
	}
}

func decodesItself(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case json.Unmarshaler, encoding.TextUnmarshaler:
		return true
	}
	return false
}

func (d *Decoder) whole(n *Node, field string, v reflect.Value) {
	in := ""
	if field != "" {
		in = field + ": "
	}
	if v.Kind() == reflect.String && n.Kind == yamlv3.ScalarNode && n.ShortTag() != "!!str" && !decodesItself(v) {
		d.Mistake(n, fmt.Sprintf("%stext is expected, and YAML reads %s as something else", in, n.Value), fmt.Sprintf("quote it: %q", n.Value))
		return
	}
	if err := Decode(n, v.Addr().Interface()); err != nil {
		d.Mistake(n, in+err.Error(), "")
	}
}

// Entries decodes a mapping into a map with keys of text.
func (d *Decoder) Entries(n *Node, field string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := reflect.New(v.Type().Key()).Elem()
		if t, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
			if err := t.UnmarshalText([]byte(n.Content[i].Value)); err != nil {
				d.Mistake(n.Content[i], field+": "+err.Error(), "")
				continue
			}
		} else {
			key.SetString(n.Content[i].Value)
		}
		x := reflect.New(v.Type().Elem()).Elem()
		d.Into(n.Content[i+1], field, x)
		v.SetMapIndex(key, x)
	}
}

func (d *Decoder) fields(n *Node, field string, v reflect.Value) {
	known := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "" && name != "-" && !slices.Contains(d.Hidden, name) {
			known[name] = v.Field(i)
		}
	}
	names := slices.Collect(maps.Keys(known))
	if field == "" {
		names = append(names, d.Also...)
	}
	slices.Sort(names)
	if n.Kind != yamlv3.MappingNode {
		d.Mistake(n, strings.TrimPrefix(field+": fields are expected: ", ": ")+strings.Join(names, ", "), "")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f, ok := known[key.Value]
		if !ok && slices.Contains(names, key.Value) {
			continue
		}
		if !ok {
			d.Mistake(key, fmt.Sprintf("field %q is unknown", key.Value), d.instead(key.Value, names))
			continue
		}
		if value.ShortTag() == "!!null" { // a field without a value is left as it is
			continue
		}
		d.Into(value, key.Value, f)
	}
}

// instead says what to write in place of a field that is none of those known.
func (d *Decoder) instead(field string, known []string) string {
	remedy := "allowed: " + strings.Join(known, ", ")
	now, former := d.Former[field]
	switch near := Near(field, known); {
	case former && slices.Contains(known, now):
		return fmt.Sprintf("it is called %s now", now)
	case former && strings.Contains(now, " "):
		return now
	case near != "":
		return fmt.Sprintf("did you mean %s? %s", near, remedy)
	}
	return remedy
}
