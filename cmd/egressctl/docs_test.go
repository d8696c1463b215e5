package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/pages"
)

const pageHead = "# Title\n\n<!-- verified -->\n> Verified on 2026-01-02 with Istio 1.31.0. More.\n\n"

// write makes a repository of pages and changes into it.
func writePages(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

// A mistake in a page, or in what is asked for, is told before a cluster is looked for.
func TestDocsMistakes(t *testing.T) {
	writePages(t, map[string]string{
		"docs/pages/good.md":  pageHead + "```sh\ntrue\n```\n",
		"docs/pages/bad.md":   pageHead + "```sh\ntrue\n```\n<!-- inclde: fixtures/a.yaml -->\n<!-- include: fixtures/none.yaml -->\n",
		"docs/pages/stale.md": pageHead + "```sh\ntrue\n```\n<!-- include: fixtures/a.yaml -->\n```yaml\nkind: B\n```\n",
		"fixtures/a.yaml":     "kind: A\n",
	})
	for _, x := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"docs", "verify", "bad"}, exitFault, []string{`docs/pages/bad.md:9: the directive "inclde" is unknown; did you mean <!-- include: FILE -->`, "docs/pages/bad.md:10: include: fixtures/none.yaml: no such file or directory", "2 mistakes in the pages, so nothing was run"}},
		{[]string{"docs", "update", "bad"}, exitFault, []string{"2 mistakes"}},
		{[]string{"docs", "run", "bad", "--yes"}, exitFault, []string{"2 mistakes"}},
		{[]string{"docs", "verify"}, exitFault, []string{"2 mistakes"}},
		{[]string{"docs", "verify", "stale", "good"}, exitFault, []string{"docs/pages/stale.md:9: the block is not fixtures/a.yaml as it is now; egressctl docs update stale writes it"}},
		{[]string{"docs", "verify", "goof"}, exitUsage, []string{`no page is named "goof"; did you mean good?`}},
		{[]string{"docs", "update", "goof"}, exitUsage, []string{"no page is named"}},
		{[]string{"docs", "run", "good"}, exitUsage, []string{"use a terminal, or --yes"}},
		{[]string{"docs", "run", "goof"}, exitUsage, []string{`no page is named "goof"; did you mean good?`}},
		{[]string{"docs", "run"}, exitUsage, []string{"accepts 1 arg"}},
		{[]string{"docs", "verfy"}, exitUsage, []string{`unknown command "verfy"`}},
		{[]string{"docs", "run", "good", "--yes"}, exitFault, []string{"no such cluster"}},
	} {
		code, _, stderr := egressctl(t, x.args...)
		for _, w := range x.want {
			if code != x.code || !strings.Contains(stderr, w) {
				t.Errorf("%v: exit %d, %s; wanted exit %d and %s", x.args, code, stderr, x.code, w)
			}
		}
	}
}

// Outside a repository the built-in pages are read, which cannot be written.
func TestBuiltInPages(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	code, out, stderr := egressctl(t, "docs", "list", "--json")
	var list []pageEntry
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitOK {
		t.Fatalf("exit %d, %v, %s", code, err, stderr)
	}
	if len(list) < 6 || list[0].Name == "" || list[0].Title == "" || list[0].Steps == 0 || list[0].Verified == "" {
		t.Errorf("%+v", list)
	}
	if code, _, stderr := egressctl(t, "docs", "update"); code != exitUsage || !strings.Contains(stderr, "call it in the repository") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestGuide(t *testing.T) {
	writePages(t, map[string]string{"docs/pages/p.md": pageHead + "Text.\n\n```sh\nmake\n```\n```output\nmade\n```\n```sh\nclean\n```\n"})
	list, err := pages.Load(input.Dir("."))
	if err != nil {
		t.Fatal(err)
	}
	p := list[0]
	var out bytes.Buffer
	g := &guide{page: p, w: &out, in: bufio.NewReader(strings.NewReader("what?\n\ns\nq\n"))}
	for _, want := range []pages.Decision{pages.RunIt, pages.SkipIt, pages.Quit, pages.Quit} { // the last one at the end of the input
		if got, err := g.ask(p.Steps[0]); got != want || err != nil {
			t.Errorf("%v %v, wanted %v", got, err, want)
		}
	}
	r := pages.Result{Step: p.Steps[0], Output: "broken\n"}
	g.tell(r)
	err = g.end(pages.Outcome{Page: p, Results: []pages.Result{r}, Left: []string{"Pod a/b is left behind"}, Partly: true})
	for _, w := range []string{"Text.", "$ make\n", "broken\n\nThe page has something else:\n--- docs/pages/p.md", "-made\n+broken\n", "Pod a/b is left behind", "1 step of 2 run, 1 printed something else", "steps were left out"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is missing in\n%s", w, out.String())
		}
	}
	if ee, ok := err.(*exitError); !ok || ee.code != 1 { //nolint:errorlint // it is made there
		t.Error(err)
	}
	if err := g.end(pages.Outcome{Page: p}); err != nil {
		t.Error(err)
	}
}

// A page is written with what came out, unless it leaves something behind.
func TestUpdate(t *testing.T) {
	dir := writePages(t, map[string]string{"docs/pages/p.md": pageHead + "```sh\nmake\n```\n<!-- include: fixtures/a.yaml -->\n", "fixtures/a.yaml": "kind: A\n"})
	lib := &library{dir: dir}
	list, err := lib.loaded(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := pages.Outcome{Page: list[0], Results: []pages.Result{{Step: list[0].Steps[0], Output: "made\n"}}, Left: []string{"Pod a/b is left behind"}}
	var said bytes.Buffer
	facts := cluster.Facts{IstioTag: "1.31.7", Envoy: "1.39.0", Kubernetes: "v1.37.0", Provider: "embedded", Internet: cluster.Hermetic}
	if ok, err := lib.update(&said, out, facts); ok || err != nil || !strings.Contains(said.String(), "docs/pages/p.md: Pod a/b is left behind") {
		t.Errorf("%t %v %s", ok, err, said.String())
	}
	if b, _ := os.ReadFile("docs/pages/p.md"); strings.Contains(string(b), "made") {
		t.Errorf("it was written:\n%s", b)
	}
	out.Left, out.Results[0].Exit = nil, 1
	if ok, err := lib.update(&said, out, facts); ok || err != nil || !strings.Contains(said.String(), "docs/pages/p.md:6: exit status 1, and not 0: made") {
		t.Errorf("%t %v %s", ok, err, said.String())
	}
	if b, _ := os.ReadFile("docs/pages/p.md"); strings.Contains(string(b), "made") {
		t.Errorf("it was written:\n%s", b)
	}
	out.Results[0].Exit = 0
	if ok, err := lib.update(&said, out, facts); !ok || err != nil || !strings.Contains(said.String(), "docs/pages/p.md:6: what its commands print is new") {
		t.Errorf("%t %v %s", ok, err, said.String())
	}
	b, err := os.ReadFile("docs/pages/p.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"with Istio 1.31.7, Envoy 1.39.0, Kubernetes 1.37.0 (embedded cluster, hermetic internet).\n", "```output\nmade\n```\n", "```yaml\nkind: A\n```\n"} {
		if !strings.Contains(string(b), w) {
			t.Errorf("%q is missing in\n%s", w, b)
		}
	}
	if strings.Contains(string(b), "2026-01-02") {
		t.Errorf("the date is the old one:\n%s", b)
	}
}
