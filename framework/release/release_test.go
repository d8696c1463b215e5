package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"mesh-egress-conformance/framework/components"
)

// fake is a source of modules that refuses what it does not have, with a version all the same.
type fake struct {
	dirs     map[module.Version]string // what it serves
	versions map[string][]string
	gomods   map[module.Version]string
	settle   func(dir string) error
	asked    []string
}

func (f *fake) Download(_ context.Context, mods ...module.Version) ([]Served, error) {
	var out []Served
	for _, m := range mods {
		f.asked = append(f.asked, m.String())
		s := Served{Version: m.Version, Dir: f.dirs[m], Sum: "h1:sum", Why: "403 Forbidden"}
		out = append(out, s)
	}
	return out, nil
}

func (f *fake) Versions(_ context.Context, path string) []string { return f.versions[path] }

func (f *fake) GoMod(_ context.Context, m module.Version) ([]byte, error) {
	if text, ok := f.gomods[m]; ok {
		return []byte(text), nil
	}
	return nil, errors.New("refused")
}

func (f *fake) Settle(_ context.Context, dir string) error {
	if f.settle == nil {
		return os.WriteFile(filepath.Join(dir, "go.sum"), []byte("example.com/a v1.0.0 h1:x\n"), 0o644)
	}
	return f.settle(dir)
}

const newIstio = "v0.0.0-20260826214018-0123456789ab"

// world has an Istio that requires a, which is served, and b and c, which are not.
func world(t *testing.T) *fake {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module istio.io/istio\n\ngo 1.25\n\nrequire (\n\texample.com/a v1.0.0\n\texample.com/b v1.2.1-0.20260101000000-aaaaaaaaaaaa\n)\n\nrequire example.com/c v0.0.0-20260506232448-6ae4ab07bb06 // indirect\n",
		"VERSION": "1.30\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	other := module.Version{Path: "istio.io/istio", Version: "v0.0.0-20260827124520-eed52ebb66ad"}
	return &fake{
		dirs: map[module.Version]string{
			{Path: "istio.io/istio", Version: newIstio}:                            dir,
			{Path: "example.com/a", Version: "v1.0.0"}:                             "/a",
			{Path: "example.com/b", Version: "v1.2.8"}:                             "/b",
			{Path: "example.com/b", Version: "v1.3.0"}:                             "/b",
			{Path: "example.com/c", Version: "v0.0.0-20260501213430-773586679f1c"}: "/c",
		},
		versions: map[string][]string{"example.com/b": {"v1.1.0", "v1.2.1", "v1.2.8", "v1.3.0", "v1.2.0"}},
		gomods:   map[module.Version]string{other: "module istio.io/istio\n\nrequire example.com/c v0.0.0-20260501213430-773586679f1c\n"},
	}
}

