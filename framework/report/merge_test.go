package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

func someCases(n int) []egress.Case {
	out := make([]egress.Case, n)
	for i := range out {
		out[i] = egress.Case{Name: fmt.Sprintf("case-%03d", i), Area: "http"}
	}
	return out
}

func TestShardsAreDisjointCompleteAndEven(t *testing.T) {
	for n := 1; n <= 23; n++ {
		all := someCases(n)
		for of := 1; of <= n; of++ {
			seen := map[string]int{}
			for k := 1; k <= of; k++ {
				s := Shard{Number: k, Of: of, Cases: n, Selection: "x"}
				part := s.Part(all)
				if err := s.check(len(part)); err != nil || len(part) < n/of || len(part) > (n+of-1)/of {
					t.Errorf("%s of %d: %d cases, %v", s, n, len(part), err)
				}
				for _, c := range part {
					seen[c.Name]++
				}
			}
			for _, c := range all {
				if seen[c.Name] != 1 {
					t.Errorf("%d shards of %d: %s is in %d", of, n, c.Name, seen[c.Name])
				}
			}
		}
	}
}

var mergeStart = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// shardOf is the report of one of several shards of cases.
func shardOf(number, of int, all []egress.Case) Part {
	s := Shard{Number: number, Of: of, Cases: len(all), Selection: "sha256:1"}
	var results []egress.Result
	for _, c := range s.Part(all) {
		results = append(results, egress.Result{Case: c, Verdict: egress.Conforms})
	}
	r := New(Environment{Provider: "embedded", Kubernetes: "v1", Istio: "1.31", Envoy: "1.39", Source: "build", Internet: "hermetic", Cluster: "default", Timings: map[string]float64{"ready": 3}}, mergeStart, results)
	r.Shard, r.Started, r.Took = &s, mergeStart.Add(time.Duration(number)*time.Minute), 30
	return Part{fmt.Sprintf("shard-%d/report.json", number), r}
}

func TestMerge(t *testing.T) {
	all := someCases(11)
	// The order in which the files are named does not matter.
	r, err := Merge([]Part{shardOf(3, 3, all), shardOf(1, 3, all), shardOf(2, 3, all)})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Cases {
		if c.Case.Name != all[i].Name {
			t.Errorf("case %d is %s", i, c.Case.Name)
		}
	}
	if r.Shard != nil || r.Counts.Conforms != 11 || r.Counts.Total != 11 || r.ExitCode() != 0 || len(r.Faults) > 0 {
		t.Errorf("%+v %v", r.Counts, r.Faults)
	}
	if !r.Started.Equal(mergeStart.Add(time.Minute)) || r.Took != 150 {
		t.Errorf("started %s, took %g", r.Started, r.Took)
	}
	if e := r.Environment; e.Istio != "1.31" || e.Internet != "hermetic" || e.Cluster != "default" || e.Timings["2/3 ready"] != 63 {
		t.Errorf("%+v", e)
	}
	b, err := r.JSON()
	if err == nil {
		_, err = parse(b)
	}
	if err != nil {
		t.Errorf("it cannot be read again: %v", err)
	}
}

func TestMergeKeepsWhatWentWrong(t *testing.T) {
	all := someCases(5)
	failed, dead := shardOf(1, 3, all), shardOf(2, 3, all)
	failed.Report.Cases[1].Verdict = egress.Violates
	failed.Report.Faults = []string{"clean-up: no answer"}
	shard := dead.Report.Shard
	// A run that could not begin knows next to nothing of where it is.
	dead.Report = None(Environment{Provider: "embedded"}, mergeStart, shard.Part(all), errors.New("no room"))
	dead.Report.Shard = shard
	r, err := Merge([]Part{failed, dead})
	if err != nil {
		t.Fatal(err)
	}
	if r.Counts != (Counts{Total: 4, Conforms: 1, Violates: 1, Inconclusive: 2}) || r.ExitCode() != 1 {
		t.Errorf("%+v, exit %d", r.Counts, r.ExitCode())
	}
	faults := strings.Join(r.Faults, "\n")
	for _, want := range []string{"shard-1/report.json (shard 1/3): clean-up", "(shard 2/3): the run could not begin: no room", "shard 3/3 is missing: 1 of 5 cases have no verdict"} {
		if !strings.Contains(faults, want) {
			t.Errorf("no fault says %q:\n%s", want, faults)
		}
	}
	alone, err := Merge([]Part{shardOf(1, 2, all)})
	if err != nil || alone.ExitCode() != 2 {
		t.Errorf("a missing shard is no failure: %v", err)
	}
}

