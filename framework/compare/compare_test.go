package compare

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/reporttest"
)

// ran is the result of a case with one probe, which wants and gets an outcome in each phase.
func ran(name string, v egress.Verdict, want egress.Outcome, got ...egress.Outcome) egress.Result {
	c := egress.Case{Name: name, Area: "http", Claim: "a claim", Source: "a document", Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(want, want, want)}}
	r := egress.Result{Case: c, Verdict: v}
	if v != egress.Conforms {
		r.Why = "because of " + name
	}
	for i, g := range got {
		r.Phases = append(r.Phases, egress.PhaseResult{Phase: egress.Phases()[i], Probes: []egress.ProbeResult{{Probe: "p", Want: want, Got: g, Verdict: v}}})
	}
	return r
}

// with changes a result's case.
func with(r egress.Result, change func(*egress.Case)) egress.Result {
	r.Case.Probes = slices.Clone(r.Case.Probes)
	change(&r.Case)
	return r
}

func column(t *testing.T, version string, results ...egress.Result) *Column {
	t.Helper()
	c, err := Of(version, report.New(report.Environment{Istio: version, Provider: "embedded"}, time.Now(), results))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func compared(t *testing.T, known []Known, columns ...*Column) *Comparison {
	t.Helper()
	c, err := Run(columns, known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// said are changes in a line each.
func said(c *Comparison) []string {
	var out []string
	for _, x := range c.Changes {
		s := fmt.Sprintf("%s %s %s-%s", x.Class, x.Case, x.From, x.To)
		if x.Kind != "" {
			s += " was " + string(x.Kind)
		}
		out = append(out, s)
	}
	return out
}

func want(t *testing.T, c *Comparison, exit, strict int, lines ...string) {
	t.Helper()
	if got := said(c); !slices.Equal(got, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
	if c.ExitCode(false) != exit || c.ExitCode(true) != strict {
		t.Errorf("exit %d and strict %d, want %d and %d", c.ExitCode(false), c.ExitCode(true), exit, strict)
	}
}

const (
	ok = egress.OK
	b5 = egress.B502
	nc = egress.S503NC
)

// Every pair of what a case may come to.
func TestClasses(t *testing.T) {
	results := map[string]func(name string) *egress.Result{
		"absent": func(string) *egress.Result { return nil },
	}
	for v, got := range map[egress.Verdict][]egress.Outcome{egress.Conforms: {ok}, egress.Violates: {b5}, egress.Inconclusive: {0}, egress.Skipped: nil, egress.NotApplicable: nil} {
		results[string(v)] = func(name string) *egress.Result { r := ran(name, v, ok, got...); return &r }
	}
	classes := map[string]Class{
		"conforms violates": Regression, "violates conforms": Fixed,
		"conforms absent": Gone, "conforms skipped": Gone, "conforms not-applicable": Gone,
		"violates absent": Gone, "violates skipped": Gone, "violates not-applicable": Gone,
		"absent conforms": New, "skipped conforms": New, "not-applicable conforms": New,
		"absent violates": New, "skipped violates": New, "not-applicable violates": New,
	}
	for from, x := range results {
		for to, y := range results {
			a, b := []egress.Result{ran("other", egress.Conforms, ok, ok)}, []egress.Result{ran("other", egress.Conforms, ok, ok)}
			if r := x("case"); r != nil {
				a = append(a, *r)
			}
			if r := y("case"); r != nil {
				b = append(b, *r)
			}
			var classesOf []Class
			c := compared(t, nil, column(t, "1.30", a...), column(t, "1.31", b...))
			for _, ch := range c.Changes {
				classesOf = append(classesOf, ch.Class)
			}
			var expected []Class
			for _, side := range []string{from, to} { // each that proves nothing is said, and then there is nothing else to say
				if side == "inconclusive" {
					expected = append(expected, Unproven)
				}
			}
			if class, changes := classes[from+" "+to]; changes {
				expected = []Class{class}
			}
			if !slices.Equal(classesOf, expected) {
				t.Errorf("%s → %s: got %v, want %v", from, to, classesOf, expected)
			}
			exit := 0
			if from == "inconclusive" || to == "inconclusive" {
				exit = 2
			}
			if slices.Contains(classesOf, Regression) {
				exit = 1
			}
			if got := c.ExitCode(false); got != exit {
				t.Errorf("%s → %s: exit %d, want %d", from, to, got, exit)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	const blocked = egress.Blocked
	for name, x := range map[string]struct {
		a, b           egress.Result
		exit, strict   int
		class          string
		what, or, also string
	}{
		"same":               {a: ran("c", egress.Conforms, ok, ok), b: ran("c", egress.Conforms, ok, ok)},
		"either outcome":     {a: ran("c", egress.Conforms, blocked, b5), b: ran("c", egress.Conforms, blocked, egress.BRST), strict: 1, class: "behaviour-changed c 1.30-1.31", what: "before, p: B502 → BRST"},
		"violates otherwise": {a: ran("c", egress.Violates, ok, b5), b: ran("c", egress.Violates, ok, nc), strict: 1, class: "behaviour-changed c 1.30-1.31"},
		"violates alike":     {a: ran("c", egress.Violates, ok, b5), b: ran("c", egress.Violates, ok, b5)},
		"more phases":        {a: ran("c", egress.Conforms, ok, ok), b: ran("c", egress.Conforms, ok, ok, ok), strict: 1, class: "behaviour-changed c 1.30-1.31"},
	} {
		t.Run(name, func(t *testing.T) {
			c := compared(t, nil, column(t, "1.30", x.a), column(t, "1.31", x.b))
			var lines []string
			if x.class != "" {
				lines = []string{x.class}
			}
			want(t, c, x.exit, x.strict, lines...)
			if x.what != "" && c.Changes[0].What != x.what {
				t.Errorf("got %q", c.Changes[0].What)
			}
		})
	}
}

// What a case says by version shows as a change of what Istio does, outcomes and other demands alike.
func TestVersions(t *testing.T) {
	wants := egress.Wants{ok, ok, 0, ok}
	byVersion := func(c *egress.Case) {
		c.Probes[0].Versions = []egress.Variant{{Until: "1.29", Wants: &wants, Arrivals: egress.Always(2)}}
		c.Probes[0].Arrivals = egress.Always(1)
	}
	old := with(ran("c", egress.Conforms, nc, nc), byVersion)
	now := with(ran("c", egress.Conforms, ok, ok), byVersion)
	old.Case = now.Case
	a, b, d := column(t, "1.29", old), column(t, "1.30", now), column(t, "1.31", now)
	c := compared(t, nil, a, b, d)
	want(t, c, 0, 0, "behaviour-changed c 1.29-1.30") // the case itself says so
	if got := c.Changes[0].What; got != "before, p: 503NC → OK; client → http://httpbin.org/: arrivals 2 → 1" {
		t.Errorf("got %q", got)
	}
	known := []Known{{Since: "1.30", Cases: []string{"c"}, What: "it works", Source: "a note", Issue: "123"}}
	c = compared(t, known, a, b, d)
	want(t, c, 0, 0, "known c 1.29-1.30 was behaviour-changed")
	if x := c.Changes[0]; x.Source != "a note, issue 123" || !strings.HasPrefix(x.What, "it works: ") || len(c.Unseen) > 0 {
		t.Errorf("%+v %v", x, c.Unseen)
	}
	want(t, compared(t, known, d, a), 0, 0, "known c 1.31-1.29 was behaviour-changed") // a downgrade loses what the change has brought
	// An entry of another version, or of another case, explains nothing; neither does one that expects other outcomes.
	for _, k := range []Known{
		{Since: "1.31", Cases: []string{"c"}},
		{Since: "1.30", Cases: []string{"other"}},
		{Since: "1.30", Cases: []string{"c"}, From: "503UH", To: "OK"},
		{Cases: []string{"c"}},
	} {
		want(t, compared(t, []Known{k}, a, b), 0, 0, "behaviour-changed c 1.29-1.30")
	}
	// What the case states, an entry does not stretch to what it does not state.
	broken := ran("c", egress.Violates, ok, b5)
	broken.Case = now.Case
	want(t, compared(t, known, a, column(t, "1.30", broken)), 1, 1, "regression c 1.29-1.30")
	byVerdict := []Known{{Since: "1.30", Cases: []string{"c"}, What: "broken", Source: "an issue", From: "conforms", To: "violates"}}
	want(t, compared(t, byVerdict, a, column(t, "1.30", broken)), 0, 0, "known c 1.29-1.30 was regression")
}

// Where Istio itself decides now so and now so, an entry without a version explains it, and nothing else.
func TestUnstable(t *testing.T) {
	known := []Known{{Cases: []string{"c"}, What: "either", Source: "an issue"}}
	set := ok | nc
	a, b := column(t, "1.31", ran("c", egress.Conforms, set, ok)), column(t, "1.31", ran("c", egress.Conforms, set, nc))
	want(t, compared(t, known, a, b), 0, 0, "known c 1.31-1.31 was behaviour-changed")
	want(t, compared(t, known, a, column(t, "1.31", ran("c", egress.Violates, set, b5))), 1, 1, "regression c 1.31-1.31")
}

// A case is compared with the last column that proves something about it: a column without a verdict hides nothing.
func TestChain(t *testing.T) {
	good, bad, open := ran("c", egress.Conforms, ok, ok), ran("c", egress.Violates, ok, b5), ran("c", egress.Inconclusive, ok, 0)
	lost := open
	lost.Unfinished = true
	want(t, compared(t, nil, column(t, "1.28", good), column(t, "1.29", open), column(t, "1.30", bad), column(t, "1.31", good)), 1, 1,
		"regression c 1.28-1.30", "unproven c 1.28-1.29", "fixed c 1.30-1.31")
	failed := NoRun("1.29", errors.New("istiod did not start"))
	c := compared(t, nil, column(t, "1.28", good), failed, column(t, "1.30", bad))
	want(t, c, 1, 1, "regression c 1.28-1.30")
	want(t, compared(t, nil, column(t, "1.28", good), failed, column(t, "1.30", good)), 2, 2)
	want(t, compared(t, nil, column(t, "1.28", good), column(t, "1.29", lost), column(t, "1.30", good)), 2, 2)
	faulty := column(t, "1.29", good)
	faulty.Faults = []string{"clean-up"}
	want(t, compared(t, nil, column(t, "1.28", good), faulty), 2, 2)
	var text bytes.Buffer
	if err := c.WriteText(&text, Text{All: true}); err != nil || !strings.Contains(text.String(), "1.29: NO RUN: istiod did not start") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// A case that was written anew is no change of Istio.
func TestCaseChanged(t *testing.T) {
	good, bad := ran("c", egress.Conforms, ok, ok), ran("c", egress.Violates, ok, b5)
	for name, change := range map[string]func(*egress.Case){
		"probes":     func(c *egress.Case) { c.Probes[0].URL = "http://other.example/" },
		"objects":    func(c *egress.Case) { c.Objects = []egress.Object{{"kind": "ServiceEntry"}} },
		"meshConfig": func(c *egress.Case) { c.MeshConfig = egress.Object{"a": "b"} },
	} {
		c := compared(t, nil, column(t, "1.30", good), column(t, "1.31", with(bad, change)))
		want(t, c, 2, 2, "case-changed c 1.30-1.31")
		if !strings.Contains(c.Changes[0].What, "the case itself changed ("+name+")") {
			t.Errorf("got %q", c.Changes[0].What)
		}
		want(t, compared(t, nil, column(t, "1.30", bad), column(t, "1.31", with(good, change))), 0, 0, "case-changed c 1.30-1.31")
		want(t, compared(t, nil, column(t, "1.30", good), column(t, "1.31", with(good, change))), 0, 0) // it still conforms: nothing to tell
	}
	// Other words change nothing of what runs, and hide no regression.
	c := compared(t, nil, column(t, "1.30", good), column(t, "1.31", with(bad, func(c *egress.Case) { c.Claim, c.Observed, c.Labels = "b", "c", []string{"d"} })))
	want(t, c, 1, 1, "regression c 1.30-1.31")
	if !strings.Contains(c.Changes[0].What, "worded otherwise") {
		t.Errorf("got %q", c.Changes[0].What)
	}
	// Fixtures lie elsewhere; what they made shows it, whatever the runs were called.
	applied := func(r egress.Result, yaml string) egress.Result {
		r.Case.Fixtures, r.Applied = []string{"f.yaml"}, []string{yaml}
		return r
	}
	labelled := "metadata:\n  labels:\n    mesh-egress-conformance/run: run-%d\nspec: %s\n"
	want(t, compared(t, nil, column(t, "1.30", applied(good, fmt.Sprintf(labelled, 1, "a"))), column(t, "1.31", applied(bad, fmt.Sprintf(labelled, 2, "b")))), 2, 2, "case-changed c 1.30-1.31")
	want(t, compared(t, nil, column(t, "1.30", applied(good, fmt.Sprintf(labelled, 1, "a"))), column(t, "1.31", applied(bad, fmt.Sprintf(labelled, 2, "a")))), 1, 1, "regression c 1.30-1.31")
}

// A case that says of which versions it is explains why it is new or gone; two of one row are one change.
func TestApplicability(t *testing.T) {
	of := func(name, row string, v egress.Verdict, since, until string, got ...egress.Outcome) egress.Result {
		return with(ran(name, v, ok, got...), func(c *egress.Case) { c.Row, c.Since, c.Until = row, since, until })
	}
	a := column(t, "1.29", of("old", "r", egress.Conforms, "", "1.29", ok), of("new", "r", egress.NotApplicable, "1.30", ""), of("alone", "", egress.NotApplicable, "1.30", ""))
	b := column(t, "1.30", of("old", "r", egress.NotApplicable, "", "1.29"), of("new", "r", egress.Conforms, "1.30", "", ok), of("alone", "", egress.Conforms, "1.30", "", ok))
	c := compared(t, nil, a, b)
	want(t, c, 0, 0, "behaviour-changed old, then new 1.29-1.30", "new alone 1.29-1.30")
	known := []Known{{Since: "1.30", Cases: []string{"new"}, What: "it works", Source: "a note"}, {Since: "1.30", Cases: []string{"none"}, What: "nobody looks", Source: "x"}, {Since: "1.31", Cases: []string{"none"}, What: "later", Source: "x"}}
	c = compared(t, known, a, b)
	want(t, c, 0, 0, "new alone 1.29-1.30", "known old, then new 1.29-1.30 was behaviour-changed")
	if len(c.Unseen) != 1 || c.Unseen[0].What != "nobody looks" {
		t.Errorf("unseen: %+v", c.Unseen)
	}
	// A claim that begins and does not hold is not what the case states, and as the heir of one that held it is a regression.
	broken := column(t, "1.30", of("old", "r", egress.NotApplicable, "", "1.29"), of("new", "r", egress.Violates, "1.30", "", b5), of("alone", "", egress.Violates, "1.30", "", b5))
	all := append(known, Known{Since: "1.30", Cases: []string{"alone"}, What: "x", Source: "y"})
	want(t, compared(t, all, a, broken), 1, 1, "regression old, then new 1.29-1.30", "new alone 1.29-1.30")
	broken = column(t, "1.30", of("old", "r", egress.NotApplicable, "", "1.29"), of("new", "r", egress.Conforms, "1.30", "", ok), of("alone", "", egress.Violates, "1.30", "", b5))
	want(t, compared(t, all, a, broken), 0, 1, "new alone 1.29-1.30", "known old, then new 1.29-1.30 was behaviour-changed")
	// Skipped in one place only has nobody explained.
	want(t, compared(t, nil, column(t, "1.30", ran("c", egress.Skipped, ok)), column(t, "1.31", ran("c", egress.Conforms, ok, ok))), 0, 1, "new c 1.30-1.31")
}

func TestNothingInCommon(t *testing.T) {
	a, b := column(t, "1.30", ran("a", egress.Conforms, ok, ok)), column(t, "1.31", ran("b", egress.Conforms, ok, ok))
	if _, err := Run([]*Column{a, b}, nil); err == nil || !strings.Contains(err.Error(), "1.30 and 1.31 have no case in common") {
		t.Error(err)
	}
	if _, err := Run([]*Column{a}, nil); err == nil {
		t.Error("one column was compared")
	}
	if _, err := Run([]*Column{a, NoRun("1.31", errors.New("x"))}, nil); err != nil { // the column says what happened
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	of := func(version, provider string) *Column {
		return &Column{Environment: report.Environment{Istio: version, Provider: provider}}
	}
	for _, x := range []struct {
		a, b  *Column
		files []string
		names []string
	}{
		{of("1.30", "kind"), of("1.31", "kind"), []string{"a", "b"}, []string{"1.30", "1.31"}},
		{of("1.31", "kind"), of("1.31", "embedded"), []string{"a", "b"}, []string{"1.31 kind", "1.31 embedded"}},
		{of("1.31", "kind"), of("1.31", "kind"), []string{"x/a", "x/b"}, []string{"1.31 a", "1.31 b"}},
		{of("1.31", "kind"), of("1.31", "kind"), []string{"x/a", "y/a"}, []string{"1.31 x/a", "1.31 y/a"}},
		{of("", ""), of("", ""), []string{"a", "a"}, []string{"a (1)", "a (2)"}},
	} {
		Name([]*Column{x.a, x.b}, x.files)
		if got := []string{x.a.Name, x.b.Name}; !slices.Equal(got, x.names) {
			t.Errorf("got %q, want %q", got, x.names)
		}
	}
}

// worse is a comparison in which most things occur.
func worse(t *testing.T) *Comparison {
	t.Helper()
	return compared(t, nil,
		column(t, "1.30", ran("worse", egress.Conforms, ok, ok), ran("better", egress.Violates, ok, b5), ran("open", egress.Conforms, ok, ok), ran("same", egress.Conforms, ok, ok)),
		column(t, "1.31", ran("worse", egress.Violates, ok, b5), ran("better", egress.Conforms, ok, ok), ran("open", egress.Inconclusive, ok, 0), ran("same", egress.Conforms, ok, ok)),
		NoRun("1.32", errors.New("no such image")))
}

func TestJUnit(t *testing.T) {
	c := worse(t)
	for strict, failures := range map[bool]int{false: 1, true: 2} {
		b, err := c.JUnit(strict)
		if err != nil {
			t.Fatal(err)
		}
		var x reporters.JUnitTestSuites
		if err := xml.Unmarshal(b, &x); err != nil {
			t.Fatal(err)
		}
		if x.Failures != failures || x.Errors != 2 || x.Tests != 5 || len(x.TestSuites) != 2 {
			t.Errorf("strict %t:\n%s", strict, b)
		}
		if f := x.TestSuites[0].TestCases[0].Failure; f == nil || !strings.Contains(f.Message, "1.30 → 1.31: conforms → violates: because of worse") {
			t.Errorf("%+v", f)
		}
	}
}

// CI systems take the document, whatever names and reasons are.
func TestJUnitIsValid(t *testing.T) {
	validate := reporttest.JUnit(t)
	a, b := column(t, "1.30", ran("worse", egress.Conforms, ok, ok)), column(t, "1.31", ran("worse", egress.Violates, ok, b5))
	a.Name, b.Name, b.Faults, b.Cases[0].Why = hostile, hostile+" too", []string{hostile}, hostile
	for name, c := range map[string]*Comparison{
		"most things": worse(t), "hostile": compared(t, nil, a, b), "no run": compared(t, nil, NoRun("1.30", errors.New("x")), NoRun("1.31", errors.New(hostile))),
		"no case": compared(t, nil, NoRun("1.30", errors.New("y")), column(t, "1.31")),
	} {
		for _, strict := range []bool{false, true} {
			x, err := c.JUnit(strict)
			if err == nil {
				err = validate(x)
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, x)
			}
		}
	}
}

func TestParity(t *testing.T) {
	a := column(t, "1.31",
		ran("same", egress.Conforms, ok, ok), ran("verdict", egress.Conforms, ok, ok), ran("outcome", egress.Conforms, ok, ok, egress.BRST),
		ran("either", egress.Conforms, egress.Blocked, b5), ran("here", egress.Skipped, ok), ran("unsure", egress.Inconclusive, ok), ran("shorter", egress.Conforms, ok, ok, ok))
	b := column(t, "1.31",
		ran("same", egress.Conforms, ok, ok), ran("verdict", egress.Violates, ok, ok), ran("outcome", egress.Conforms, ok, ok, egress.TMO),
		ran("either", egress.Conforms, egress.Blocked, egress.BRST), ran("there", egress.Skipped, ok), ran("unsure", egress.Inconclusive, ok), ran("shorter", egress.Conforms, ok, ok))
	var got []string
	names, all := Parity(a, b)
	for i, d := range all {
		got = append(got, fmt.Sprintf("%s: %s %t", names[i], d, d.Either))
	}
	expected := []string{
		"verdict: conforms → violates false", "outcome: applied, p: BRST → TMO false", "either: before, p: B502 → BRST true",
		"here: skipped → not run false", "unsure: inconclusive → inconclusive false", "shorter: phases: [before applied] → [before] false",
		"there: not run → skipped false",
	}
	if !slices.Equal(got, expected) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(expected, "\n"))
	}
	var text strings.Builder
	if same, err := WriteParity(&text, a, b); same || err != nil || !strings.Contains(text.String(), "6 differences, and 1 where") {
		t.Errorf("same %t %v:\n%s", same, err, text.String())
	}
	a.Cases = a.Cases[:5]
	if same, err := WriteParity(&text, a, a); !same || err != nil {
		t.Errorf("a report differs from itself: %v", err)
	}
}

// What one place alone can carry is named, and the list of it stays true.
func TestParityOneAlone(t *testing.T) {
	a := column(t, "1.31", ran("both", egress.Conforms, ok), ran("here", egress.Conforms, ok), ran("bad", egress.Violates, ok), ran("none", egress.Skipped, ok))
	b := column(t, "1.31", ran("both", egress.Conforms, ok), ran("here", egress.Skipped, ok), ran("bad", egress.Skipped, ok), ran("none", egress.Skipped, ok))
	for named, want := range map[string]int{"": 2, "here": 1, "here bad": 1, "here both": 2, "here none": 2} {
		if _, all := Parity(a, b, strings.Fields(named)...); len(all) != want {
			t.Errorf("%q: %v, wanted %d", named, all, want)
		}
	}
	var text strings.Builder
	if _, err := WriteParity(&text, a, b, "here"); err != nil || !strings.Contains(text.String(), "- here: skipped on ") {
		t.Errorf("%v: %s", err, text.String())
	}
}

// reports are what old and new versions of egressctl have written: testdata/v1-first.json by the first one, v1-last.json
// by the last before v2, v2-first.json and v2-last.json by those at both ends of its first days, v2-today.json by one that
// says what components and clients there were.
func reports(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/v*.json")
	if err != nil || len(all) < 3 {
		t.Fatalf("%v: %v", all, err)
	}
	return all
}

// A report of each schema compares with each other one; of the same cases nothing has changed.
func TestEverySchema(t *testing.T) {
	files := reports(t)
	have := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var head struct{ Schema string }
		if err := json.Unmarshal(b, &head); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		version, _, _ := strings.Cut(filepath.Base(f), "-")
		if path.Base(head.Schema) != version {
			t.Errorf("%s is of schema %s: its name says %s", f, head.Schema, version)
		}
		have[head.Schema] = true
	}
	for _, s := range schemas {
		if !have[s] {
			t.Errorf("no report of schema %s", s)
		}
	}
	for _, a := range files {
		for _, b := range files {
			columns, err := ReadAll(a, b)
			if err != nil {
				t.Fatal(err)
			}
			c := compared(t, nil, columns...)
			if len(c.Changes) > 0 || len(c.Cases) < 2 {
				t.Errorf("%s and %s: %d cases, %v", a, b, len(c.Cases), said(c))
			}
			columns[1].Cases[0].Verdict = egress.Violates // and what differs is seen, for the case is the same
			want(t, compared(t, nil, columns...), 1, 1, fmt.Sprintf("regression %s %s-%s", columns[0].Cases[0].Name, columns[0].Name, columns[1].Name))
		}
	}
}

func TestOutdated(t *testing.T) {
	a, b, gone := ran("a", egress.Conforms, ok, ok), ran("b", egress.NotApplicable, ok), ran("gone", egress.Conforms, ok, ok)
	col := column(t, "1.31", a, b, gone)
	today := []egress.Case{a.Case, b.Case}
	today[0].Claim = "other words"
	today[1].Since = "1.30"
	today = append(today, egress.Case{Name: "new"})
	got, err := col.Outdated(today)
	if want := []string{"b has changed since (since)", "new is not in it", "gone is no case any more"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	if got, err = col.Outdated([]egress.Case{a.Case, b.Case, gone.Case}); err != nil || len(got) > 0 {
		t.Errorf("%q %v", got, err)
	}
}
