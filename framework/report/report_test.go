package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/reporttest"
)

func result(name string, v egress.Verdict) egress.Result {
	c := egress.Case{
		Name: name, Area: "http", Claim: "a claim", Source: "a document",
		Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(egress.Blocked, egress.OK, egress.Blocked)},
	}
	r := egress.Result{Case: c, Verdict: v, Took: time.Second, Rerun: "egressctl run --case " + name}
	if v == egress.Skipped || v == egress.NotApplicable {
		r.Why = "needs something"
		return r
	}
	got := map[egress.Verdict]egress.Outcome{egress.Conforms: egress.OK, egress.Violates: egress.B502}[v]
	if v != egress.Conforms {
		r.Why = "B502, wanted OK"
		r.Applied = []string{"kind: ServiceEntry\n"}
	}
	r.Phases = []egress.PhaseResult{
		{Phase: egress.Before, Probes: []egress.ProbeResult{{Phase: egress.Before, Want: egress.Blocked, Got: egress.B502, Verdict: egress.Conforms}}},
		{Phase: egress.Applied, Notes: []string{"a note"}, Probes: []egress.ProbeResult{{
			Phase: egress.Applied, Want: egress.OK, Got: got, Verdict: v, Why: r.Why,
			Observations: []egress.Observation{{Client: egress.ClientWitness{HTTPCode: 502, Local: "10.0.0.1:1"}, Mesh: []egress.AccessLog{{RouteName: "block_all"}}, Arrivals: []egress.Arrival{{Server: "httpbin.org"}}}},
			Control:      &egress.Control{Detail: "arrived"},
		}}},
	}
	return r
}

func all() *Report {
	return New(Environment{Provider: "embedded", Istio: "1.31"}, time.Now(), []egress.Result{
		result("http-good", egress.Conforms), result("http-bad", egress.Violates), result("http-unsure", egress.Inconclusive),
		result("http-skipped", egress.Skipped), result("http-old", egress.NotApplicable),
	})
}

