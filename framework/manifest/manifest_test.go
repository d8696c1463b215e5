package manifest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files into a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shown is what was read, one line each, with places below dir.
func shown(s *Set, dir string) string {
	var b strings.Builder
	for _, o := range s.Objects {
		fmt.Fprintf(&b, "%s: %s\n", o.Where(), o)
	}
	for _, m := range s.Mistakes {
		fmt.Fprintf(&b, "mistake %s\n", m.Error())
	}
	for _, m := range s.Notices {
		fmt.Fprintf(&b, "notice %s\n", m.Error())
	}
	return strings.ReplaceAll(b.String(), dir+"/", "")
}

const (
	entry  = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: bank, namespace: shop}\nspec:\n  hosts: [bank.example]\n"
	deploy = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pay}\n"
)

func TestRead(t *testing.T) {
	for name, x := range map[string]struct {
		files map[string]string
		want  []string
		not   []string
	}{
		"files of a folder, with their lines": {map[string]string{"a/b.yaml": "# first\n" + entry + "---\n" + deploy, "README.md": entry, ".git/x.yaml": entry}, []string{
			"a/b.yaml:2: ServiceEntry shop/bank", "a/b.yaml:8: Deployment pay",
		}, []string{"README", ".git", "mistake"}},
		"a list":             {map[string]string{"l.yaml": "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(deploy), "\n", "\n  ") + "\n"}, []string{"l.yaml:4: Deployment pay"}, nil},
		"JSON":               {map[string]string{"l.json": `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}`}, []string{"l.json:1: Service x"}, nil},
		"one broken file":    {map[string]string{"a.yaml": "a: [1\nb: 2", "b.yaml": entry}, []string{"mistake a.yaml:", "this is no YAML", "b.yaml:1: ServiceEntry shop/bank"}, nil},
		"twice":              {map[string]string{"a.yaml": entry, "b.yaml": "\n" + entry}, []string{"a.yaml:1: ServiceEntry", "mistake b.yaml:2: ServiceEntry shop/bank is there twice, first in a.yaml:1"}, []string{"b.yaml:2: ServiceEntry shop/bank\n"}},
		"no name":            {map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\n"}, []string{"mistake a.yaml:1: this Pod has no name"}, nil},
		"of another program": {map[string]string{"values.yaml": "replicas: 2\n", "c.yaml": "[1, 2]"}, []string{"notice values.yaml: it has no apiVersion", "mistake c.yaml:1: this is no Kubernetes object"}, nil},
		"nothing":            {map[string]string{"x.txt": ""}, []string{"no object is in it"}, nil},
		"a chart among others": {
			map[string]string{
				"chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n", "chart/values.yaml": "host: bank.example\n",
				"chart/templates/se.yaml": strings.ReplaceAll(entry, "bank.example", "{{ .Values.host }}"), "chart/templates/NOTES.txt": "hello", "chart/templates/hook.yaml": strings.Replace(deploy, "{name: pay}", `{name: h, annotations: {"helm.sh/hook": pre-install}}`, 1),
			},
			[]string{"chart/templates/se.yaml: ServiceEntry shop/bank"},
			[]string{"mistake", "Deployment"},
		},
		"a chart that does not render": {
			map[string]string{"chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n", "chart/templates/se.yaml": "{{ fail \"no host\" }}", "b.yaml": entry},
			[]string{"mistake chart: the chart does not render", "no host", "b.yaml:1: ServiceEntry"},
			nil,
		},
		"a kustomize folder among others": {map[string]string{"k/kustomization.yaml": "resources: [x.yaml]\n", "k/x.yaml": entry, "b.yaml": deploy}, []string{"notice k: it is a kustomize folder", "b.yaml:1"}, []string{"ServiceEntry"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, x.files)
			text := shown(Read(t.Context(), []string{dir}, Options{}), dir)
			for _, want := range x.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			for _, not := range x.not {
				if strings.Contains(text, not) {
					t.Errorf("%q is in\n%s", not, text)
				}
			}
		})
	}
}

func TestStdin(t *testing.T) {
	s := Read(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(entry)})
	if text := shown(s, "/none"); text != "standard input:1: ServiceEntry shop/bank\n" || s.Objects[0].LineAt("spec", "hosts", 0) != 5 {
		t.Errorf("%s", text)
	}
	if text := shown(Read(t.Context(), []string{"-", "/nowhere"}, Options{}), "/none"); strings.Count(text, "mistake") != 2 {
		t.Errorf("%s", text)
	}
}

func TestKustomize(t *testing.T) {
	dir := tree(t, map[string]string{
		"base/kustomization.yaml":  "resources: [se.yaml]\n",
		"base/se.yaml":             "# a comment\n" + entry,
		"over/kustomization.yaml":  "resources: [../base]\nnamePrefix: prod-\nnamespace: live\npatches:\n- patch: |-\n    - op: replace\n      path: /spec/hosts/0\n      value: https://not.a.url.that.is.fetched\n  target: {kind: ServiceEntry}\n",
		"far/kustomization.yaml":   "resources: [https://example.com/x.yaml]\n",
		"far2/kustomization.yaml":  "resources: [../far]\n",
		"far3/kustomization.yaml":  "resources: [github.com/a/b]\n",
		"far4/kustomization.yaml":  "patches: [{path: \"https://example.com/p.yaml\"}]\n",
		"wrong/kustomization.yaml": "resources: [../base]\nnonsense: 1\n",
	})
	s := Read(t.Context(), []string{dir + "/over"}, Options{})
	if text := shown(s, dir); text != "base/se.yaml:2: ServiceEntry live/prod-bank\n" || s.Objects[0].LineAt("spec", "hosts", 0) != 2 {
		t.Errorf("%s", text)
	}
	for _, far := range []string{"far", "far2", "far3", "far4", "wrong"} {
		text := shown(Read(t.Context(), []string{dir + "/" + far}, Options{}), dir)
		if !strings.HasPrefix(text, "mistake "+far) || far != "wrong" && !strings.Contains(text, "nothing is fetched") {
			t.Errorf("%s: %s", far, text)
		}
	}
}

func TestChartValues(t *testing.T) {
	dir := tree(t, map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n", "values.yaml": "host: a.example\nname: bank\n",
		"templates/se.yaml": "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: {{ .Values.name }}-{{ .Release.Name }}, namespace: {{ .Release.Namespace }}}\nspec: {hosts: [{{ .Values.host }}]}\n",
		"mine.yaml":         "host: b.example\n",
	})
	s := Read(t.Context(), []string{dir}, Options{Values: []string{dir + "/mine.yaml"}, Set: []string{"name=card"}, Release: "r", Namespace: "shop"})
	if text := shown(s, dir); !strings.Contains(text, "ServiceEntry shop/card-r") || fmt.Sprint(s.Objects[0].At("spec", "hosts")) != "[b.example]" {
		t.Errorf("%s %v", text, s.Objects)
	}
	if s := Read(t.Context(), []string{dir}, Options{Values: []string{dir + "/none.yaml"}}); len(s.Mistakes) != 1 {
		t.Errorf("%v", s.Mistakes)
	}
}

func TestReadAt(t *testing.T) {
	dir := tree(t, map[string]string{"mesh/a.yaml": entry})
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("git: %v: %s", err, out)
		}
	}
	run("init", "-q", "-b", "main")
	run("add", ".")
	run("commit", "-q", "-m", "first")
	if err := os.WriteFile(dir+"/mesh/a.yaml", []byte(strings.ReplaceAll(entry, "bank", "card")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/new", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := ReadAt(t.Context(), "main", []string{dir + "/mesh", dir + "/new"}, Options{})
	if err != nil || shown(s, dir) != "main:mesh/a.yaml:1: ServiceEntry shop/bank\n" {
		t.Errorf("%v %s", err, shown(s, dir))
	}
	for ref, path := range map[string]string{"nowhere": dir, "--output=/tmp/x": dir, "main": "-"} {
		if _, err := ReadAt(t.Context(), ref, []string{path}, Options{}); err == nil {
			t.Errorf("%s of %s was read", ref, path)
		}
	}
}
