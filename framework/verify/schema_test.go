package verify

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/report/reporttest"
	"mesh-egress-conformance/framework/why"
)

var update = flag.Bool("update", false, "write docs/verify.schema.json anew")

// closed are the types that have a closed set of words, and these.
var closed = map[reflect.Type][]any{
	reflect.TypeFor[State]():         {Allowed, Led, Blocked, Fails, Unproven},
	reflect.TypeFor[QuestionKind]():  {Named.Word(), Addressed.Word(), Neighbour.Word(), Lie.Word(), Strange.Word()},
	reflect.TypeFor[DeviationKind](): {Leak, Outage, Detour},
	reflect.TypeFor[ChangeKind]():    {Opens, Closes, Redirects, Unclear},
}

// asWritten is the schema of types that are not written as their kind says; nil for all others.
func asWritten(t reflect.Type) *jsonschema.Schema {
	if words, ok := closed[t]; ok {
		return &jsonschema.Schema{Type: "string", Enum: words}
	}
	if t == reflect.TypeFor[egress.Outcome]() {
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9A-Z]+(\|[0-9A-Z]+)*)?$`, Description: "An outcome, or several joined by |; empty where nothing is proven."}
	}
	return nil
}

// schema is the JSON Schema of verify.json, from the Go types and their comments.
func schema(t *testing.T) []byte {
	t.Helper()
	t.Chdir("../..")
	r := &jsonschema.Reflector{Anonymous: true, Mapper: asWritten}
	for _, x := range []reflect.Type{reflect.TypeFor[Report](), reflect.TypeFor[input.Mistake](), reflect.TypeFor[why.Reason]()} {
		module, dir, _ := strings.Cut(x.PkgPath(), "/")
		if err := r.AddGoComments(module, dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(&Report{})
	s.Title = "verify.json of mesh-egress-conformance"
	for _, d := range s.Definitions {
		for _, name := range d.Required { // Go writes an empty list as null
			if p, ok := d.Properties.Get(name); ok && p.Type == "array" {
				list := *p
				list.Description = ""
				d.Properties.Set(name, &jsonschema.Schema{Description: p.Description, AnyOf: []*jsonschema.Schema{&list, {Type: "null"}}})
			}
		}
	}
	version, ok := s.Definitions["Report"].Properties.Get("version")
	if !ok {
		t.Fatal("the report has no version")
	}
	version.Const = ReportVersion
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	const file = "docs/verify.schema.json" // schema has changed the folder
	want := schema(t)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not that of the Go types (%v): go test ./framework/verify -run TestSchema -update", file, err)
	}
}

// valid demands that a report is written as its schema has it.
func valid(t *testing.T, r *Report) string {
	t.Helper()
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := reporttest.ValidateVerify(b); err != nil {
		t.Errorf("%v in\n%s", err, b)
	}
	return string(b)
}

func TestReportsAreAsTheSchemaHasThem(t *testing.T) {
	valid(t, &Report{Version: ReportVersion})
	full := everyKind()
	full.Version, full.Others, full.Timings, full.Expected = ReportVersion, []string{"1.29"}, map[string]float64{"ready": 1.5}, "egress.yaml"
	full.Assumed, full.Ignored, full.Notices = []string{"x"}, []Ignored{{"Secret", 2, "y"}}, full.Mistakes
	full.Classes, full.Questions = []ClassReport{{[]string{"shop/cart"}, true}}, 2
	full.Answers[0].Kind, full.Answers[0].Outcome, full.Answers[1].Kind = Named, egress.OK|egress.Pass, Lie
	full.Answers[0].Because, full.Answers[1].Nearly = []why.Reason{{Object: "ServiceEntry a", What: "has it"}}, []why.Reason{{Object: "b", What: "c"}}
	good := valid(t, full)
	for what, replace := range map[string][2]string{
		"another version":      {`"version": 1`, `"version": 2`},
		"an unknown field":     {`"istio"`, `"unheardOf": 1, "istio"`},
		"an unknown state":     {`"state": "allowed"`, `"state": "fine"`},
		"an unknown question":  {`"kind": "named"`, `"kind": "1 named"`},
		"an unknown deviation": {`"kind": "leak"`, `"kind": "flood"`},
		"an unknown change":    {`"kind": "opens"`, `"kind": "breaks"`},
		"an unknown outcome":   {`"outcome": "OK`, `"outcome": "ok`},
		"a lacking reason":     {`"what": "has it"`, `"that": "has it"`},
		"a number as text":     {`"line": 4`, `"line": "4"`},
		"no list":              {`"workloads": [`, `"workloads": 1, "more": [`},
	} {
		spoiled := strings.Replace(good, replace[0], replace[1], 1)
		if spoiled == good {
			t.Errorf("%s: nothing was spoiled", what)
		}
		if reporttest.ValidateVerify([]byte(spoiled)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}
