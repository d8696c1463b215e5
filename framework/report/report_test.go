package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/egress"
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

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	if err := all().WriteAll(dir); err != nil {
		t.Fatal(err)
	}
	back, err := Read(filepath.Join(dir, "report.json"))
	if err != nil || back.Counts != all().Counts || back.Cases[1].Phases[1].Probes[0].Got != egress.B502 {
		t.Errorf("%+v %v", back, err)
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
	for name, content := range map[string]string{"cut": `{"schema":`, "foreign": `{"schema":"other/v9"}`} {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(f); err == nil || !strings.Contains(err.Error(), f) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	b, err := json.Marshal(all())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		p := filepath.Join(dir, "r.json")
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := Read(p); err == nil {
			r.WriteText(&bytes.Buffer{}, true) // whatever it holds, it can be shown
		}
	})
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	r := all()
	r.Environment.Sabotage = "allow-any"
	r.Faults = []string{"clean-up: something stayed"}
	r.WriteText(&b, false)
	for _, want := range []string{
		"✓ http-good", "✗ http-bad", "B502 want OK", "VIOLATES http-bad", "claim:  a claim", "destination: httpbin.org",
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
}
