package compare

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/reporttest"
)

var update = flag.Bool("update", false, "write docs/comparison.schema.json anew")

// schema is the JSON Schema of comparison.json, from the Go types and their comments.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s := reporttest.Reflect(t, &Written{}, "framework/egress", "framework/report", "framework/compare")
	s.Title = "comparison.json of mesh-egress-conformance"
	reporttest.Property(t, s, "Written", "schema").Const = Schema
	var classes []any
	for _, c := range Classes() {
		classes = append(classes, string(c))
	}
	reporttest.Property(t, s, "Change", "class").Enum = classes
	reporttest.Property(t, s, "Change", "kind").Enum = classes
	words := []any{Unrun, NoCase}
	for _, v := range verdicts {
		words = append(words, string(v))
	}
	list := func(of, name string) *jsonschema.Schema { return reporttest.Property(t, s, of, name).AnyOf[0] }
	list("Row", "verdicts").Items.Enum = words
	for _, side := range []string{"want", "got"} { // an attempt that was not made is null
		p := list("Attempt", side)
		p.Items = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{p.Items, {Type: "null"}}}
	}
	return s
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	reporttest.Published(t, "comparison.schema.json", schema(t), *update)
}

// full is a comparison in which as much as possible is set.
func full(t *testing.T) *Comparison {
	t.Helper()
	known := []Known{
		{Since: "1.31", Cases: []string{"explained"}, What: "w", Source: "s", Issue: "1", From: "OK", To: "blocked"},
		{Since: "1.31", Cases: []string{"same"}, What: "not shown", Evidence: "docs/x.md"},
	}
	more := func(r egress.Result, got egress.Outcome) egress.Result { // a second probe in the last phase
		ph := &r.Phases[len(r.Phases)-1]
		ph.Probes = append(ph.Probes, egress.ProbeResult{Probe: "p", Phase: ph.Phase, Want: ok | b5, Got: got, Verdict: egress.Conforms})
		return r
	}
	a := column(t, "1.30", ran("worse", egress.Conforms, ok, ok, ok), ran("explained", egress.Conforms, ok|b5, ok), more(ran("either", egress.Conforms, ok, ok), ok), ran("same", egress.Conforms, ok, ok), ran("gone", egress.Conforms, ok, ok), ran("open", egress.Conforms, ok, ok))
	b := column(t, "1.31", ran("worse", egress.Violates, ok, ok, b5), ran("explained", egress.Conforms, ok|b5, b5), more(ran("either", egress.Conforms, ok, ok), b5), ran("same", egress.Conforms, ok, ok), ran("open", egress.Inconclusive, ok), ran("new", egress.Conforms, ok, ok), ran("never", egress.Inconclusive, ok))
	b.Cases[6].Unfinished, b.Faults, b.Page = true, []string{"x"}, "1.31/report.html"
	changed := with(ran("same", egress.Violates, ok, b5), func(c *egress.Case) { c.Probes[0].URL = "http://other.example/" })
	return compared(t, known, a, b, NoRun("1.32", errors.New("no such image")), column(t, "1.33", changed, ran("worse", egress.Violates, ok, ok, b5)))
}

