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
	"mesh-egress-conformance/framework/report/html"
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
		{[]string{"report", "schema", "comparison"}, exitOK, ""},
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

// A comparison links to the pages of its runs where these lie beside it, and so does its page when it is made again elsewhere.
func TestPagesOfAComparison(t *testing.T) {
	dir := t.TempDir()
	at := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	for _, v := range []string{"1.30", "1.31"} {
		verdict := map[string]egress.Verdict{"1.30": egress.Conforms, "1.31": egress.Violates}[v]
		if _, err := ran(v, verdict).WriteAll(folder(t, at("all", v)), html.Page); err != nil {
			t.Fatal(err)
		}
	}
	old, newer := at("all", "1.30", "report.json"), at("all", "1.31", "report.json")
	if code, _, stderr := egressctl(t, "compare", old, newer, "--out", at("all", "1.31")); code != exitUsage || !strings.Contains(stderr, "name another folder") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := egressctl(t, "compare", old, newer, "--out", at("all")); code != 1 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if err := os.Remove(at("all", "1.30", "report.html")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what     string
		args     []string
		file     string
		has, not string
	}{
		{"as it was written", nil, at("all", "comparison.html"), `href="./1.30/report.html#case=c"`, ""},
		{"again", []string{"html", at("all", "comparison.json")}, at("all", "comparison.html"), `href="./1.31/report.html#case=c"`, "1.30/report.html"},
		{"elsewhere", []string{"html", at("all", "comparison.json"), "-o", at("other", "page.html")}, at("other", "page.html"), `href="./../all/1.31/report.html"`, "1.30/report.html"},
		{"too far away", []string{"html", at("all", "comparison.json"), "-o", at("a", "b", "page.html")}, at("a", "b", "page.html"), "1.31", "report.html"},
		{"Markdown", []string{"markdown", at("all", "comparison.json")}, at("all", "comparison.md"), "## regression", ""},
	} {
		if x.args != nil {
			if code, _, stderr := egressctl(t, append([]string{"report"}, x.args...)...); code != exitOK {
				t.Errorf("%s: exit %d, %s", x.what, code, stderr)
			}
		}
		b, err := os.ReadFile(x.file)
		if err != nil || !strings.Contains(string(b), x.has) || x.not != "" && strings.Contains(string(b), x.not) {
			t.Errorf("%s: %v\n%s", x.what, err, b)
		}
	}
	if code, stdout, stderr := egressctl(t, "open", at("all"), "--print"); code != exitOK || strings.TrimSpace(stdout) != at("all", "comparison.html") {
		t.Errorf("exit %d %s %s", code, stdout, stderr)
	}
	if err := os.Remove(at("all", "comparison.html")); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := egressctl(t, "open", at("all"), "--print"); code != exitFault || !strings.Contains(stderr, "egressctl report html "+at("all", "comparison.json")+" makes the page") {
		t.Errorf("exit %d %s", code, stderr)
	}
	spoiled := at("all", "spoiled.json")
	b, err := os.ReadFile(at("all", "comparison.json"))
	if err == nil {
		err = os.WriteFile(spoiled, bytes.Replace(b, []byte("comparison/v1"), []byte("comparison/v9"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := egressctl(t, "report", "html", spoiled); code != exitFault || !strings.Contains(stderr, "a newer one") {
		t.Errorf("exit %d %s", code, stderr)
	}
}

func folder(t *testing.T, dir string) *report.Folder {
	t.Helper()
	to, err := report.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	return to
}
