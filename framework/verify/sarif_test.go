package verify

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// everyKind is a report with results of every rule but the surprises, of which it has one.
func everyKind() *Report {
	at := func(object, file string, line int) []Source { return []Source{{object, file, line}} }
	return &Report{
		Base: "main", Istio: "1.31",
		Answers: []Answer{
			{From: "shop/cart", To: "https://api.example", State: Allowed, By: at("ServiceEntry shop/api", "mesh/api.yaml", 4)},
			{From: "shop/cart", To: "https://x.example", State: Unproven, Unproven: "the control client could not reach it"},
		},
		Deviations: []Deviation{
			{Kind: Leak, From: "shop/cart", To: "tcp://a.example:22", What: "allowed", By: at("ServiceEntry shop/a", "mesh/a b.yaml", 7), Remedy: "keep it in"},
			{Kind: Outage, From: "shop/cart", To: "https://b.example", What: "blocked", Rule: "egress.yaml:3"},
			{Kind: Detour, From: "shop/cart", To: "https://c.example", What: "it goes directly", By: []Source{{"the outbound policy", "Istio's default", 0}, {"Sidecar shop/c", "chart/c.yaml", 0}}},
		},
		Changes: []Change{
			{Kind: Opens, From: []string{"shop/cart", "shop/pay"}, To: "https://d.example", Before: "blocked", After: "allowed", By: at("ServiceEntry shop/d", "mesh/d.yaml", 2)},
			{Kind: Closes, From: []string{"shop/cart"}, To: "https://e.example", Before: "allowed", After: "blocked", By: at("ServiceEntry shop/e", "main:mesh/gone.yaml", 9)},
			{Kind: Redirects, From: []string{"shop/cart"}, To: "https://f.example", By: at("VirtualService shop/f", "mesh/f.yaml", 5)},
			{Kind: Unclear, From: []string{"shop/cart"}, To: "https://g.example"},
		},
		Surprises: []Surprise{{Name: "trusts-name", Title: "a name is trusted", Objects: at("ServiceEntry shop/d", "mesh/d.yaml", 2), Why: "resolution NONE", Proof: []string{"one", "two"}, Remedy: "name hosts"}},
		Mistakes:  input.Mistakes{{File: "mesh/bad.yaml", Line: 3, What: "ServiceEntry shop/bad is refused: no hosts", Remedy: "mend it"}},
		Faults:    []string{"a proxy did not answer"},
	}
}

// place knows the files of the folders mesh and chart.
func place(file string) string {
	if strings.HasPrefix(file, "mesh/") || strings.HasPrefix(file, "chart/") {
		return file
	}
	return ""
}

