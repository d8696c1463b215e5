package components

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// smallIstio writes a folder that has of Istio what is looked at: its go.mod, VERSION, and one program that prints text.
func smallIstio(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":                            "module istio.io/istio\n\ngo 1.25\n",
		"VERSION":                           "1.31\n",
		"pilot/cmd/pilot-discovery/main.go": "package main\n\nfunc main() { println(\"" + text + "\") }\n",
		"manifests/charts/base/Chart.yaml":  "name: base\n",
	} {
		put(t, filepath.Join(dir, name), content)
	}
	return dir
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// checkoutOf finds a checkout and prepares a fetcher for it.
func checkoutOf(t *testing.T, st *Store, cat *Catalogue, dir string) *fetcher {
	t.Helper()
	o := Options{IstioSource: dir, Source: Build}
	i, err := cat.find(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fetcher{store: st, opts: o, cat: cat, set: &Set{Istio: i, Source: Build, Parts: map[string]Entry{}}}
	if f.set.Module, err = f.istioFolder(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	return f
}

func loaded(t *testing.T) *Catalogue {
	t.Helper()
	cat, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// says runs the istiod of a fetcher's set and returns what it prints.
func says(t *testing.T, f *fetcher) string {
	t.Helper()
	if err := f.part(t.Context(), f.cat.istioParts(f.set.Istio)[0]); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), f.set.Parts["pilot"].Path("pilot-discovery")).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestCheckoutBuild(t *testing.T) {
	st, cat, dir := &Store{Root: t.TempDir()}, loaded(t), smallIstio(t, "one")
	f := checkoutOf(t, st, cat, dir)
	if got := says(t, f); got != "one" {
		t.Errorf("it says %q", got)
	}
	first := f.set.Parts["pilot"]
	if o := first.Manifest.Origins; len(o) != 1 || o[0].Digest != sha256Prefix+f.set.Istio.Checkout.Digest {
		t.Errorf("made of %+v", o)
	}
	if !strings.HasPrefix(f.set.Istio.Release, "1.31.0-local.") || f.set.Istio.Version != "1.31" {
		t.Errorf("%+v", f.set.Istio)
	}
	// The copy in the cache is what is used, whatever happens to the folder.
	if f.set.Module == dir {
		t.Error("the folder itself is used, which may change at any moment")
	}
	again := checkoutOf(t, st, cat, dir)
	put(t, filepath.Join(dir, "out/linux_amd64/binary"), "of Istio's own Makefile")
	put(t, filepath.Join(dir, ".idea/x"), "of an editor")
	if got := says(t, again); got != "one" || again.set.Parts["pilot"].Dir != first.Dir {
		t.Error("an unedited folder is built again")
	}
	put(t, filepath.Join(dir, "pilot/cmd/pilot-discovery/main.go"), "package main\n\nfunc main() { println(\"two\") }\n")
	if got := says(t, checkoutOf(t, st, cat, dir)); got != "two" {
		t.Errorf("after the edit it says %q", got)
	}
	put(t, filepath.Join(dir, "pilot/cmd/pilot-discovery/main.go"), "package main\n\nfunc main() { println(\"one\") }\n")
	if back := checkoutOf(t, st, cat, dir); says(t, back) != "one" || back.set.Parts["pilot"].Dir != first.Dir {
		t.Error("an edit that was taken back is built again")
	}
	put(t, filepath.Join(dir, "pilot/cmd/pilot-discovery/main.go"), "package main\n\nfunc main() { printl(\"two\") }\n")
	broken := checkoutOf(t, st, cat, dir)
	err := broken.part(t.Context(), cat.istioParts(broken.set.Istio)[0])
	if err == nil || !strings.Contains(err.Error(), "pilot/cmd/pilot-discovery/main.go:3:15: undefined: printl") {
		t.Errorf("a source that does not compile: %v", err)
	}
}

// A checkout that requires what the release does is built with the release's wrapper module; another one as it stands.
func TestCheckoutWrapper(t *testing.T) {
	st, cat, dir := &Store{Root: t.TempDir()}, loaded(t), smallIstio(t, "wrapped")
	cat.recipes = recipes{fstest.MapFS{
		"w.mod": {Data: []byte("module w\n\ngo 1.25\n\nrequire (\n\tistio.io/istio v0.0.0-20260101000000-000000000000\n\texample.com/a v1.2.0\n)\n\nreplace example.com/a => ./a\n")},
		"w.sum": {Data: []byte("\n")},
	}}
	for n := range cat.Istio {
		cat.Istio[n].Wrapper, cat.Istio[n].Substitutes = "w", "something"
	}
	for _, x := range []struct {
		mod     string
		wrapped bool
	}{
		{"module istio.io/istio\n\ngo 1.25\n", true},
		{"module istio.io/istio\n\ngo 1.25\n\nrequire example.com/a v1.2.0\n", true},
		{"module istio.io/istio\n\ngo 1.25\n\nrequire example.com/a v1.2.1\n", false},
		{"module istio.io/istio\n\ngo 1.25\n\nrequire example.com/b v1.0.0\n", false},
		{"module istio.io/istio\n\ngo 1.25\n\nrequire example.com/a v1.2.0\n\nreplace example.com/a => ../mine\n", false},
	} {
		put(t, filepath.Join(dir, "go.mod"), x.mod)
		i, err := cat.find(t.Context(), Options{IstioSource: dir})
		if err != nil || (i.Wrapper != "") != x.wrapped || (i.Substitutes != "") != x.wrapped {
			t.Errorf("%q: %+v, %v", x.mod, i, err)
		}
	}
	put(t, filepath.Join(dir, "go.mod"), "module istio.io/istio\n\ngo 1.25\n")
	f := checkoutOf(t, st, cat, dir)
	if got := says(t, f); got != "wrapped" {
		t.Errorf("it says %q", got)
	}
	kinds := []string{}
	for _, o := range f.set.Parts["pilot"].Manifest.Origins {
		kinds = append(kinds, o.Kind)
	}
	if !slices.Equal(kinds, []string{"local source", "go.sum"}) {
		t.Errorf("made of %v", kinds)
	}
}

func TestCheckoutBad(t *testing.T) {
	cat := loaded(t)
	for name, x := range map[string]struct {
		spoil func(dir string)
		istio string
		want  string
	}{
		"no folder":          {func(d string) { _ = os.RemoveAll(d) }, "", "no such file"},
		"no module":          {func(d string) { _ = os.Remove(filepath.Join(d, "go.mod")) }, "", "is not the root of a copy of Istio's source"},
		"another module":     {func(d string) { put(t, filepath.Join(d, "go.mod"), "module istio.io/api\n") }, "", `module "istio.io/api"`},
		"no version":         {func(d string) { _ = os.Remove(filepath.Join(d, "VERSION")) }, "", "find out which version"},
		"unknown version":    {func(d string) { put(t, filepath.Join(d, "VERSION"), "1.99\n") }, "", "is Istio 1.99"},
		"known by --istio":   {func(d string) { put(t, filepath.Join(d, "VERSION"), "1.99\n") }, "1.31", ""},
		"unknown by --istio": {func(string) {}, "0.8", "not in the component catalogue"},
		"a tag":              {func(string) {}, "1.31.7", "is the tag of images"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := smallIstio(t, "x")
			x.spoil(dir)
			_, err := cat.find(t.Context(), Options{IstioSource: dir, Istio: x.istio})
			if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("got %v, want %q", err, x.want)
			}
		})
	}
}