func catalogue(t *testing.T) *components.Catalogue {
	t.Helper()
	cat, err := components.LoadCatalogue(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// As if it had no release of the minor version that is added.
	cat.Istio = slices.DeleteFunc(cat.Istio, func(i components.Istio) bool { return i.Version == "1.30" })
	return cat
}

func plan(t *testing.T, f *fake, o Options) (*Plan, error) {
	t.Helper()
	if o.Module == "" {
		o.Module = "istio.io/istio@" + newIstio
	}
	o.Logf = t.Logf
	return Make(t.Context(), f, catalogue(t), o)
}

func TestMake(t *testing.T) {
	f := world(t)
	p, err := plan(t, f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Minor != "1.30" || p.Release != "1.30-0123456789ab" || p.Envoy != "" {
		t.Errorf("%+v", p)
	}
	want := []Substitution{
		{"example.com/b", "v1.2.1-0.20260101000000-aaaaaaaaaaaa", "v1.2.8", ""},
		{"example.com/c", "v0.0.0-20260506232448-6ae4ab07bb06", "v0.0.0-20260501213430-773586679f1c", "Istio 1.31.0"},
	}
	if !slices.Equal(p.Substitutions, want) {
		t.Errorf("%+v", p.Substitutions)
	}
	// v1.2.1 is listed, and nearer, and refused all the same.
	if !slices.Contains(f.asked, "example.com/b@v1.2.1") {
		t.Errorf("asked for %v", f.asked)
	}
}

// What is written is a release that the catalogue takes, with every substitution named.
func TestWrite(t *testing.T) {
	f, dir, folder := world(t), t.TempDir(), filepath.Join(t.TempDir(), "releases")
	p, err := plan(t, f, Options{Release: "1.30.9", Envoy: "1.38.99"})
	if err != nil {
		t.Fatal(err)
	}
	pins := map[string]components.WheelPin{"amd64": {Wheel: "aa", Program: "bb"}}
	if err := p.Write(t.Context(), f, dir, pins); err != nil {
		t.Fatal(err)
	}
	written, err := p.Publish(dir, folder)
	if err != nil || len(written) != 3 {
		t.Fatalf("%v %v", written, err)
	}
	cat, err := components.LoadCatalogue(folder)
	if err != nil {
		t.Fatal(err)
	}
	i, err := cat.FindIstio("1.30.9")
	if err != nil {
		t.Fatal(err)
	}
	mod := cat.WrapperModule(i)
	for _, want := range []string{
		"module istio-1.30.9-build", "istio.io/istio " + newIstio, "example.com/a v1.0.0",
		"replace example.com/b => example.com/b v1.2.8", "replace example.com/c => example.com/c v0.0.0-20260501213430-773586679f1c",
	} {
		if !strings.Contains(mod, want) {
			t.Errorf("the wrapper module lacks %q:\n%s", want, mod)
		}
	}
	for _, s := range p.Substitutions {
		if !strings.Contains(i.Substitutes, s.Path+" "+s.Used+" for "+s.Wanted) {
			t.Errorf("not named: %+v in %q", s, i.Substitutes)
		}
	}
	if cat.Modules[i.Module] != "h1:sum" || cat.Envoy["1.38.99"]["amd64"] != pins["amd64"] {
		t.Errorf("%+v", i)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".wrapper-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if _, err := p.Publish(dir, folder); err == nil || !strings.Contains(err.Error(), "earlier attempt") {
		t.Errorf("what is there is overwritten: %v", err)
	}
}

// A release all of whose modules are served needs no wrapper module.
func TestNothingRefused(t *testing.T) {
	f, dir := world(t), t.TempDir()
	f.dirs[module.Version{Path: "example.com/b", Version: "v1.2.1-0.20260101000000-aaaaaaaaaaaa"}] = "/b"
	f.dirs[module.Version{Path: "example.com/c", Version: "v0.0.0-20260506232448-6ae4ab07bb06"}] = "/c"
	p, err := plan(t, f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(t.Context(), f, dir, nil); err != nil || p.Substitutes() != "" {
		t.Errorf("%v %q", err, p.Substitutes())
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "istio-1.30-0123456789ab.yaml" {
		t.Errorf("%v %v", files, err)
	}
}

func TestReplace(t *testing.T) {
	p, err := plan(t, world(t), Options{Replace: map[string]string{"example.com/b": "v1.3.0"}})
	if err != nil || p.Substitutions[0].Used != "v1.3.0" {
		t.Errorf("%+v %v", p, err)
	}
}

func TestMakeBad(t *testing.T) {
	write := func(f *fake, name, text string) {
		if err := os.WriteFile(filepath.Join(f.dirs[module.Version{Path: "istio.io/istio", Version: newIstio}], name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for want, x := range map[string]struct {
		spoil func(*fake)
		o     Options
	}{
		"is not of the form":          {func(*fake) {}, Options{Module: "istio.io/istio"}},
		"is not served here: 403":     {func(f *fake) { f.dirs = nil }, Options{}},
		"calls itself example.com/x":  {func(f *fake) { write(f, "go.mod", "module example.com/x\n") }, Options{}},
		"is in the catalogue already": {func(*fake) {}, Options{Release: "1.31.0"}},
		"every version near it (tried: v1.2.1, v1.2.8, v1.2.0, v1.3.0, v1.1.0)": {func(f *fake) {
			delete(f.dirs, module.Version{Path: "example.com/b", Version: "v1.2.8"})
			delete(f.dirs, module.Version{Path: "example.com/b", Version: "v1.3.0"})
		}, Options{}},
		"every version near it (none is known)": {func(f *fake) { f.gomods = nil }, Options{}},
		"every version near it (tried: v9.9.9)": {func(*fake) {}, Options{Replace: map[string]string{"example.com/b": "v9.9.9"}}},
		"does not require example.com/z":        {func(*fake) {}, Options{Replace: map[string]string{"example.com/z": "v1.0.0"}}},
	} {
		t.Run(want, func(t *testing.T) {
			f := world(t)
			x.spoil(f)
			if _, err := plan(t, f, x.o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	f := world(t)
	p, err := plan(t, f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.settle = func(string) error { return errors.New("example.com/d: 403 Forbidden") }
	if err := p.Write(t.Context(), f, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "example.com/d") || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("got %v", err)
	}
}

func TestNearest(t *testing.T) {
	for _, x := range []struct {
		wanted string
		in     string
		want   string
	}{
		{"v1.30.4-0.20260824163423-69099aec2678", "v1.24.2 v1.26.0-beta.0 v1.30.8 v1.31.0 v1.32.0", "v1.30.8 v1.31.0 v1.32.0 v1.26.0-beta.0 v1.24.2"},
		{"v1.37.1-0.20260409083702-98966259b99a", "v1.36.0 v1.37.0 v1.38.0 v1.37.1-0.20260713214202-ca8ce173c36f", "v1.37.1-0.20260713214202-ca8ce173c36f v1.37.0 v1.38.0 v1.36.0"},
		{"v1.2.3", "v1.2.3 v1.2.4 v1.2.4 nonsense v1.2.2 v1.2.1 v1.2.9", "v1.2.4 v1.2.9 v1.2.2 v1.2.1"},
		{"v1.2.3", "", ""},
	} {
		if got := strings.Join(nearest(x.wanted, strings.Fields(x.in)), " "); got != x.want {
			t.Errorf("%s: %s", x.wanted, got)
		}
	}
}

func TestEnvoyOf(t *testing.T) {
	cat, err := components.LoadCatalogue(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range cat.Istio { // the rule is that of the catalogue
		got, err := EnvoyOf(i.Version)
		if err != nil || !strings.HasPrefix(i.Envoy, strings.TrimSuffix(got, "*")) {
			t.Errorf("%s: %s, and the catalogue has %s (%v)", i.Version, got, i.Envoy, err)
		}
	}
	if _, err := EnvoyOf("master"); err == nil {
		t.Error("no version")
	}
}

// The go command's answers, from one that lies: it names a version of what it refuses.
func TestGoCommand(t *testing.T) {
	bin := t.TempDir()
	script := func(text string) {
		if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+text), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	g := GoCommand{Dir: t.TempDir()}
	a, b := module.Version{Path: "example.com/a", Version: "v1.0.0"}, module.Version{Path: "example.com/b", Version: "master"}
	script(`echo '{"Version":"v1.0.0","Error":"403"}{"Version":"v0.0.0-1","Dir":"/b","Sum":"h1:b"}'; exit 1` + "\n")
	got, err := g.Download(t.Context(), a, b)
	if want := []Served{{Version: "v1.0.0", Why: "403"}, {Version: "v0.0.0-1", Dir: "/b", Sum: "h1:b"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"echo '{}'", "echo 'no JSON'", "echo broken >&2; exit 1"} {
		script(bad + "\n")
		if got, err := g.Download(t.Context(), a, b); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
	script(`case "$*" in *-versions*) echo '{"Versions":["v1.0.0","v1.1.0"]}';; *latest*) echo refused >&2; exit 1;; esac` + "\n")
	if got := fmt.Sprint(g.Versions(t.Context(), "example.com/a")); got != "[v1.0.0 v1.1.0]" {
		t.Error(got)
	}
	script("echo 'no such module' >&2; exit 1\n")
	if err := g.Settle(t.Context(), g.Dir); err == nil || !strings.Contains(err.Error(), "no such module") {
		t.Errorf("got %v", err)
	}
}