func TestCountsAndExitCode(t *testing.T) {
	r := all()
	if r.Counts != (Counts{5, 1, 1, 1, 1, 1}) || r.ExitCode() != 1 {
		t.Errorf("%+v, exit %d", r.Counts, r.ExitCode())
	}
	for want, r := range map[int]*Report{
		0: New(Environment{}, time.Now(), []egress.Result{result("a", egress.Conforms), result("b", egress.Skipped)}),
		2: New(Environment{}, time.Now(), []egress.Result{result("a", egress.Conforms)}, "clean-up failed"),
	} {
		if got := r.ExitCode(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	if got := New(Environment{}, time.Now(), nil).ExitCode(); got != 2 {
		t.Errorf("a run without cases exits %d", got)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	write(t, all(), dir)
	back := read(t, filepath.Join(dir, "report.json"))
	if back.Counts != all().Counts || back.Cases[1].Phases[1].Probes[0].Got != egress.B502 {
		t.Errorf("%+v", back)
	}
	b, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var x reporters.JUnitTestSuites
	if err := xml.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	cases := x.TestSuites[0].TestCases
	if len(cases) != 5 || x.Failures != 1 || x.Errors != 1 || cases[1].Failure == nil || cases[2].Error == nil ||
		cases[3].Skipped == nil || !strings.Contains(cases[3].Skipped.Message, "needs something") || cases[0].Failure != nil {
		t.Errorf("%s", b)
	}
}

func read(t *testing.T, file string) *Report {
	t.Helper()
	var r Report
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

func write(t *testing.T, r *Report, dir string) {
	t.Helper()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := r.WriteAll(f); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, JSONFile))
	if err == nil {
		err = reporttest.Validate(b)
	}
	if err != nil {
		t.Error(err)
	}
}

// What is another in every run is not in a baseline; what came out is.
func TestBrief(t *testing.T) {
	r := all()
	r.Cases[1].Case.Fixtures, r.Cases[1].Applied = []string{"f.yaml"}, []string{"metadata:\n  labels:\n    mesh-egress-conformance/run: run-1\n  name: x\n"}
	one, err := json.Marshal(r.Brief())
	if err != nil {
		t.Fatal(err)
	}
	r.Started, r.Took, r.Environment.Cluster, r.Cases[0].Took = time.Now(), 5, "other", time.Hour
	r.Cases[1].Applied[0] = strings.Replace(r.Cases[1].Applied[0], "run-1", "run-2", 1)
	two, err := json.Marshal(r.Brief())
	if err != nil || !bytes.Equal(one, two) || bytes.Contains(one, []byte("10.0.0.1")) || !bytes.Contains(one, []byte("B502")) || !bytes.Contains(one, []byte("name: x")) {
		t.Errorf("%v\n%s\n%s", err, one, two)
	}
}

// A run that was not complete is no success, in whatever form somebody reads of it.
func TestFaultsInJUnit(t *testing.T) {
	lost := result("http-lost", egress.Inconclusive)
	lost.Phases, lost.Why, lost.Unfinished = nil, "the cluster died: etcd", true
	r := New(Environment{}, time.Now(), []egress.Result{result("http-good", egress.Conforms), lost}, "the cluster died: etcd\nits log", "1 cases have no verdict")
	b, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	var x reporters.JUnitTestSuites
	if err := xml.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	s := x.TestSuites[0]
	if len(s.TestCases) != 3 || x.Tests != 3 || x.Errors != 2 || s.Errors != 2 || s.TestCases[1].Error == nil {
		t.Fatalf("%s", b)
	}
	if run := s.TestCases[2]; run.Name != "run" || run.Error == nil || run.Error.Message != "the cluster died: etcd" || !strings.Contains(run.Error.Description, "1 cases have no verdict") {
		t.Errorf("%+v", run)
	}
	if r.ExitCode() != 2 || r.Unfinished() != 1 {
		t.Errorf("exit %d, %d unfinished", r.ExitCode(), r.Unfinished())
	}
	if n := None(Environment{}, time.Now(), []egress.Case{lost.Case}, errors.New("no room")); n.Unfinished() != 1 || n.ExitCode() != 2 || len(n.Faults) == 0 {
		t.Errorf("%+v", n)
	}
}

// hostile is a report whose every text tries to do something to a terminal, to XML or to a reader's eyes.
func hostile() *Report {
	const bad = "\x1b]0;owned\x07\u009b31m\u202egnp.exe\x00\ufffe\xff\nVIOLATES forged"
	r := all()
	r.Faults, r.Environment.Provider = []string{bad}, bad
	for i := range r.Cases {
		c := &r.Cases[i]
		c.Case.Claim, c.Case.Source, c.Why, c.Rerun, c.Case.Probes[0].URL = bad, bad, bad, bad, bad
		c.Applied = []string{bad}
		for k := range c.Phases {
			for n := range c.Phases[k].Probes {
				p := &c.Phases[k].Probes[n]
				p.Probe, p.Why, p.Evidence = bad, bad, bad
				for o := range p.Observations {
					p.Observations[o].Client.Stderr, p.Observations[o].Arrivals[0].Path = bad, bad
				}
			}
		}
	}
	return r
}

func TestNothingReachesTheTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := hostile().WriteText(&b, Text{Table: true}); err != nil {
		t.Fatal(err)
	}
	b.WriteString(Explain(hostile().Cases[1]))
	for line := range strings.Lines(b.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsGraphic(r) }) || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
		if strings.HasPrefix(line, "VIOLATES forged") {
			t.Error("a text of a case looks like a line of the report")
		}
	}
}

