package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setOf reads files, by their names below a folder.
func setOf(t *testing.T, dir string, files map[string]string) *Set {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Read(t.Context(), []string{dir}, Options{})
}

func TestChanged(t *testing.T) {
	const ns = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	const broken = "a: [\n"
	before := map[string]string{"a.yaml": ns, "b.yaml": strings.Replace(ns, "name: a", "name: b", 1), "bad.yaml": broken}
	for name, x := range map[string]struct {
		file, text string
		changed    []string
		broken     int // mistakes that were not there before
	}{
		"nothing":                  {"a.yaml", ns, nil, 0},
		"a comment at the end":     {"a.yaml", ns + "# nothing\n", nil, 0},
		"the lines have moved":     {"a.yaml", "# nothing\n" + ns, []string{"a.yaml"}, 0},
		"another name":             {"a.yaml", strings.Replace(ns, "name: a", "name: c", 1), []string{"a.yaml"}, 0},
		"a new file":               {"c.yaml", strings.Replace(ns, "name: a", "name: c", 1), []string{"c.yaml"}, 0},
		"a file is gone":           {"b.yaml", "", []string{"b.yaml"}, 0},
		"a file breaks":            {"b.yaml", broken, []string{"b.yaml"}, 1},
		"a broken one is mended":   {"bad.yaml", "", []string{"bad.yaml"}, 0},
		"an object is there twice": {"c.yaml", ns, []string{"c.yaml"}, 1},
	} {
		dir := filepath.Join(t.TempDir(), "in")
		was := setOf(t, dir, before)
		files := map[string]string{}
		for f, text := range before {
			files[f] = text
		}
		if files[x.file] = x.text; x.text == "" {
			delete(files, x.file)
		}
		is := setOf(t, dir, files)
		var changed []string
		for _, f := range is.Changed(was) {
			changed = append(changed, strings.TrimPrefix(f, dir+"/"))
		}
		if !slices.Equal(changed, x.changed) || len(is.Broken(was)) != x.broken {
			t.Errorf("%s: %v changed, broken: %v", name, changed, is.Broken(was))
		}
	}
}

// A mistake that moves to another line is the same; a second one of its kind is not.
func TestBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "in")
	const nameless = "kind: Namespace\napiVersion: v1\n"
	was := setOf(t, dir, map[string]string{"a.yaml": nameless})
	moved := setOf(t, dir, map[string]string{"a.yaml": "# one more line\n" + nameless})
	if b := moved.Broken(was); len(was.Mistakes) != 1 || len(b) != 0 {
		t.Errorf("%v, %v", was.Mistakes, b)
	}
	if b := setOf(t, dir, map[string]string{"a.yaml": nameless + "---\n" + nameless}).Broken(was); len(b) != 1 {
		t.Errorf("%v", b)
	}
}

// What is read depends on all folders that are read, those of a chart and of a kustomization's bases among them.
func TestFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "in")
	setOf(t, dir, map[string]string{
		"plain/a.yaml": "", "plain/deep/b.yaml": "", "plain/.hidden/c.yaml": "",
		"chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "chart/templates/t.yaml": "",
		"overlay/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [n.yaml]\n", "base/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
		"single/one.yaml": "", "values/v.yaml": "",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	set := Read(t.Context(), []string{in("plain"), in("chart"), in("overlay"), in("single/one.yaml"), in("gone/none.yaml")}, Options{Values: []string{in("values/v.yaml")}})
	for _, want := range []string{"plain", "plain/deep", "chart", "chart/templates", "overlay", "base", "single", "values", "gone"} {
		real, err := filepath.EvalSymlinks(in(want))
		if err != nil {
			real = in(want)
		}
		if !slices.Contains(set.Folders, in(want)) && !slices.Contains(set.Folders, real) {
			t.Errorf("%s is not among %v", want, set.Folders)
		}
	}
	if slices.Contains(set.Folders, in("plain/.hidden")) {
		t.Error("what is not read is watched")
	}
}
