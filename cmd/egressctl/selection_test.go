package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

func TestPick(t *testing.T) {
	all := []egress.Case{
		{Name: "http-one", Area: "http", Claim: "A host is open", Labels: []string{"fast"}},
		{Name: "http-two", Area: "http", Claim: "A gateway leads"},
		{Name: "tcp-one", Area: "tcp", Claim: "A port is open"},
	}
	for name, x := range map[string]struct {
		s    selection
		want string // names, or a part of the error
	}{
		"all":              {selection{}, "http-one http-two tcp-one"},
		"an area":          {selection{areas: []string{"tcp"}}, "tcp-one"},
		"areas":            {selection{areas: []string{"tcp", "http"}, focus: []string{"one"}}, "http-one tcp-one"},
		"focus on names":   {selection{focus: []string{"^http-"}}, "http-one http-two"},
		"focus on claims":  {selection{focus: []string{"is open$"}}, "http-one tcp-one"},
		"several focuses":  {selection{focus: []string{"^tcp", "gateway"}}, "http-two tcp-one"},
		"skip":             {selection{skip: []string{"gateway", "tcp"}}, "http-one"},
		"skip after focus": {selection{focus: []string{"http"}, skip: []string{"two"}}, "http-one"},
		"labels":           {selection{filter: "fast || tcp"}, "http-one tcp-one"},
		"names":            {selection{names: []string{"tcp-one", "http-one"}}, "http-one tcp-one"},
		"nothing":          {selection{areas: []string{"tcp"}, focus: []string{"http"}}, "no case matches --area tcp --focus http"},
		"unknown area":     {selection{areas: []string{"udp"}}, `no case is of area "udp"; the areas are http, tcp`},
		"unknown name":     {selection{names: []string{"x"}}, `no case is named "x"`},
		"bad focus":        {selection{focus: []string{"("}}, "--focus: error parsing regexp"},
		"bad skip":         {selection{skip: []string{"["}}, "--skip: error parsing regexp"},
	} {
		cases, err := x.s.pick(all)
		var got []string
		for _, c := range cases {
			got = append(got, c.Name)
		}
		if text := strings.Join(got, " "); text != x.want && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, x.want)
		}
	}
}

// reported writes a report of some verdicts.
func reported(t *testing.T, verdicts map[string]egress.Verdict, faults ...string) string {
	t.Helper()
	var results []egress.Result
	for n, v := range verdicts {
		results = append(results, egress.Result{Case: egress.Case{Name: n, Area: "http"}, Verdict: v})
	}
	b, err := report.New(report.Environment{}, time.Now(), results, faults...).JSON()
	file := filepath.Join(t.TempDir(), "report.json")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRerunFailed(t *testing.T) {
	failed := reported(t, map[string]egress.Verdict{
		"http-serviceentry": egress.Violates, "tcp-other-port": egress.Inconclusive, "https-serviceentry": egress.Conforms, "tls-serviceentry": egress.Skipped,
	})
	if got := listed(t, "--rerun-failed="+failed); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"http-serviceentry", "tcp-other-port"}) {
		t.Errorf("%v", got)
	}
	if got := listed(t, "--rerun-failed="+failed, "--area", "tcp"); !slices.Equal(got, []string{"tcp-other-port"}) {
		t.Errorf("%v", got)
	}
	sound := reported(t, map[string]egress.Verdict{"http-serviceentry": egress.Conforms})
	code, out, _ := egressctl(t, "run", "--rerun-failed="+sound)
	if code != exitOK || !strings.Contains(out, "every case conforms in "+sound) {
		t.Errorf("exit %d, %q", code, out)
	}
	if got := listed(t, "--rerun-failed="+sound); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for want, file := range map[string]string{
		"no case of":                reported(t, map[string]egress.Verdict{"http-serviceentry": egress.Conforms}, "the clean-up failed"),
		`case "of-another" of`:      reported(t, map[string]egress.Verdict{"of-another": egress.Violates}),
		"no such file or directory": filepath.Join(t.TempDir(), "none.json"),
	} {
		if code, _, stderr := egressctl(t, "run", "--rerun-failed="+file); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("exit %d, %q; want %q", code, stderr, want)
		}
	}
	// Without a name, it is the report of the last run.
	t.Chdir(t.TempDir())
	if code, _, stderr := egressctl(t, "run", "--rerun-failed"); code != exitUsage || !strings.Contains(stderr, defaultReport) {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestDryRun(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, stderr := egressctl(t, "run", "--dry-run", "--area", "tcp", "--out", "reports")
	if code != exitOK || !strings.Contains(out, "run            tcp-other-port") || !strings.Contains(out, " cases: ") || stderr != "" {
		t.Errorf("exit %d, %q %q", code, out, stderr)
	}
	if _, err := os.Stat("reports"); err == nil {
		t.Error("a dry run has made the folder of the reports")
	}
	if _, out, _ := egressctl(t, "run", "--dry-run", "--shard", "2/5"); !strings.Contains(out, "(shard 2/5 of ") {
		t.Error(out)
	}
	if _, out, _ := egressctl(t, "run", "--dry-run"); !strings.Contains(out, "skipped        ") {
		t.Error(out)
	}
}

func TestContradictions(t *testing.T) {
	for want, args := range map[string][]string{
		"--json is for --dry-run":      {"run", "--json"},
		"--quiet contradicts":          {"run", "-q", "-v"},
		"--timeout -1s":                {"run", "--timeout=-1s"},
		"--timeout 0s":                 {"run", "--timeout", "0s"},
		"--until-it-fails 0":           {"run", "--until-it-fails", "0"},
		"leave out --lanes":            {"run", "--pause-on-fail", "--lanes", "3"},
		`no case is of area "nonsense`: {"run", "--area", "nonsense"},
	} {
		if code, _, stderr := egressctl(t, args...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q", args, code, stderr)
		}
	}
}

// A folder that cannot be written is said before anything runs.
func TestReportFolderFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := egressctl(t, "run", "--provider", "embedded", "--case", "http-serviceentry", "--out", file)
	if code != exitFault || !strings.Contains(stderr, "the reports cannot be written") || out != "" || strings.Contains(stderr, "components:") {
		t.Errorf("exit %d, %q %q", code, out, stderr)
	}
}

func TestRounds(t *testing.T) {
	conforming := report.New(report.Environment{}, time.Now(), []egress.Result{{Verdict: egress.Conforms}})
	failing := report.New(report.Environment{}, time.Now(), []egress.Result{{Verdict: egress.Violates}})
	for name, x := range map[string]struct {
		most, fails, want int
	}{
		"once":                {0, 0, 1},
		"once, and it fails":  {1, 1, 1},
		"it never fails":      {5, 0, 5},
		"it fails at the 3rd": {5, 3, 3},
	} {
		n := 0
		rep := rounds(x.most, optionsWithLog(t), func() *report.Report {
			if n++; n == x.fails {
				return failing
			}
			return conforming
		})
		if n != x.want || (rep == failing) != (x.fails > 0) {
			t.Errorf("%s: %d rounds, exit %d", name, n, rep.ExitCode())
		}
	}
}
