package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// listed are the names of the cases that a command line selects.
func listed(t *testing.T, args ...string) []string {
	t.Helper()
	code, out, stderr := egressctl(t, append([]string{"list", "--json"}, args...)...)
	var l struct{ Cases []struct{ Name string } }
	if err := json.Unmarshal([]byte(out), &l); err != nil || code != exitOK {
		t.Fatalf("%v: exit %d, %v %s", args, code, err, stderr)
	}
	var names []string
	for _, c := range l.Cases {
		names = append(names, c.Name)
	}
	return names
}

func TestEveryCaseIsInOneShard(t *testing.T) {
	own := map[string]string{}
	for i := range 7 {
		own[fmt.Sprintf("cases/pay/bank-%d.yaml", i)] = strings.ReplaceAll(sound, "../../deploy", "../../deploy")
	}
	own["deploy/bank.yaml"] = rule
	for name, selection := range map[string][]string{
		"built-in": nil,
		"an area":  {"--area", "tls"},
		"own":      {"--cases", filepath.Join(write(t, own), "cases")},
	} {
		all := listed(t, selection...)
		for _, of := range []int{1, 2, 5} {
			var got []string
			for k := 1; k <= of; k++ {
				part := listed(t, append(selection, "--shard", fmt.Sprintf("%d/%d", k, of))...)
				if len(part) < len(all)/of || len(part) > len(all)/of+1 {
					t.Errorf("%s: shard %d/%d has %d of %d cases", name, k, of, len(part), len(all))
				}
				got = append(got, part...)
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(all)); !slices.Equal(got, want) {
				t.Errorf("%s: %d shards have %d cases of %d: %v", name, of, len(got), len(want), got)
			}
		}
	}
}

func TestShardUsage(t *testing.T) {
	for arg, want := range map[string]string{
		"2":   "no part such as 2/5",
		"0/5": "no part such as 2/5",
		"6/5": "there is no part 6 of 5",
		"1/3": "only 2 cases selected",
	} {
		code, _, stderr := egressctl(t, "run", "--case", "http-serviceentry,tcp-other-port", "--shard", arg)
		if strings.Contains(stderr, "no case is named") {
			t.Fatal(stderr)
		}
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q; want %q", arg, code, stderr, want)
		}
	}
}

// The digest tells what shards must agree on, and nothing else.
func TestSelectionDigest(t *testing.T) {
	digest := func(args ...string) string {
		_, out, _ := egressctl(t, append([]string{"run", "--dry-run", "--json"}, args...)...)
		var l struct{ Shard report.Shard }
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			t.Fatal(err)
		}
		return l.Shard.Selection
	}
	files := map[string]string{"deploy/bank.yaml": rule, "cases/pay/bank.yaml": sound, "cases/pay/bank2.yaml": sound}
	own := func() []string { return []string{"--cases", filepath.Join(write(t, files), "cases")} }
	one := digest(append(own(), "--shard", "1/2")...)
	if two := digest(append(own(), "--shard", "2/2", "--shuffle", "3")...); one != two || one == "" {
		t.Errorf("%q and %q are the same cases in other folders", one, two)
	}
	files["cases/pay/bank2.yaml"] = strings.Replace(sound, "claim: c", "claim: d", 1)
	if changed := digest(append(own(), "--shard", "1/2")...); one == changed {
		t.Error("another claim, the same digest")
	}
	files["cases/pay/bank2.yaml"], files["deploy/bank.yaml"] = sound, rule+"# more\n"
	if changed := digest(append(own(), "--shard", "1/2")...); one == changed {
		t.Error("another fixture, the same digest")
	}
}

// shards writes the reports of a selection that two machines have run.
func shards(t *testing.T, change func(i int, r *report.Report)) []string {
	t.Helper()
	var out []string
	for k := 1; k <= 2; k++ {
		s := report.Shard{Number: k, Of: 2, Cases: 3, Selection: "sha256:1"}
		var results []egress.Result
		for _, c := range s.Part([]egress.Case{{Name: "a", Area: "http"}, {Name: "b", Area: "http"}, {Name: "c", Area: "http"}}) {
			results = append(results, egress.Result{Case: c, Verdict: egress.Conforms})
		}
		r := report.New(report.Environment{Provider: "embedded", Istio: "1.31"}, time.Now(), results)
		r.Shard = &s
		change(k, r)
		dir := filepath.Join(t.TempDir(), fmt.Sprintf("shard-%d", k))
		to, err := report.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writeReports(r, to); err != nil {
			t.Fatal(err)
		}
		to.Close()
		out = append(out, filepath.Join(dir, "report.json"))
	}
	return out
}

func TestMergeCommand(t *testing.T) {
	same := func(int, *report.Report) {}
	files, out := shards(t, same), filepath.Join(t.TempDir(), "merged")
	code, stdout, stderr := egressctl(t, append([]string{"merge", "--out", out}, files...)...)
	if code != exitOK || !strings.Contains(stdout, "3 cases in") || !strings.Contains(stdout, "3 conform") || stderr != "" {
		t.Errorf("exit %d, %s %s", code, stdout, stderr)
	}
	validate(t, out)
	for _, f := range []string{"report.json", "junit.xml", "report.md", "report.html"} {
		if st, err := os.Stat(filepath.Join(out, f)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
	if names := listedIn(t, filepath.Join(out, "report.json")); !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("%v", names)
	}
	// Not into the folder of a report that is read: it would be gone.
	if code, _, stderr := egressctl(t, "merge", "--out", filepath.Dir(files[0]), files[0], files[1]); code != exitUsage || !strings.Contains(stderr, "choose another --out") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(files[0]); err != nil {
		t.Error(err)
	}
}

func listedIn(t *testing.T, file string) []string {
	t.Helper()
	r, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range r.Cases {
		out = append(out, c.Case.Name)
	}
	return out
}

func TestMergeCommandSaysWhatDoesNotFit(t *testing.T) {
	same := func(int, *report.Report) {}
	good := shards(t, same)
	violated := shards(t, func(k int, r *report.Report) {
		if k == 2 {
			r.Cases[0].Verdict, r.Counts = egress.Violates, report.Counts{Total: 1, Violates: 1}
		}
	})
	older := shards(t, func(k int, r *report.Report) { r.Environment.Istio = fmt.Sprintf("1.3%d", k) })
	whole, err := os.ReadFile(good[1])
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.json")
	if err := os.WriteFile(cut, whole[:len(whole)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		files []string
		code  int
		want  string
	}{
		"a violation":     {violated, 1, "2 conform, 1 violate"},
		"a missing shard": {good[:1], exitFault, "shard 2/2 is missing: 1 of 3 cases have no verdict"},
		"the same twice":  {[]string{good[0], good[0]}, exitFault, "the same shard twice"},
		"a cut-off file":  {[]string{good[0], cut}, exitFault, cut + ": it is cut off after"},
		"two versions":    {older, exitFault, `the Istio version of`},
		"none":            {nil, exitUsage, "requires at least 1 arg"},
		"no such file":    {[]string{filepath.Join(t.TempDir(), "none.json")}, exitFault, "no such file"},
	} {
		code, stdout, stderr := egressctl(t, append([]string{"merge", "--out", filepath.Join(t.TempDir(), "out")}, x.files...)...)
		if code != x.code || !strings.Contains(stdout+stderr, x.want) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s%s", name, code, x.code, x.want, stdout, stderr)
		}
	}
}
