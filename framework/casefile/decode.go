package casefile

import (
	"reflect"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// decoderOf decodes what stands in a file of cases. also are fields of its documents that are read elsewhere.
func decoderOf(file string, also ...string) *input.Decoder {
	return &input.Decoder{File: file, Also: also, Special: byPhase, Former: former}
}

// former are fields that cases had once.
var former = map[string]string{
	"exclusive": "leave it out: what may run beside a case is derived from its objects",
	"ground":    "baseMeshConfig",
	"hits":      "arrivals",
	"lands":     "arrivesAt",
	"logs":      "accessLog",
	"mesh":      "meshConfig",
	"seen":      "observed",
	"sees":      "arrival",
	"steady":    "sameOutput",
}

// byPhase takes one value for all phases, or a map by phase, as egress.ByPhase does, with the line of what is wrong.
func byPhase(d *input.Decoder, n *input.Node, field string, v reflect.Value) bool {
	if v.Kind() != reflect.Map || v.Type().Key() != reflect.TypeFor[egress.Phase]() {
		return false
	}
	elem := v.Type().Elem()
	if named(n, func(key, value *input.Node) bool {
		var ph egress.Phase
		return ph.UnmarshalText([]byte(key.Value)) == nil || elem.Kind() != reflect.Map || value.Kind == yamlv3.MappingNode
	}) {
		d.Entries(n, field, v)
		return true
	}
	x := reflect.New(elem).Elem()
	d.Into(n, field, x)
	v.Set(reflect.MakeMap(v.Type()))
	for _, ph := range egress.Phases() {
		v.SetMapIndex(reflect.ValueOf(ph), x)
	}
	return true
}

// named says whether a node is a mapping with a key of some kind.
func named(n *input.Node, is func(key, value *input.Node) bool) bool {
	if n.Kind != yamlv3.MappingNode {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if is(n.Content[i], n.Content[i+1]) {
			return true
		}
	}
	return false
}
