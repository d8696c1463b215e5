package casefile

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// decoder turns nodes into values by their JSON field names, and notes every mistake with the line of what is wrong.
type decoder struct {
	file  string
	also  []string // fields of the document that are read elsewhere
	found input.Mistakes
}

func (d *decoder) mistake(n *input.Node, what, remedy string) {
	d.found = append(d.found, input.Mistake{File: d.file, Line: n.Line, What: what, Remedy: remedy})
}

// value decodes a node into what a pointer points at.
func (d *decoder) value(n *input.Node, into any) { d.into(n, "", reflect.ValueOf(into).Elem()) }

// into goes down structs, lists and maps; whatever decodes itself, and Kubernetes objects, are taken as a whole.
func (d *decoder) into(n *input.Node, field string, v reflect.Value) {
	switch {
	case byPhase(v) && d.phases(n, field, v):
	case decodesItself(v):
		d.whole(n, field, v)
	case v.Kind() == reflect.Struct:
		d.fields(n, field, v)
	case v.Kind() == reflect.Slice && n.Kind == yamlv3.SequenceNode:
		for _, e := range n.Content {
			x := reflect.New(v.Type().Elem()).Elem()
			d.into(e, field, x)
			v.Set(reflect.Append(v, x))
		}
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() != reflect.Interface && n.Kind == yamlv3.MappingNode:
		d.entries(n, field, v)
	default:
		d.whole(n, field, v)
	}
}

// byPhase says whether a value is an egress.ByPhase.
func byPhase(v reflect.Value) bool {
	return v.Kind() == reflect.Map && v.Type().Key() == reflect.TypeFor[egress.Phase]()
}

// phases decodes what an egress.ByPhase reads, value by value, so that a mistake has the line and the words of the value. It
// says false where phases and others are mixed, which the type itself explains.
func (d *decoder) phases(n *input.Node, field string, v reflect.Value) bool {
	named := 0
	if n.Kind == yamlv3.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if new(egress.Phase).UnmarshalText([]byte(n.Content[i].Value)) == nil {
				named++
			}
		}
		if named > 0 && named < len(n.Content)/2 {
			return false
		}
	}
	if named > 0 {
		d.entries(n, field, v)
		return true
	}
	x := reflect.New(v.Type().Elem()).Elem()
	if n.Kind == yamlv3.MappingNode && (x.Kind() != reflect.Map || slices.ContainsFunc(n.Content, func(c *input.Node) bool { return c.Kind == yamlv3.MappingNode })) {
		return false // misspelled phases, which the type itself explains
	}
	d.into(n, field, x)
	v.Set(reflect.MakeMap(v.Type()))
	for _, ph := range egress.Phases() {
		v.SetMapIndex(reflect.ValueOf(ph), x)
	}
	return true
}

func decodesItself(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case json.Unmarshaler, encoding.TextUnmarshaler:
		return true
	}
	return false
}

func (d *decoder) whole(n *input.Node, field string, v reflect.Value) {
	in := ""
	if field != "" {
		in = field + ": "
	}
	if v.Kind() == reflect.String && n.Kind == yamlv3.ScalarNode && n.ShortTag() != "!!str" && !decodesItself(v) {
		d.mistake(n, fmt.Sprintf("%stext is expected, and YAML reads %s as something else", in, n.Value), fmt.Sprintf("quote it: %q", n.Value))
		return
	}
	if err := input.Decode(n, v.Addr().Interface()); err != nil {
		d.mistake(n, in+err.Error(), "")
	}
}

func (d *decoder) entries(n *input.Node, field string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := reflect.New(v.Type().Key()).Elem()
		if t, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
			if err := t.UnmarshalText([]byte(n.Content[i].Value)); err != nil {
				d.mistake(n.Content[i], field+": "+err.Error(), "")
				continue
			}
		} else {
			key.SetString(n.Content[i].Value)
		}
		x := reflect.New(v.Type().Elem()).Elem()
		d.into(n.Content[i+1], field, x)
		v.SetMapIndex(key, x)
	}
}

func (d *decoder) fields(n *input.Node, field string, v reflect.Value) {
	known := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "-" {
			known[name] = v.Field(i)
		}
	}
	names := slices.Collect(maps.Keys(known))
	if field == "" {
		names = append(names, d.also...)
	}
	slices.Sort(names)
	if n.Kind != yamlv3.MappingNode {
		d.mistake(n, strings.TrimPrefix(field+": fields are expected: ", ": ")+strings.Join(names, ", "), "")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f, ok := known[key.Value]
		if !ok && slices.Contains(names, key.Value) {
			continue
		}
		if !ok {
			remedy := "allowed: " + strings.Join(names, ", ")
			if near := input.Near(key.Value, names); near != "" {
				remedy = fmt.Sprintf("did you mean %s? %s", near, remedy)
			}
			d.mistake(key, fmt.Sprintf("field %q is unknown", key.Value), remedy)
			continue
		}
		if value.ShortTag() == "!!null" { // a field without a value is left as it is
			continue
		}
		d.into(value, key.Value, f)
	}
}
