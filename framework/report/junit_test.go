package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/joshdk/go-junit"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/reporttest"
)

// every is a report with a case of each verdict, and one that was never begun, in a run with faults.
func every() *Report {
	r := all()
	lost := result("http-lost", egress.Inconclusive)
	lost.Phases, lost.Why, lost.Unfinished = nil, "the cluster died: etcd", true
	r = New(r.Environment, time.Now(), append(r.Cases, lost), "the cluster died: etcd\nits log", "1 cases have no verdict")
	r.Cases[1].Phases[1].Probes[0].Evidence = "client: exit 0 status 502"
	return r
}

func junitOf(t *testing.T, r *Report) []byte {
	t.Helper()
	b, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A parser that is not ours finds everything where CI systems look for it.
func TestJUnitReadBack(t *testing.T) {
	suites, err := junit.Ingest(junitOf(t, every()))
	if err != nil {
		t.Fatal(err)
	}
	if len(suites) != 1 || suites[0].Totals.Tests != 7 || suites[0].Totals.Failed != 1 || suites[0].Totals.Error != 3 || suites[0].Totals.Skipped != 2 || suites[0].Totals.Passed != 1 {
		t.Fatalf("%+v", suites)
	}
	if stamp := every().Started.Format("2006-01-02T"); !strings.Contains(string(junitOf(t, every())), `timestamp="`+stamp) {
		t.Error("nothing says when the run was")
	}
	if p := suites[0].Properties; p["istio"] != "1.31" || p["provider"] != "embedded" {
		t.Errorf("%v", p)
	}
	want := []struct {
		name, class string
		status      junit.Status
		out, why    []string
	}{
		{"http-good", "egress.http", junit.StatusPassed, []string{"claim:  a claim", "applied (0.00s)", "✓ client → http://httpbin.org/: allowed"}, nil},
		{"http-bad", "egress.http", junit.StatusFailed, []string{"✗ client → http://httpbin.org/: blocked (502), wanted", "client: exit 0 status 502"}, []string{"│ ✗ http-bad", "VIOLATES http-bad", "rerun:  egressctl run --case http-bad"}},
		{"http-unsure", "egress.http", junit.StatusError, nil, []string{"│ ? http-unsure", "rerun:  egressctl run --case http-unsure"}},
		{"http-skipped", "egress.http", junit.StatusSkipped, nil, nil},
		{"http-old", "egress.http", junit.StatusSkipped, nil, nil},
		{"http-lost", "egress.http", junit.StatusError, nil, []string{"the cluster died"}},
		{"run", "egress.run", junit.StatusError, nil, []string{"the cluster died: etcd", "1 cases have no verdict"}},
	}
	for i, w := range want {
		got := suites[0].Tests[i]
		if got.Name != w.name || got.Classname != w.class || got.Status != w.status {
			t.Errorf("got %+v, want %+v", got, w)
		}
		for _, s := range w.out {
			if !strings.Contains(got.SystemOut, s) {
				t.Errorf("%s: the output lacks %q:\n%s", w.name, s, got.SystemOut)
			}
		}
		var failure junit.Error
		for _, s := range w.why {
			if !errors.As(got.Error, &failure) || !strings.Contains(failure.Body, s) {
				t.Errorf("%s: the failure lacks %q: %v", w.name, s, got.Error)
			}
		}
	}
	if m := suites[0].Tests[3].Message; m != "skipped: needs something" {
		t.Errorf("the skip says %q", m)
	}
}

func TestJUnitIsValid(t *testing.T) {
	validate := reporttest.JUnit(t)
	for name, r := range map[string]*Report{
		"every verdict": every(), "hostile": hostile(), "no case": New(Environment{}, time.Now(), nil), "differing": New(Environment{}, time.Now(), differing()),
	} {
		if err := validate(junitOf(t, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := string(junitOf(t, every()))
	for what, bad := range map[string]string{
		"an unknown attribute": strings.Replace(good, `<testcase name=`, `<testcase status="x" name=`, 1),
		"a count that is none": strings.Replace(good, `tests="7"`, `tests="all"`, 1),
		"no name":              strings.Replace(good, `name="http-good" `, ``, 1),
	} {
		if bad == good {
			t.Errorf("%s: nothing was spoiled", what)
		}
		if validate([]byte(bad)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}
