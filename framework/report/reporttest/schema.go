package reporttest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/egress"
)

// root is the folder of the module, from the folder of any package in framework/NAME.
const root = "../.."

// Reflect is the JSON Schema of a report's type, with the comments of the Go types in these folders. The test is of a package in
// framework/NAME.
func Reflect(t *testing.T, value any, folders ...string) *jsonschema.Schema {
	t.Helper()
	module := strings.TrimSuffix(reflect.TypeFor[egress.Case]().PkgPath(), "/framework/egress")
	r := &jsonschema.Reflector{Anonymous: true, Mapper: asWritten}
	t.Chdir(root) // comments are found by the path of the folder, which must be the package's
	for _, f := range folders {
		if err := r.AddGoComments(module, f); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(value)
	for _, d := range s.Definitions {
		nullable(d)
	}
	return s
}

// Property is a field of one of the schema's types.
func Property(t *testing.T, s *jsonschema.Schema, of, name string) *jsonschema.Schema {
	t.Helper()
	d := s.Definitions[of]
	if d == nil {
		t.Fatalf("the schema has no type %s", of)
	}
	p, ok := d.Properties.Get(name)
	if !ok {
		t.Fatalf("%s has no %s", of, name)
	}
	return p
}

// Published demands that a file in the folder docs is this schema, after Reflect; update writes it.
func Published(t *testing.T, file string, s *jsonschema.Schema, update bool) {
	t.Helper()
	want, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	file = filepath.Join("docs", file)
	if update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not that of the Go types (%v): run this test with -update", file, err)
	}
}

// asWritten is the schema of types that are not written as their kind says; nil for all others.
func asWritten(t reflect.Type) *jsonschema.Schema {
	text := func(pattern, description string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern, Description: description}
	}
	switch t {
	case reflect.TypeFor[egress.Outcome]():
		return text(outcomeText, "An outcome, several joined by |, the class blocked or reached, or none.")
	case reflect.TypeFor[egress.Wants]():
		return text(`^\S+( \S+){0,3}$`, "Wanted outcomes: one for all phases, or those of before, applied and removed, or of all four phases.")
	case reflect.TypeFor[egress.Phase]():
		return &jsonschema.Schema{Type: "string", Enum: phaseNames()}
	case reflect.TypeFor[egress.Verdict]():
		return &jsonschema.Schema{Type: "string", Enum: []any{string(egress.Conforms), string(egress.Violates), string(egress.Inconclusive), string(egress.Skipped), string(egress.NotApplicable)}}
	case reflect.TypeFor[egress.Duration]():
		return text(`^-?[0-9][0-9a-zµ.]*$`, "A duration as Go writes it, such as 1m30s.")
	case reflect.TypeFor[egress.Share]():
		return text(`%`, "A share of attempts, such as 30%, >=30% or 30%..70%.")
	case reflect.TypeFor[egress.Count]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer"}, text(`^\d+\.\.\d+$`, "")}, Description: "A number, or a range such as 2..5."}
	}
	if t.Kind() == reflect.Map && t.Key() == reflect.TypeFor[egress.Phase]() {
		byPhase := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
		for _, ph := range egress.Phases() {
			value := (&jsonschema.Reflector{Anonymous: true, DoNotReference: true, Mapper: asWritten}).ReflectFromType(t.Elem())
			value.Version = ""
			byPhase.Properties.Set(ph.String(), value)
		}
		return byPhase
	}
	return nil
}

const outcomeText = `^([0-9A-Z]+|blocked|reached|none)?(\|[0-9A-Z]+)*$`

func phaseNames() []any {
	var out []any
	for _, ph := range egress.Phases() {
		out = append(out, ph.String())
	}
	return out
}

// nullable lets lists that are always written be null, as Go writes an empty one.
func nullable(s *jsonschema.Schema) {
	for _, name := range s.Required {
		if p, ok := s.Properties.Get(name); ok && p.Type == "array" {
			list := *p
			list.Description = ""
			s.Properties.Set(name, &jsonschema.Schema{Description: p.Description, AnyOf: []*jsonschema.Schema{&list, {Type: "null"}}})
		}
	}
}
