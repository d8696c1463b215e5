package migrate

import (
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networkingv1 "istio.io/api/networking/v1"

	"mesh-egress-conformance/framework/input"
)

// kinds of networking.istio.io/v1. EnvoyFilter and ProxyConfig are not among them: v1alpha3 and v1beta1 are their
// current versions.
var kinds = map[string]proto.Message{
	"DestinationRule": &networkingv1.DestinationRule{},
	"Gateway":         &networkingv1.Gateway{},
	"ServiceEntry":    &networkingv1.ServiceEntry{},
	"Sidecar":         &networkingv1.Sidecar{},
	"VirtualService":  &networkingv1.VirtualService{},
	"WorkloadEntry":   &networkingv1.WorkloadEntry{},
	"WorkloadGroup":   &networkingv1.WorkloadGroup{},
}

// networking migrates an object of Istio 0.7 and later, whose fields are those of today but for a few.
func (e *editor) networking(n *input.Node, kind string) error {
	spec := input.Value(n, "spec")
	before, rebuilt := len(e.words), e.rebuilt
	if kind == "ExternalService" {
		if spec == nil || spec.Kind != yamlv3.MappingNode {
			return e.mistake(n, "spec must be set")
		}
		if err := e.externalService(spec); err != nil {
			return err
		}
		kind = "ServiceEntry"
	}
	message, ok := kinds[kind]
	if !ok {
		return nil
	}
	e.replace(input.Value(n, "apiVersion"), current)
	e.replace(input.Value(n, "kind"), kind)
	if spec != nil && spec.ShortTag() != "!!null" {
		if spec.Kind != yamlv3.MappingNode {
			return e.mistake(spec, "spec must be a mapping")
		}
		if kind == "DestinationRule" && index(spec, "host") < 0 { // its name before 0.8
			e.rename(spec, "name", "host")
		}
		if err := e.checked(spec, message); err != nil {
			return err
		}
	}
	if len(e.words) > before || e.rebuilt && !rebuilt {
		e.res.Changed++
	}
	return nil
}

// checked migrates the fields of a spec, and returns the first value that its field cannot have.
func (e *editor) checked(spec *input.Node, message proto.Message) error {
	e.wrong = nil
	e.fields(spec, message.ProtoReflect().Descriptor())
	return e.wrong
}

// fields migrates the fields of a message and of all below it.
func (e *editor) fields(m *input.Node, d protoreflect.MessageDescriptor) {
	if m.Kind != yamlv3.MappingNode || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return
	}
	for i := 0; i+1 < len(m.Content); {
		key, value := m.Content[i], m.Content[i+1]
		f := d.Fields().ByJSONName(key.Value)
		if f == nil {
			if f = d.Fields().ByTextName(key.Value); f != nil { // the API server takes the other spelling alone
				e.rename(m, key.Value, f.JSONName())
			}
		}
		if i >= len(m.Content) || m.Content[i] != key {
			continue // both spellings were there
		}
		step := successors[message(d)+"."+snake(key.Value)]
		switch {
		case step != nil && step(e, m, key, value):
		case f != nil:
			e.shape(key.Value, value, f)
			e.value(value, f)
		case reserved(d, key.Value):
			e.note(key, "%s was removed from the API and has no successor, so it is left out", key.Value)
			e.remove(m, key.Value)
		default:
			e.note(key, "%s is no field of %s; it is left as it is", key.Value, message(d))
		}
		if i < len(m.Content) && m.Content[i] == key { // unless it was removed
			i += 2
		}
	}
}

// value migrates what a field has, if that is a message, or several.
func (e *editor) value(v *input.Node, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		if f.MapValue().Message() != nil && v.Kind == yamlv3.MappingNode {
			for i := 1; i < len(v.Content); i += 2 {
				e.fields(v.Content[i], f.MapValue().Message())
			}
		}
	case f.Enum() != nil && f.Enum().Name() == "SimpleLB" && v.Value == "LEAST_CONN":
		e.note(v, "LEAST_CONN is LEAST_REQUEST now, which does the same")
		e.replace(v, "LEAST_REQUEST")
	case f.Message() == nil:
	case v.Kind == yamlv3.SequenceNode:
		for _, c := range v.Content {
			e.fields(c, f.Message())
		}
	default:
		e.fields(v, f.Message())
	}
}

// reserved says whether a field of that name, in either spelling, has existed once.
func reserved(d protoreflect.MessageDescriptor, key string) bool {
	return d.ReservedNames().Has(protoreflect.Name(snake(key)))
}

// message is the name of a message without its package, such as HTTPFaultInjection.Delay.
func message(d protoreflect.MessageDescriptor) string {
	return strings.TrimPrefix(string(d.FullName()), string(d.ParentFile().Package())+".")
}

// snake is the name of a field in protobuf's own spelling.
func snake(key string) string {
	var out strings.Builder
	for _, r := range key {
		if 'A' <= r && r <= 'Z' {
			out.WriteByte('_')
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}
