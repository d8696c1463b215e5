package input

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// DecodeFields turns a mapping into a struct by its JSON field names. It goes down lists of structs, so that an error has
// the line of the field that is wrong, and what is allowed there. Fields that are named in hidden do not exist for the
// file.
func DecodeFields(file string, n *Node, into any, hidden ...string) error {
	v := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" && !slices.Contains(hidden, name) {
			fields[name] = v.Field(i)
		}
	}
	if n.Kind != yamlv3.MappingNode {
		return fmt.Errorf("%s:%d: fields are expected: %s", file, n.Line, allowed(fields))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f, ok := fields[key.Value]
		if !ok {
			return fmt.Errorf("%s:%d: field %q is unknown; allowed: %s", file, key.Line, key.Value, allowed(fields))
		}
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && value.Kind == yamlv3.SequenceNode && !custom(f) {
			for _, e := range value.Content {
				x := reflect.New(f.Type().Elem())
				if err := DecodeFields(file, e, x.Interface(), hidden...); err != nil {
					return err
				}
				f.Set(reflect.Append(f, x.Elem()))
			}
			continue
		}
		if err := Decode(value, f.Addr().Interface()); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", file, value.Line, key.Value, err)
		}
	}
	return nil
}

// custom says that a type reads itself.
func custom(f reflect.Value) bool {
	_, is := f.Addr().Interface().(interface{ UnmarshalJSON([]byte) error })
	return is
}

func allowed(fields map[string]reflect.Value) string {
	var out []string
	for n := range fields {
		out = append(out, n)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