func TestRows(t *testing.T) {
	var got []string
	for _, r := range full(t).Rows() {
		line := fmt.Sprintf("%s %s %s %s", r.Area, r.Name, r.Claim, strings.Join(r.Verdicts, ","))
		for _, a := range r.Attempts {
			line += fmt.Sprintf("; %s %s", a.Phase, a.Probe)
			for i := range a.Got {
				if a.Got[i] == nil {
					line += " null"
					continue
				}
				line += fmt.Sprintf(" %s/%s", a.Got[i], a.Want[i])
			}
		}
		got = append(got, line)
	}
	if want := []string{
		"http worse a claim conforms,violates,no run,violates; applied p OK/OK B502/OK null B502/OK",
		"http explained a claim conforms,conforms,no run,-; before p OK/OK|B502 B502/OK|B502 null null",
		"http either a claim conforms,conforms,no run,-; before p OK/OK|B502 B502/OK|B502 null null", // the second of the name
		"http same a claim conforms,conforms,no run,violates; before p OK/OK OK/OK null B502/OK",
		"http gone a claim conforms,-,no run,-",
		"http open a claim conforms,inconclusive,no run,-",
		"http new a claim -,conforms,no run,-",
		"http never a claim -,no run,no run,-",
	}; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is written is as its schema has it, and is read as it was written, with what the comparison comes to.
func TestWrittenAndRead(t *testing.T) {
	h, hostile := full(t), strings.ToValidUTF8(hostile, "?") // JSON cannot carry other bytes
	h.Columns[0].Name, h.Columns[0].Faults = hostile, []string{hostile}
	for i := range h.Changes {
		if h.Changes[i].From == "1.30" {
			h.Changes[i].From, h.Changes[i].What = hostile, hostile
		}
	}
	changed := with(ran("a", egress.Violates, ok, b5), func(c *egress.Case) { c.Probes[0].URL = "http://other.example/" })
	for name, c := range map[string]*Comparison{
		"full": full(t), "hostile": h, "most things": worse(t),
		"no change":      compared(t, nil, column(t, "1.30", ran("a", egress.Conforms, ok, ok)), column(t, "1.31", ran("a", egress.Conforms, ok, ok))),
		"case changed":   compared(t, nil, column(t, "1.30", ran("a", egress.Conforms, ok, ok)), column(t, "1.31", changed)),
		"stated":         compared(t, nil, column(t, "1.30", ran("a", egress.NotApplicable, ok), ran("b", egress.Conforms, ok, ok)), column(t, "1.31", ran("a", egress.Conforms, ok, ok), ran("b", egress.NotApplicable, ok))),
		"stated falsely": compared(t, nil, column(t, "1.30", ran("a", egress.NotApplicable, ok), ran("b", egress.Conforms, ok, ok)), column(t, "1.31", ran("a", egress.Violates, ok, b5), ran("b", egress.Conforms, ok, ok))),
	} {
		b, err := c.JSON()
		if err == nil {
			err = reporttest.ValidateComparison(b)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
			continue
		}
		back, err := ReadComparison(file(t, string(b)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := back.JSON()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: %v: read and written again:\n%s", name, err, again)
		}
		for _, strict := range []bool{false, true} {
			x, errX := c.JUnit(strict)
			y, errY := back.JUnit(strict)
			if c.ExitCode(strict) != back.ExitCode(strict) || errors.Join(errX, errY) != nil || !bytes.Equal(x, y) {
				t.Errorf("%s, strict %t: exit %d, read back %d\n%s\n%s", name, strict, c.ExitCode(strict), back.ExitCode(strict), x, y)
			}
		}
	}
}

// file is a file with a text.
func file(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "comparison.json")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSpoiledComparisons(t *testing.T) {
	b, err := full(t).JSON()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for _, x := range []struct {
		what, old, by, want string
		schema              bool // it is against the schema too
	}{
		{"another schema", `comparison/v1"`, `comparison/v9"`, "a newer one", true},
		{"a report", `comparison/v1"`, `report/v2"`, "is no comparison", true},
		{"an unknown class", `"class": "regression"`, `"class": "sadness"`, "sadness", true},
		{"an unknown kind", `"kind": "behaviour-changed"`, `"kind": "sadness"`, "sadness", true},
		{"an unknown verdict", "\"verdicts\": [\n        \"conforms\"", "\"verdicts\": [\n        \"fine\"", "fine", true},
		{"an unknown outcome", "\"got\": [\n            \"OK\"", "\"got\": [\n            \"fine\"", "fine", true},
		{"an unknown phase", `"phase": "applied"`, `"phase": "later"`, "later", true},
		{"a number as text", `"total": 6`, `"total": "6"`, "total", true},
		{"a field twice", `"cases": [`, `"cases": [], "cases": [`, "duplicate", false},
		{"a case twice", `"name": "gone"`, `"name": "worse"`, `case "worse" is in it twice`, false},
		{"a column twice", `"name": "1.30"`, `"name": "1.31"`, `column "1.31" is in it twice`, false},
		{"too few verdicts", "\"verdicts\": [\n        \"conforms\",", "\"verdicts\": [", "it has 3 verdicts, and there are 4 columns", false},
		{"too few outcomes", "\"got\": [\n            \"OK\",", "\"got\": [", "it has 3 outcomes of an attempt", false},
		{"a change to nowhere", `"to": "1.31"`, `"to": "1.99"`, "of which it has no columns", false},
		{"a case without verdict too many", `"unfinished": 1`, `"unfinished": 2`, "and says 2", false},
		{"an unknown field", `"unseen"`, `"unheardOf"`, "", true},
	} {
		bad := strings.Replace(good, x.old, x.by, 1)
		if bad == good {
			t.Errorf("%s: nothing was spoiled", x.what)
		}
		if err := reporttest.ValidateComparison([]byte(bad)); (err != nil) != x.schema && !strings.Contains(x.want, "duplicate") {
			t.Errorf("%s: by the schema: %v", x.what, err)
		}
		f := file(t, bad)
		if _, err := ReadComparison(f); (err == nil) != (x.want == "") || err != nil && (!strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), f)) {
			t.Errorf("%s: got %v, want %q", x.what, err, x.want)
		}
	}
	if _, err := ReadComparison(file(t, good[:len(good)/2])); err == nil || !strings.Contains(err.Error(), "cut off after") {
		t.Error(err)
	}
	if _, err := ReadComparison(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// The comparison links to pages beside it and to nothing else.
func TestLink(t *testing.T) {
	for page, want := range map[string]string{
		"": "", "1.31/report.html": "./1.31/report.html", "report.html": "./report.html", "../old/report.html": "./../old/report.html",
		"a b/x#1?.html": "./a%20b/x%231%3F.html", "javascript:alert(1)//.html": "./javascript:alert%281%29/.html",
		"../../etc/x.html": "", "/etc/x.html": "", "//evil.example/x.html": "", "a/../../../x.html": "", "1.31/report.exe": "", `\\evil.example\x.html`: "./%5C%5Cevil.example%5Cx.html",
	} {
		if got := (&Column{Page: page}).Link(); got != want {
			t.Errorf("%q: %q, want %q", page, got, want)
		}
	}
}
