package check

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/input"
)

// meshConfig reads meshConfig and baseMeshConfig as Istio does, which refuses what it does not know.
func (c *checker) meshConfig(l *casefile.Loaded) {
	if !c.applies(l) {
		return
	}
	for _, field := range []string{"meshConfig", "baseMeshConfig"} {
		n := input.Value(l.Node, field)
		if n == nil || n.Kind != yamlv3.MappingNode {
			continue
		}
		for _, m := range strictProto(n, (&meshv1alpha1.MeshConfig{}).ProtoReflect().Type()) {
			c.mistake(input.Mistake{File: l.Case.File, Line: m.line, What: field + ": " + m.what}, "%s", m.remedy)
		}
	}
}

// protoMistake is something that a message type does not take.
type protoMistake struct {
	line         int
	what, remedy string
}

// strictProto compares a node with a message type field by field, so that each mistake has its line. Null removes what
// was there, and may stand anywhere.
func strictProto(n *input.Node, t protoreflect.MessageType) []protoMistake {
	return strictMessage(n, t.Descriptor(), "")
}

func strictMessage(n *input.Node, m protoreflect.MessageDescriptor, path string) []protoMistake {
	if n.Kind != yamlv3.MappingNode {
		return []protoMistake{{line: n.Line, what: fmt.Sprintf("%s takes fields: %s", path, list(fieldNames(m)))}}
	}
	var out []protoMistake
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		if path != "" {
			name = path + "." + name
		}
		f := m.Fields().ByJSONName(key.Value)
		if f == nil {
			f = m.Fields().ByName(protoreflect.Name(key.Value))
		}
		switch {
		case f == nil:
			out = append(out, protoMistake{key.Line, "Istio has no field " + name, choice(key.Value, fieldNames(m))})
		case value.ShortTag() == "!!null":
		case f.IsList() && opens(f.Message()) && value.Kind == yamlv3.SequenceNode:
			for j, e := range value.Content {
				out = append(out, strictMessage(e, f.Message(), fmt.Sprintf("%s[%d]", name, j))...)
			}
		case f.IsMap() && opens(f.MapValue().Message()) && value.Kind == yamlv3.MappingNode:
			for j := 0; j+1 < len(value.Content); j += 2 {
				out = append(out, strictMessage(value.Content[j+1], f.MapValue().Message(), name+"."+value.Content[j].Value)...)
			}
		case !f.IsList() && !f.IsMap() && opens(f.Message()):
			out = append(out, strictMessage(value, f.Message(), name)...)
		default:
			if what := strictValue(m, key.Value, value); what != "" {
				out = append(out, protoMistake{line: value.Line, what: name + ": " + what})
			}
		}
	}
	return out
}

// opens says whether a message has fields of its own to look at: the well-known types have a JSON form of their own.
func opens(m protoreflect.MessageDescriptor) bool {
	return m != nil && m.ParentFile().Package() != "google.protobuf"
}

func fieldNames(m protoreflect.MessageDescriptor) []string {
	var out []string
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); !deprecated(f) {
			out = append(out, f.JSONName())
		}
	}
	slices.Sort(out)
	return out
}

func deprecated(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(interface{ GetDeprecated() bool })
	return ok && o.GetDeprecated()
}

// protoErrorRE is what protojson says before the matter itself; it varies its spaces on purpose.
var protoErrorRE = regexp.MustCompile(`^proto:[\s\x{a0}]*(\(line \d+:\d+\):[\s\x{a0}]*)?`)

// strictValue reads one field as protojson does and says what is wrong with its value; "" for nothing.
func strictValue(m protoreflect.MessageDescriptor, key string, value *input.Node) string {
	var v any
	if err := input.Decode(value, &v); err != nil {
		return err.Error()
	}
	b, err := json.Marshal(map[string]any{key: v})
	if err != nil {
		return err.Error()
	}
	if err := protojson.Unmarshal(b, dynamicpb.NewMessage(m)); err != nil {
		return protoErrorRE.ReplaceAllString(err.Error(), "")
	}
	return ""
}
