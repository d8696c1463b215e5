package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"mesh-egress-conformance/framework/input"
)

// wrapped are messages that are written as a value of their own and not as a mapping.
var wrapped = map[protoreflect.FullName]protoreflect.Kind{
	"google.protobuf.Duration": protoreflect.StringKind, "google.protobuf.Timestamp": protoreflect.StringKind,
	"google.protobuf.StringValue": protoreflect.StringKind, "google.protobuf.BoolValue": protoreflect.BoolKind,
	"google.protobuf.DoubleValue": protoreflect.DoubleKind, "google.protobuf.FloatValue": protoreflect.FloatKind,
	"google.protobuf.Int32Value": protoreflect.Int32Kind, "google.protobuf.Int64Value": protoreflect.Int64Kind,
	"google.protobuf.UInt32Value": protoreflect.Uint32Kind, "google.protobuf.UInt64Value": protoreflect.Uint64Kind,
}

// shape notes a mistake where a field has another kind of value than the API says: the API server refuses such an object, in any
// version, and what was meant is not known.
func (e *editor) shape(key string, v *input.Node, f protoreflect.FieldDescriptor) {
	switch {
	case v.ShortTag() == "!!null": // as if it were not there
	case f.IsMap():
		if v.Kind != yamlv3.MappingNode {
			e.expect(v, "%s must be a mapping", key)
			return
		}
		for i := 0; i+1 < len(v.Content); i += 2 {
			e.one(key+"."+v.Content[i].Value, v.Content[i+1], f.MapValue())
		}
	case f.IsList():
		if v.Kind != yamlv3.SequenceNode {
			e.expect(v, "%s must be a list", key)
			return
		}
		for i, c := range v.Content {
			if c.ShortTag() == "!!null" { // an item cannot be left out by being empty
				e.expect(c, "%s[%d] must not be empty", key, i)
				continue
			}
			e.one(fmt.Sprintf("%s[%d]", key, i), c, f)
		}
	default:
		e.one(key, v, f)
	}
}

// one is shape for a single value.
func (e *editor) one(key string, v *input.Node, f protoreflect.FieldDescriptor) {
	kind := f.Kind()
	if m := f.Message(); m != nil {
		k, is := wrapped[m.FullName()]
		if !is {
			if m.FullName().Parent() != "google.protobuf" && v.Kind != yamlv3.MappingNode && v.ShortTag() != "!!null" {
				e.expect(v, "%s must be a mapping", key)
			}
			return
		}
		kind = k
	}
	tag := v.ShortTag()
	if v.Kind != yamlv3.ScalarNode {
		tag = "no scalar"
	}
	switch kind {
	case protoreflect.BoolKind:
		if tag != "!!bool" {
			e.expect(v, "%s must be true or false", key)
		}
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.EnumKind:
		if tag != "!!str" && tag != "!!timestamp" { // which JSON does not know
			e.expect(v, "%s must be text", key)
			return
		}
		e.spelled(key, v, f)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		if tag != "!!int" && tag != "!!float" {
			e.expect(v, "%s must be a number", key)
		}
	case protoreflect.MessageKind, protoreflect.GroupKind:
	default:
		if fits := whole(v.Value, kind); tag == "!!str" && fits { // which istiod took before there were schemas
			e.note(v, "%s is a number now, and was text", key)
			e.rebuilt = true
			v.SetString(v.Value)
			v.Tag, v.Style = "!!int", 0
		} else if tag != "!!int" {
			e.expect(v, "%s must be a whole number", key)
		} else if !fits {
			e.expect(v, "%s is %s, which is out of range", key, v.Value)
		}
	}
}

// spelled notes a mistake in text that only some words may be: the names of an enum, and durations.
func (e *editor) spelled(key string, v *input.Node, f protoreflect.FieldDescriptor) {
	switch {
	case f.Enum() != nil && f.Enum().Values().ByName(protoreflect.Name(v.Value)) == nil:
		var known []string
		for i := range f.Enum().Values().Len() {
			known = append(known, string(f.Enum().Values().Get(i).Name()))
		}
		e.expect(v, "%s %q is unknown; known: %s", key, v.Value, strings.Join(known, ", "))
	case f.Message() != nil && f.Message().FullName() == "google.protobuf.Duration":
		if _, err := time.ParseDuration(v.Value); err != nil { // as the API server reads it, and Istio: minutes and hours too
			e.expect(v, "%s %q is no duration, such as 10s or 1.5h", key, v.Value)
		}
	}
}

// whole says whether text is a whole number that a field of this kind can have.
func whole(text string, kind protoreflect.Kind) bool {
	text = strings.TrimPrefix(strings.ReplaceAll(text, "_", ""), "+") // as YAML has it
	var err error
	switch kind {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		_, err = strconv.ParseUint(text, 0, 32)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		_, err = strconv.ParseUint(text, 0, 64)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		_, err = strconv.ParseInt(text, 0, 64)
	default:
		_, err = strconv.ParseInt(text, 0, 32)
	}
	return err == nil
}

// expect keeps the first mistake of an object.
func (e *editor) expect(v *input.Node, format string, a ...any) {
	if e.wrong == nil {
		e.wrong = e.mistake(v, format, a...)
	}
}
