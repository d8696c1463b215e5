package upgrade

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/report/reporttest"
)

var update = flag.Bool("update", false, "write docs/upgrade.schema.json anew")

// schema is the JSON Schema of upgrade.json, from the Go types and their comments.
func schema(t *testing.T) []byte {
	t.Helper()
	t.Chdir("../..")
	r := &jsonschema.Reflector{Anonymous: true}
	if err := r.AddGoComments(strings.TrimSuffix(reflect.TypeFor[Report]().PkgPath(), "/framework/upgrade"), "framework/upgrade"); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Report{})
	s.Title = "upgrade.json of mesh-egress-conformance"
	for _, d := range s.Definitions {
		for _, name := range d.Required { // Go writes an empty list as null
			if p, ok := d.Properties.Get(name); ok && p.Type == "array" {
				list := *p
				list.Description = ""
				d.Properties.Set(name, &jsonschema.Schema{Description: p.Description, AnyOf: []*jsonschema.Schema{&list, {Type: "null"}}})
			}
		}
	}
	property := func(of, name string) *jsonschema.Schema {
		p, ok := s.Definitions[of].Properties.Get(name)
		if !ok {
			t.Fatalf("%s has no %s", of, name)
		}
		return p
	}
	property("Report", "schema").Const = Schema
	property("TimelineItem", "kind").Enum = []any{ItemPhase, ItemEvent, ItemDrop, ItemLeak}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	const file = "docs/upgrade.schema.json" // schema has changed the folder
	want := schema(t)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not that of the Go types (%v): go test ./framework/upgrade -run TestSchema -update", file, err)
	}
}

// valid demands that a report is written as its schema has it.
func valid(t *testing.T, r *Report) []byte {
	t.Helper()
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := reporttest.ValidateUpgrade(b); err != nil {
		t.Errorf("%v in\n%s", err, b)
	}
	return b
}

func TestReportsAreAsTheSchemaHasThem(t *testing.T) {
	full := record(stream("a", "http", 0, "..FF?"), stream("a", "evil", 0, "LL.."), stream("b", "http", 0, ".        ."))
	full.Sabotage, full.Faults, full.Moments = "open-policy", []string{"x"}, []Moment{{at(1), "y"}}
	full.Targets = append(full.Targets, Target{Name: "held", Held: true}, Target{Name: "gateway", Through: "gw"})
	full.Phases[0].Versions = []Version{{Pod: "a", Proxy: "1", Envoy: "2", Revision: "r", Istiod: "3"}}
	valid(t, Of(Record{}))
	good := string(valid(t, Of(full)))
	for what, replace := range map[string][2]string{
		"another schema":   {`upgrade/v1"`, `upgrade/v0"`},
		"an unknown field": {`"tookSeconds"`, `"unheardOf": 1, "tookSeconds"`},
		"an unknown kind":  {`"kind": "leak"`, `"kind": "flood"`},
		"a lacking count":  {`"leaks": 2,`, ``},
		"a number as text": {`"at": 0`, `"at": "0"`},
		"no time":          {`"started": "20`, `"started": "yesterday 20`},
		"another witness":  {`"client": `, `"bystander": `},
	} {
		spoiled := strings.Replace(good, replace[0], replace[1], 1)
		if spoiled == good {
			t.Errorf("%s: nothing was spoiled", what)
		}
		if reporttest.ValidateUpgrade([]byte(spoiled)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}