// The copy is refused when the folder changed between the two times that it is read.
func TestCheckoutMoves(t *testing.T) {
	st, cat, dir := &Store{Root: t.TempDir()}, loaded(t), smallIstio(t, "one")
	i, err := cat.find(t.Context(), Options{IstioSource: dir})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "pilot/new.go"), "package pilot\n")
	f := &fetcher{store: st, cat: cat, set: &Set{Istio: i}}
	if _, err := f.snapshot(t.Context(), i); err == nil || !strings.Contains(err.Error(), "was changed while it was read") {
		t.Errorf("got %v", err)
	}
}

func TestCheckoutLinks(t *testing.T) {
	dir, to := smallIstio(t, "x"), filepath.Join(t.TempDir(), "copy")
	put(t, filepath.Join(dir, "a/file"), "text")
	for name, target := range map[string]string{"a/inside": "file", "a/outside": "../../elsewhere", "a/absolute": "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	read, err := treeDigest(dir, "")
	copied, err2 := treeDigest(dir, to)
	of, err3 := treeDigest(to, "")
	if errors.Join(err, err2, err3) != nil || read != copied || read != of {
		t.Errorf("%s %s %s %v %v %v", read, copied, of, err, err2, err3)
	}
	if b, err := os.ReadFile(filepath.Join(to, "a/inside")); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	for _, n := range []string{"a/outside", "a/absolute"} {
		if _, err := os.Lstat(filepath.Join(to, n)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestGitVersion(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir := smallIstio(t, "x")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	version := func(dir string) string {
		c, err := readCheckout(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return c.Version
	}
	if v := version(dir); v != "" {
		t.Errorf("without a repository: %q", v)
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "x")
	head := git("rev-parse", "HEAD")
	if v := version(dir); v != head {
		t.Errorf("%q, want %q", v, head)
	}
	put(t, filepath.Join(dir, "VERSION"), "1.30\n")
	if v := version(dir); v != head+", changed" {
		t.Errorf("after an edit: %q", v)
	}
	// A folder inside of somebody else's repository has no revision of its own.
	inner := filepath.Join(dir, "inner")
	for _, f := range []string{"go.mod", "VERSION"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(inner, f), string(b))
	}
	if v := version(inner); v != "" {
		t.Errorf("inside another repository: %q", v)
	}
}
