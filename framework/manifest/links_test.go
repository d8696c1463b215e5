package manifest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/input"
)

// links makes links below a folder; $DIR stands for it.
func links(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for name, to := range all {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(strings.ReplaceAll(to, "$DIR", dir), p); err != nil {
			t.Fatal(err)
		}
	}
}

// named is an entry of another name.
func named(name string) string { return strings.ReplaceAll(entry, "bank", name) }

// What links lead to is read, once, or told.
func TestLinks(t *testing.T) {
	for name, x := range map[string]struct {
		path        string
		links       map[string]string
		files, want string
	}{
		"the folder itself":       {"l", map[string]string{"l": "mesh"}, "mesh/a.yaml", "l/a.yaml:1: ServiceEntry shop/mesh-a\n"},
		"a file":                  {"mesh", map[string]string{"mesh/b.yaml": "../out/b.yaml"}, "out/b.yaml", "mesh/b.yaml:1: ServiceEntry shop/out-b\n"},
		"a folder outside":        {"mesh", map[string]string{"mesh/l": "../out"}, "mesh/a.yaml out/b.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\nmesh/l/b.yaml:1: ServiceEntry shop/out-b\n"},
		"a folder that is read":   {"mesh", map[string]string{"mesh/l": "sub"}, "mesh/sub/a.yaml", "mesh/sub/a.yaml:1: ServiceEntry shop/mesh-sub-a\n"},
		"a hidden folder":         {"mesh", map[string]string{"mesh/now": ".v3"}, "mesh/.v3/a.yaml", "mesh/now/a.yaml:1: ServiceEntry shop/mesh-.v3-a\n"},
		"two of one folder":       {"mesh", map[string]string{"mesh/l": "../out", "mesh/m": "$DIR/out"}, "out/b.yaml", "mesh/l/b.yaml:1: ServiceEntry shop/out-b\n"},
		"one within another":      {"mesh", map[string]string{"mesh/l": "../out", "out/more": "../far"}, "out/b.yaml far/c.yaml", "mesh/l/b.yaml:1: ServiceEntry shop/out-b\nmesh/l/more/c.yaml:1: ServiceEntry shop/far-c\n"},
		"in a circle":             {"mesh", map[string]string{"mesh/l": "../out", "out/back": "../mesh"}, "mesh/a.yaml out/b.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\nmesh/l/b.yaml:1: ServiceEntry shop/out-b\n"},
		"a folder that it is in":  {"mesh", map[string]string{"mesh/up": ".."}, "mesh/a.yaml out/b.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\nmistake mesh/up: it is a link to a folder that it is in itself, of which nothing else is read: name what is meant as a path of its own\n"},
		"nowhere":                 {"mesh", map[string]string{"mesh/l": "gone"}, "mesh/a.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\nmistake mesh/l: it is a link, and what it leads to cannot be read: lstat mesh/gone: no such file or directory\n"},
		"a file with no objects":  {"mesh", map[string]string{"mesh/README": "../out/b.txt"}, "mesh/a.yaml out/b.txt", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\n"},
		"a kustomize folder":      {"mesh", map[string]string{"mesh/k": "../out"}, "mesh/a.yaml out/kustomization.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\nnotice mesh/k: it is a kustomize folder, and is not read as a part of another one: name it, or the overlay that is meant, as a path of its own\n"},
		"a file of another point": {"mesh/", nil, "mesh/a.yaml", "mesh/a.yaml:1: ServiceEntry shop/mesh-a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range strings.Fields(x.files) {
				files[f] = named(strings.ReplaceAll(strings.TrimSuffix(f, filepath.Ext(f)), "/", "-"))
			}
			dir := tree(t, files)
			links(t, dir, x.links)
			got := Read(t.Context(), []string{dir + "/" + x.path}, Options{})
			if text := shown(got, dir); text != x.want {
				t.Errorf("%s\nwant\n%s", text, x.want)
			}
		})
	}
}

// Files are named as whoever named their folder sees them.
func TestNames(t *testing.T) {
	dir := tree(t, map[string]string{"mesh/a.yaml": entry})
	t.Chdir(dir)
	for path, want := range map[string]string{"mesh": "mesh/a.yaml", "./mesh": "mesh/a.yaml", ".": "mesh/a.yaml", "mesh/": "mesh/a.yaml", "../" + filepath.Base(dir) + "/mesh": "../" + filepath.Base(dir) + "/mesh/a.yaml"} {
		if s := Read(t.Context(), []string{path}, Options{}); len(s.Objects) != 1 || s.Objects[0].File != want {
			t.Errorf("%s: %s", path, shown(s, dir))
		}
	}
}