// sarifOf writes a report, reads it back and checks it against the schema that OASIS has published.
func sarifOf(t *testing.T, r *Report) *sarif.Run {
	t.Helper()
	b, err := r.SARIF(SARIF{Version: "1.2.3", Place: place})
	if err != nil {
		t.Fatal(err)
	}
	back, err := sarif.FromBytes(b, sarif.WithStrictValidation())
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if err := back.Validate(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if len(back.Runs) != 1 || back.Version != "2.1.0" {
		t.Fatalf("%s", b)
	}
	return back.Runs[0]
}

// where is the primary location of a result.
func where(x *sarif.Result) string {
	if len(x.Locations) != 1 {
		return fmt.Sprintf("%d locations", len(x.Locations))
	}
	p := x.Locations[0].PhysicalLocation
	return fmt.Sprintf("%s:%d", *p.ArtifactLocation.URI, *p.Region.StartLine)
}

func TestSARIF(t *testing.T) {
	run := sarifOf(t, everyKind())
	want := []struct{ id, level, where, says string }{
		{"leak", "error", "mesh/a%20b.yaml:7", "leak: shop/cart → tcp://a.example:22: allowed. by ServiceEntry shop/a (mesh/a b.yaml:7). keep it in"},
		{"outage", "error", "mesh/api.yaml:1", "expected in egress.yaml:3"},
		{"detour", "error", "chart/c.yaml:1", "by the outbound policy (Istio's default), Sidecar shop/c"},
		{"opens", "error", "mesh/d.yaml:2", "opens since main: shop/cart, shop/pay → https://d.example: was blocked, is allowed"},
		{"closes", "warning", "mesh/gone.yaml:1", "main:mesh/gone.yaml:9"},
		{"redirects", "warning", "mesh/f.yaml:5", "VirtualService shop/f"},
		{"unclear", "note", "mesh/api.yaml:1", "unclear since main"},
		{"trusts-name", "warning", "mesh/d.yaml:2", "a name is trusted: resolution NONE. proof: one; two. remedy: name hosts"},
		{"not-taken-over", "error", "mesh/bad.yaml:3", "ServiceEntry shop/bad is refused: no hosts. mend it"},
	}
	if len(run.Results) != len(want) {
		t.Fatalf("%d results, want %d", len(run.Results), len(want))
	}
	for i, x := range run.Results {
		w := want[i]
		if *x.RuleID != w.id || x.Level != w.level || where(x) != w.where || !strings.Contains(*x.Message.Text, w.says) {
			t.Errorf("%s %s at %s: %s\nwant %+v", *x.RuleID, x.Level, where(x), *x.Message.Text, w)
		}
		if r := run.Tool.Driver.Rules[x.RuleIndex]; *r.ID != w.id || *r.ShortDescription.Text == "" || *r.Help.Text == "" {
			t.Errorf("%s: rule %+v", w.id, r)
		}
	}
	if v := run.Invocations[0]; *v.ExecutionSuccessful || len(v.ToolExecutionNotifications) != 2 || !strings.Contains(*v.ToolExecutionNotifications[1].Message.Text, "could not reach it") {
		t.Errorf("what is unproven, and a fault, are told: %+v", v)
	}
}

// Where expectations decide, what opens is a note; and what nobody deviates from has no result, in a run that did succeed.
func TestSARIFLevels(t *testing.T) {
	r := everyKind()
	r.Expected = "egress.yaml"
	run := sarifOf(t, r)
	i := slices.IndexFunc(run.Results, func(x *sarif.Result) bool { return *x.RuleID == "opens" })
	if run.Results[i].Level != "note" {
		t.Errorf("%+v", run.Results[i])
	}
	fine, _, _ := reported(t, basic, strict)
	fine.Surprises = nil
	run = sarifOf(t, fine)
	if len(run.Results) != 0 || !*run.Invocations[0].ExecutionSuccessful {
		t.Errorf("%+v", run)
	}
}

// Calls of one object are told apart, whatever the order.
func TestSARIFFingerprints(t *testing.T) {
	r, _, _ := reported(t, basic, everything(fate{got: egress.Pass}))
	e, err := ParseExpectations("egress.yaml", []byte("allow: []"))
	if err != nil {
		t.Fatal(err)
	}
	r.Deviations, _ = e.Judge(r.Answers)
	seen := map[string]bool{}
	for _, x := range sarifOf(t, r).Results {
		key := *x.RuleID + " " + x.PartialFingerprints["call/v1"]
		if *x.RuleID == "leak" && seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	if len(seen) < len(r.Deviations) {
		t.Errorf("%d leaks, %d results", len(r.Deviations), len(seen))
	}
}

// What a rule is, is what the table of the documentation says.
func TestRulesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range surprises {
		if line := fmt.Sprintf("| `%s` | %s |\n", s.name, s.is); !strings.Contains(string(b), line) {
			t.Errorf("docs/verify.md does not have %s", line)
		}
	}
	for _, x := range rules {
		if !strings.Contains(string(b), "`"+x.id+"`") && !strings.Contains(string(b), "| "+x.id+" |") && !strings.Contains(string(b), "**"+x.id+"**") {
			t.Errorf("docs/verify.md does not have %s", x.id)
		}
	}
}
