package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/reporttest"
)

// schema is the JSON Schema of report.json, from the Go types and their comments.
func schema(t *testing.T) []byte {
	t.Helper()
	t.Chdir("../..")
	r := &jsonschema.Reflector{Anonymous: true, Mapper: asWritten}
	for _, dir := range []string{"framework/egress", "framework/report"} {
		if err := r.AddGoComments(strings.TrimSuffix(reflect.TypeFor[Report]().PkgPath(), "/framework/report"), dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(&Report{})
	s.Title = "report.json of mesh-egress-conformance"
	for name, d := range s.Definitions {
		nullable(d)
		if name == "Report" {
			if p, ok := d.Properties.Get("schema"); ok {
				p.Const = Schema
			}
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
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

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	const file = "docs/report.schema.json" // schema has changed the folder
	want := schema(t)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not that of the Go types (%v): go test ./framework/report -run TestSchema -update", file, err)
	}
}

// complete is a report in which as much as possible is set.
func complete() *Report {
	r := every()
	r.Shard = &Shard{Number: 1, Of: 2, Selection: "sha256:1", Cases: 9}
	r.Environment = Environment{
		Provider: "embedded", Deviations: []string{"x"}, Timings: map[string]float64{"ready": 1.5}, Foreign: []string{"ServiceEntry x"},
		Components: []Component{{Name: "etcd", Source: "build", Digest: "sha256:1"}},
	}
	from := egress.Applied
	c := &r.Cases[0].Case
	c.Needs, c.Labels, c.Setup = []egress.Feature{egress.Hermetic}, []string{"source"}, []egress.Object{{"kind": "ServiceEntry", "spec": map[string]any{"hosts": []any{"a"}}}}
	c.DNS = map[egress.Phase]map[string]string{egress.Changed: {"a.example": "NXDOMAIN"}}
	p := &c.Probes[0]
	p.ArrivesAt, p.Encrypted, p.Arrivals = egress.Always("b.example"), egress.ByPhase[bool]{egress.Applied: true}, egress.Always(2)
	p.Arrival, p.Counts = egress.Always(map[string]string{"sni": "a"}), egress.Always(map[string]int64{"tcp.x": 1})
	p.Hold = &egress.Hold{Pause: egress.Duration(90 * time.Second), From: &from}
	p.Spread = map[egress.Phase]egress.Spread{egress.Applied: {"a.example": {Min: 0.3, Max: 0.7}}}
	p.Overflow = map[egress.Phase]egress.Count{egress.Applied: {Min: 2, Max: 5}, egress.Before: {}}
	p.Wants[egress.Changed] = egress.OK | egress.Blocked
	o := &r.Cases[0].Phases[1].Probes[0].Observations[0]
	o.Hops, o.Counters, o.Arrivals[0].Extra = []egress.Hop{{Gateway: "a", Line: &egress.AccessLog{}}, {Gateway: "b"}}, map[string]int64{"tcp.x": 1}, map[string]string{"header a": "b"}
	r.Cases[0].Phases[1].Probes[0].Unexplained = []egress.Arrival{{Time: time.Now()}}
	return r
}

func TestReportsAreAsTheSchemaHasThem(t *testing.T) {
	for name, r := range map[string]*Report{
		"every verdict": every(), "complete": complete(), "hostile": hostile(), "differing": New(Environment{}, time.Now(), differing()), "empty": New(Environment{}, time.Now(), nil),
		"none": None(Environment{}, time.Now(), []egress.Case{every().Cases[0].Case}, errors.New("no room")),
	} {
		b, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := reporttest.Validate(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := complete().JSON()
	if err != nil {
		t.Fatal(err)
	}
	for what, replace := range map[string][2]string{
		"another schema":     {`report/v2"`, `report/v1"`},
		"an unknown field":   {`"tookSeconds"`, `"unheardOf": 1, "tookSeconds"`},
		"an unknown verdict": {`"verdict": "violates"`, `"verdict": "fine"`},
		"an unknown phase":   {`"phase": "applied"`, `"phase": "later"`},
		"a lacking count":    {`"violates": 1,`, ``},
		"a number as text":   {`"exitCode": 0`, `"exitCode": "0"`},
		"no time":            {`"started": "20`, `"started": "yesterday 20`},
	} {
		bad := strings.Replace(string(good), replace[0], replace[1], 1)
		if bad == string(good) {
			t.Errorf("%s: nothing was spoiled", what)
		}
		if reporttest.Validate([]byte(bad)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}