func TestMergeOfWholeRuns(t *testing.T) {
	whole := func(file string, cases []egress.Case) Part {
		p := shardOf(1, 1, cases)
		p.File, p.Report.Shard = file, nil
		return p
	}
	all := someCases(6)
	r, err := Merge([]Part{whole("b/report.json", all[3:]), whole("a/report.json", all[:3])})
	if err != nil || r.Counts.Total != 6 || r.Cases[0].Case.Name != "case-003" || r.Environment.Timings["b ready"] != 3 {
		t.Errorf("%v %+v", err, r)
	}
	_, err = Merge([]Part{whole("a", all[:5]), whole("b", all)})
	if err == nil || !strings.Contains(err.Error(), "a and b both have case-000, case-001, case-002 and 2 cases more") {
		t.Errorf("%v", err)
	}
}

func TestMergeRefuses(t *testing.T) {
	all := someCases(7)
	for want, change := range map[string]func(p []Part) []Part{
		"there is no report":               func([]Part) []Part { return nil },
		`the Istio version of shard-1/`:    func(p []Part) []Part { p[1].Report.Environment.Istio = "1.30"; return p },
		`the provider of`:                  func(p []Part) []Part { p[1].Report.Environment.Provider = "kind"; return p },
		`the internet of`:                  func(p []Part) []Part { p[1].Report.Environment.Internet = "live: all of 9 hosts"; return p },
		`the sabotage of`:                  func(p []Part) []Part { p[0].Report.Environment.Sabotage = "allow-any"; return p },
		"the same shard twice":             func(p []Part) []Part { return append(p, p[0]) },
		"different selections":             func(p []Part) []Part { p[1].Report.Shard.Selection = "sha256:2"; return p },
		"divided in different ways":        func(p []Part) []Part { return append(p, shardOf(3, 4, all)) },
		"one is a shard, and the other":    func(p []Part) []Part { p[1].Report.Shard = nil; return p },
		"which are 3, and it has 2":        func(p []Part) []Part { p[1].Report.Cases = p[1].Report.Cases[:2]; return p },
		"shard 9/2 of 7 cases, which cann": func(p []Part) []Part { p[1].Report.Shard.Number = 9; return p },
		"both have case-000": func(p []Part) []Part {
			p[1].Report.Cases = slices.Clone(p[1].Report.Cases)
			p[1].Report.Cases[0] = p[0].Report.Cases[0]
			return p
		},
	} {
		r, err := Merge(change([]Part{shardOf(1, 2, all), shardOf(2, 2, all)}))
		if err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestMergeFindsBundles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, bundles, "case-000"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := shardOf(1, 1, someCases(2))
	p.File = filepath.Join(dir, "report.json")
	for i := range p.Report.Cases {
		p.Report.Cases[i].BundleAt = "reports/out/bundles/" + p.Report.Cases[i].Case.Name
	}
	r, err := Merge([]Part{p})
	if err != nil || r.Cases[0].BundleAt != filepath.Join(dir, bundles, "case-000") || r.Cases[1].BundleAt != "reports/out/bundles/case-001" {
		t.Errorf("%v %+v", err, r.Cases)
	}
}