// validXML is whether every character is one that XML 1.0 has.
func validXML(b []byte) bool {
	for _, r := range string(b) {
		if r != '\t' && r != '\n' && r != '\r' && (r < 0x20 || r == 0xfffe || r == 0xffff) {
			return false
		}
	}
	return utf8.Valid(b) && !bytes.Contains(b, []byte("&#x0;"))
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("out"), 0o755), os.Mkdir(at("elsewhere"), 0o755), os.Symlink("out", at("link")),
		os.WriteFile(at("file"), []byte("mine"), 0o644), os.WriteFile(at("elsewhere/x"), []byte("mine"), 0o644),
		os.Symlink(at("file"), at("out/report.json")), os.Symlink(at("file"), at("out/report.json.new")), os.Symlink(at("elsewhere"), at("out/bundles")),
		os.WriteFile(at("out/junit.xml"), []byte("of an earlier run"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"file": "not a directory", "link": "symbolic link", "file/sub": "not a directory"} {
		if _, err := OpenFolder(at(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, err := OpenFolder(at("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := os.Stat(at("out/junit.xml")); err == nil {
		t.Error("an earlier run's report is still there when a run begins")
	}
	if err := os.Symlink(at("elsewhere"), at("out/bundles")); err != nil {
		t.Fatal(err)
	}
	if err := f.Write("bundles/x", []byte("theirs")); err == nil {
		t.Error("a bundle was written through a symbolic link")
	}
	if err := os.Symlink(at("file"), at("out/report.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := all().WriteAll(f); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"file", "elsewhere/x"} {
		if b, err := os.ReadFile(at(n)); err != nil || string(b) != "mine" {
			t.Errorf("%s is now %q (%v)", n, b, err)
		}
	}
	read(t, at("out/report.json"))
	left, err := filepath.Glob(at("out/.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	for name, want := range map[string]string{"link": "no regular file", "gone/x": "", "file": ""} {
		o, err := OpenFile(at(name))
		if (err == nil) != (want == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if err := o.Write([]byte("text")); err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(at(name)); err != nil || string(b) != "text" {
				t.Errorf("%s: %q %v", name, b, err)
			}
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullTerminal(t *testing.T) {
	if err := all().WriteText(full{}, Text{}); err == nil {
		t.Error("nothing was printed, and that is no error")
	}
}

func FuzzRead(f *testing.F) {
	b, err := json.Marshal(all())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = json.Marshal(hostile()); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		var text bytes.Buffer // whatever it holds, it can be shown
		if err := r.WriteText(&text, Text{Table: true}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(text.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsGraphic(r) }) {
			t.Errorf("%q", text.String())
		}
		x, err := r.JUnit()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := r.JSON(); err != nil {
			t.Fatal(err)
		} else if err := reporttest.Validate(b); err != nil {
			t.Error(err)
		}
		var back reporters.JUnitTestSuites
		if err := xml.Unmarshal(x, &back); err != nil || !validXML(x) {
			t.Fatalf("%v\n%q", err, x)
		}
		want := len(r.Cases)
		if len(r.Faults) > 0 {
			want++
		}
		if len(back.TestSuites) != 1 || len(back.TestSuites[0].TestCases) != want {
			t.Errorf("%d cases became %+v", want, back)
		}
	})
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	r := all()
	r.Environment.Sabotage = "allow-any"
	r.Faults = []string{"clean-up: something stayed"}
	if err := r.WriteText(&b, Text{Table: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"✓ http-good", "✗ http-bad", "✗ blocked (502), wanted", "VIOLATES http-bad", "claim:  a claim", "destination: httpbin.org",
		"control client", "kind: ServiceEntry", "rerun:  egressctl run --case http-bad", "a note", "SABOTAGED", "something stayed", "needs something",
		"5 cases in", "1 violate, 1 inconclusive",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	if strings.Contains(b.String(), "VIOLATES http-good") {
		t.Error("a case that conforms is explained")
	}
	if end := b.String()[strings.LastIndex(b.String(), "rerun:"):]; !strings.Contains(end, "\nviolates http-bad: ") || !strings.Contains(end, "\ninconclusive http-unsure: ") {
		t.Errorf("the end of the text does not name what failed:\n%s", end)
	}
	r.Cases[2].Unfinished, r.Cases[2].Phases = true, nil
	b.Reset()
	if err := r.WriteText(&b, Text{}); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); strings.Contains(s, "http-good") || strings.Contains(s, "─") || !strings.Contains(s, "VIOLATES http-bad") ||
		!strings.Contains(s, "5 cases in") || !strings.Contains(s, "ended before they began: http-unsure") {
		t.Errorf("without the table:\n%s", s)
	}
}
