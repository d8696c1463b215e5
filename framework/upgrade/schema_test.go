package upgrade

import (
	"flag"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/report/reporttest"
)

var update = flag.Bool("update", false, "write docs/upgrade.schema.json anew")

// schema is the JSON Schema of upgrade.json, from the Go types and their comments.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s := reporttest.Reflect(t, &Report{}, "framework/upgrade")
	s.Title = "upgrade.json of mesh-egress-conformance"
	reporttest.Property(t, s, "Report", "schema").Const = Schema
	reporttest.Property(t, s, "TimelineItem", "kind").Enum = []any{ItemPhase, ItemEvent, ItemDrop, ItemLeak}
	return s
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	reporttest.Published(t, "upgrade.schema.json", schema(t), *update)
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
