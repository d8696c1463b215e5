package compare

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// sample is a report as egressctl writes it.
func sample(t testing.TB, text string) []byte {
	t.Helper()
	r := report.New(report.Environment{Istio: "1.31", Provider: text}, time.Now(), []egress.Result{
		ran("good", egress.Conforms, ok, ok), ran("bad", egress.Violates, ok, b5),
	}, text)
	r.Cases[1].Why, r.Cases[0].Case.Claim, r.Cases[1].Phases[0].Probes[0].Probe = text, text, text
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRefused(t *testing.T) {
	good := string(sample(t, "x"))
	dir := t.TempDir()
	replace := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the sample", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	for content, want := range map[string]string{
		"":                      "cut off",
		`{"schema":`:            "cut off",
		good[:len(good)/2]:      "cut off after",
		`{"schema":"other/v9"}`: `schema "other/v9" is no report of egressctl`,
		`{"a":1}`:               `schema "" is no report`,
		"<testsuites/>":         "it is no report of egressctl",
		`[1, 2]`:                "it is no report of egressctl",
		good + good:             "it is no report of egressctl",
		`{"schema":"mesh-egress-conformance/report/v99","cases":"many"}`: "a newer one",
		replace(`"violates": 1`, `"violates": 0`):                        "counts",
		replace(`"name": "bad"`, `"name": "good"`):                       "is in it twice",
		replace(`"verdict": "conforms",`, `"verdict": "excellent",`):     "unknown verdict",
		replace(`"tookSeconds"`, `"schema": "x", "tookSeconds"`):         "duplicate",
		replace(`"got": "OK"`, `"got": "FINE"`):                          `outcome "FINE" is unknown`,
	} {
		f := filepath.Join(dir, "spoiled.json")
		if err := os.WriteFile(f, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(f); err == nil || !strings.Contains(err.Error(), f) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, want %q", content, err, want)
		}
	}
	if _, err := Read("/dev/zero"); err == nil || !strings.Contains(err.Error(), "device") {
		t.Errorf("/dev/zero is a report: %v", err)
	}
	if _, err := ReadAll(filepath.Join(dir, "none"), filepath.Join(dir, "spoiled.json")); err == nil || !strings.Contains(err.Error(), "none") || !strings.Contains(err.Error(), "spoiled") {
		t.Errorf("one of two errors is lost: %v", err)
	}
}

// Whatever a report holds, a comparison of it can be shown.
func shown(t *testing.T, a, b *Column) {
	t.Helper()
	c, err := Run([]*Column{a, b}, nil)
	if err != nil {
		return
	}
	var text bytes.Buffer
	j, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	text.Write(j)
	for _, err := range []error{c.WriteText(&text, Text{All: true, Unseen: true}), c.WriteMarkdown(&text)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := WriteParity(&text, a, b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(text.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsGraphic(r) }) {
		t.Errorf("%q", text.String())
	}
	x, err := c.JUnit(true)
	if err != nil {
		t.Fatal(err)
	}
	var back reporters.JUnitTestSuites
	if err := xml.Unmarshal(x, &back); err != nil {
		t.Fatalf("%v\n%q", err, x)
	}
}

const hostile = "\x1b]0;owned\x07\u009b31m\u202egnp.exe\x00\ufffe\xff\nVIOLATES forged | <b> `x`"

func TestNothingReachesTheTerminal(t *testing.T) {
	a, err := parse(sample(t, hostile))
	if err != nil {
		t.Fatal(err)
	}
	b, err := parse(sample(t, hostile))
	if err != nil {
		t.Fatal(err)
	}
	b.Cases[0].Verdict, b.Cases[0].Why = egress.Violates, hostile
	a.Name, b.Name = hostile, hostile
	shown(t, a, b)
}

func FuzzRead(f *testing.F) {
	f.Add(sample(f, "x"), sample(f, hostile))
	old := reports(f)
	for i := range old {
		a, err := os.ReadFile(old[i])
		if err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(old[(i+1)%len(old)])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a, b)
	}
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, err := parse(x)
		if err != nil {
			return
		}
		b, err := parse(y)
		if err != nil {
			return
		}
		shown(t, a, b)
	})
}

func TestKnownFile(t *testing.T) {
	for text, want := range map[string]string{
		"- {since: '1.30', cases: [a], what: w, source: s}":                                    "",
		"- {cases: [a], what: w, evidence: docs/findings.md}":                                  "",
		"- {since: '1.30', cases: [a], what: w, source: s, from: conforms, to: violates}":      "",
		"- {since: '1.30', cases: [a], what: w, source: s, from: blocked, to: OK}":             "",
		"- {since: '1.30', cases: [a], what: w}":                                               "source is missing",
		"- {since: '1.30', cases: [], what: w, source: s}":                                     "cases is missing",
		"- {since: '1.30', cases: [a], source: s}":                                             "what is missing",
		"- {since: soon, cases: [a], what: w, source: s}":                                      "no Istio minor version",
		"- {since: '1.30', cases: [a], what: w, source: s, from: OK}":                          "both from and to",
		"- {since: '1.30', cases: [a], what: w, source: s, from: OK, to: WELL}":                "neither a verdict nor an outcome",
		"- {since: '1.30', case: a, what: w, source: s}":                                       "unknown",
		"- {since: '1.30', cases: [a], what: w, source: s}\n- {cases: [a], source: s, what: }": "change 2",
	} {
		_, err := ReadKnown("known.yaml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
