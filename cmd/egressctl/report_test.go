package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/reporttest"
	"mesh-egress-conformance/framework/upgrade"
)

// written is a folder with the reports of a run.
func written(t *testing.T) string {
	t.Helper()
	r := report.New(report.Environment{Provider: "embedded"}, time.Now(), []egress.Result{{Case: egress.Case{Name: "a-case", Area: "http"}, Verdict: egress.Conforms}})
	dir := t.TempDir()
	to, err := report.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := writeReports(r, to); err != nil {
		t.Fatal(err)
	}
	validate(t, dir)
	return dir
}

// validate looks at the report.json in a folder.
func validate(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = reporttest.Validate(b)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestReportCommand(t *testing.T) {
	dir := written(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		args []string
		code int
		file string
	}{
		{[]string{"report", "html", at("report.json"), "-o", at("page.html")}, exitOK, at("page.html")},
		{[]string{"report", "markdown", at("report.json"), "-o", at("page.md")}, exitOK, at("page.md")},
		{[]string{"report", "html", at("report.json")}, exitOK, at("report.html")},
		{[]string{"report", "html", at("none.json")}, exitFault, ""},
		{[]string{"report", "html", at("report.json"), "-o", at("report.json/x")}, exitFault, ""},
		{[]string{"report", "schema"}, exitOK, ""},
		{[]string{"report", "schema", "upgrade"}, exitOK, ""},
		{[]string{"report", "schema", "verify"}, exitOK, ""},
		{[]string{"report", "schema", "nonsense"}, exitUsage, ""},
		{[]string{"report", "html"}, exitUsage, ""},
		{[]string{"report", "htm", at("report.json")}, exitUsage, ""},
	} {
		if code := run(c.args, io.Discard, io.Discard); code != c.code {
			t.Errorf("%v: exit %d, want %d", c.args, code, c.code)
		}
		if c.file != "" {
			if b, err := os.ReadFile(c.file); err != nil || !strings.Contains(string(b), "a-case") && !strings.Contains(string(b), "all 1 cases") {
				t.Errorf("%v: %v", c.args, err)
			}
		}
	}
}

// An upgrade's reports are written before anything else can fail, and as their schema has them.
func TestUpgradeReports(t *testing.T) {
	dir := t.TempDir()
	to, err := report.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	t.Setenv(stepSummary, filepath.Join(dir, "summary"))
	now := time.Now()
	names, err := writeUpgrade(upgrade.Of(upgrade.Record{From: "1.29", To: "1.31", Phases: []upgrade.Phase{{Name: "before", From: now, To: now.Add(time.Second)}}}), to)
	if err != nil || len(names) != 3 {
		t.Fatalf("%q %v", names, err)
	}
	for file, want := range map[string]string{"upgrade.json": "upgrade/v1", "upgrade.md": "# Upgrade", "upgrade.html": "<svg", "summary": "# Upgrade"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v\n%s", file, err, b)
		}
		if file == "upgrade.json" {
			if err := reporttest.ValidateUpgrade(b); err != nil {
				t.Error(err)
			}
		}
	}
}

// The report of an upgrade is rendered by the same commands, whatever its file is called, and one of the first egressctl too.
func TestReportOfAnUpgrade(t *testing.T) {
	dir := t.TempDir()
	copied := func(from, to string, replace ...string) string {
		b, err := os.ReadFile(filepath.Join("../../framework/upgrade/testdata", from))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), []byte(strings.NewReplacer(replace...).Replace(string(b))), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, to)
	}
	old := copied("v1-first.json", "old.json")
	newer := copied("v1-last.json", "newer.json", "upgrade/v1", "upgrade/v2")
	for _, x := range []struct {
		args []string
		code int
		file string
		want string // in the file, or on standard error
	}{
		{[]string{"html", old}, exitOK, "upgrade.html", "<h1 class=\"leak\">Blocked traffic got out: attempts 2"},
		{[]string{"markdown", old}, exitOK, "upgrade.md", "# Upgrade: Blocked traffic got out"},
		{[]string{"html", copied("v1-last.json", "upgrade.json"), "-o", filepath.Join(dir, "page")}, exitOK, "page", "<td>a saw it</td>"},
		{[]string{"html", newer}, exitFault, "", newer + `: its schema "mesh-egress-conformance/upgrade/v2" is of another egressctl, a newer one`},
	} {
		code, _, stderr := egressctl(t, append([]string{"report"}, x.args...)...)
		got := stderr
		if x.file != "" {
			b, err := os.ReadFile(filepath.Join(dir, x.file))
			if err != nil {
				t.Error(err)
			}
			got = string(b)
		}
		if code != x.code || !strings.Contains(got, x.want) {
			t.Errorf("%v: exit %d, %s\n%s", x.args, code, stderr, got)
		}
	}
}

func TestStepSummary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "summary")
	if err := os.WriteFile(file, []byte("of an earlier step\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(stepSummary, file)
	written(t)
	if b, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(b, []byte("of an earlier step\n## ✅ Egress conformance: all 1 cases")) {
		t.Errorf("%v\n%s", err, b)
	}
	t.Setenv(stepSummary, filepath.Join(file, "none"))
	if _, err := openReports(t.TempDir()); err == nil || !strings.Contains(err.Error(), stepSummary) {
		t.Errorf("a summary that cannot be written is not told before the run: %v", err)
	}
}