// repo is a repository with one commit, main, of what is in a folder.
func repo(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "first"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("git: %v: %s", err, out)
		}
	}
}

// At a commit, links lead to what was there then, and whatever cannot be had is a mistake.
func TestLinksAtCommit(t *testing.T) {
	dir := tree(t, map[string]string{
		"repo/v1/a.yaml": named("one"), "repo/v2/a.yaml": named("two"), "repo/exported/e.yaml": named("exported"), "repo/.gitattributes": "exported export-ignore\n",
		"repo/long/l.yaml": entry + strings.Repeat("#"+strings.Repeat("x", 1022)+"\n", input.MaxFile>>10), "other/x.yaml": named("other"),
	})
	links(t, dir, map[string]string{
		"repo/mesh": "v1", "repo/files/f.yaml": "../v1/a.yaml", "repo/outside/o.yaml": "../../other/x.yaml", "repo/outside/far": "$DIR/other", "repo/around": "deep/../../repo/v1", "repo/way/out": "../../other",
	})
	repo(t, dir+"/repo")
	for _, name := range []string{"mesh"} { // since then
		if err := os.Remove(dir + "/repo/" + name); err != nil {
			t.Fatal(err)
		}
	}
	links(t, dir, map[string]string{"repo/mesh": "v2", "in": "repo"})
	const out = "and what was there then cannot be known"
	for path, want := range map[string][]string{
		"repo/mesh":     {"main:mesh/a.yaml:1: ServiceEntry shop/one"},
		"in/mesh":       {"main:mesh/a.yaml:1: ServiceEntry shop/one"},
		"repo/files":    {"main:files/f.yaml:1: ServiceEntry shop/one"},
		"repo/exported": {"main:exported/e.yaml:1: ServiceEntry shop/exported"},
		"repo/long":     {"mistake main:long/l.yaml: read it: ", "too long"},
		"repo/outside":  {"mistake main:outside/far: at the commit it is a link to " + dir + "/other, out of the repository, " + out, "mistake main:outside/o.yaml: at the commit it is a link"},
		"repo/around":   {"mistake main:around: at the commit it is a link"},
		"repo/way/out":  {"mistake main:way/out: at the commit it is a link"},
	} {
		s, err := ReadAt(t.Context(), "main", []string{dir + "/" + path}, Options{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		text := shown(s, "/none")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", path, w, text)
			}
		}
		if strings.HasPrefix(want[0], "mistake") != (len(s.Objects) == 0) || strings.Contains(text, "shop/other") {
			t.Errorf("%s: %s", path, text)
		}
	}
}

// A submodule's files at the commit are not in the repository.
func TestSubmoduleAtCommit(t *testing.T) {
	lost := map[string]string{}
	dir := t.TempDir()
	files, err := tracked("160000 commit 0123456789012345678901234567890123456789       -\trules\x00")
	if err == nil {
		err = unpack(files, nil, dir, lost)
	}
	s := read(t.Context(), []source{{dir, "main:."}}, Options{}, lost)
	if err != nil || !strings.Contains(shown(s, dir), "mistake main:./rules: it is a Git submodule") && !strings.Contains(shown(s, dir), "it is a Git submodule") {
		t.Errorf("%v %s", err, shown(s, dir))
	}
}

// What is rendered may be longer than a file; both have a bound.
func TestLong(t *testing.T) {
	big := strings.Repeat("#"+strings.Repeat("x", 1022)+"\n", input.MaxFile>>10+1) + entry
	if s := Read(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(big)}); len(s.Objects) != 1 {
		t.Errorf("%s", shown(s, "/none"))
	}
	var objects strings.Builder
	for i := range 300 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: %s}\n", i, strings.Repeat("y", 16<<10))
	}
	text := objects.String()
	half := strings.LastIndex(text[:len(text)/2], "---")
	dir := tree(t, map[string]string{"k/kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "k/a.yaml": text[:half], "k/b.yaml": text[half:]})
	if s := Read(t.Context(), []string{dir + "/k"}, Options{}); len(s.Objects) != 300 || len(s.Mistakes) > 0 {
		t.Errorf("%d objects, %v", len(s.Objects), s.Mistakes)
	}
	if s := Read(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(strings.Repeat(big, 4))}); len(s.Objects) != 0 || !strings.Contains(s.Mistakes.Error(), "at most 16 MiB") {
		t.Errorf("%s", shown(s, "/none"))
	}
}

func TestPointer(t *testing.T) {
	dir := tree(t, map[string]string{"a.yaml": lfsPointer + "v1\noid sha256:abc\nsize 12\n"})
	if s := Read(t.Context(), []string{dir}, Options{}); len(s.Mistakes) != 1 {
		t.Errorf("%s", shown(s, dir))
	}
}
