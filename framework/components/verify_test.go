package components

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const fakeRef = "docker.io/istio/fake:1"

// pushProgram pushes an image with one program under fakeRef and returns its digest.
func pushProgram(t *testing.T, hub, program string) string {
	t.Helper()
	dir := t.TempDir()
	file, archive := filepath.Join(dir, "prog"), filepath.Join(dir, "a.tar")
	if err := os.WriteFile(file, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (imageSpec{refs: []string{fakeRef}, files: map[string]string{"prog": file}, entrypoint: []string{"/prog"}}).writeArchive(archive); err != nil {
		t.Fatal(err)
	}
	push(t, hub, fakeRef, archive)
	r, err := name.ParseReference(Mirrored(hub, fakeRef))
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(r)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

// pullInto makes an entry of the image's program.
func pullInto(t *testing.T, st *Store, hub, entry, digest string) (Entry, error) {
	t.Helper()
	r := recipe(entry)
	r.Source = Image
	return st.Ensure(t.Context(), r, func(ctx context.Context, w *Work) error {
		return pullFiles(ctx, hub, []ImageFile{{Ref: fakeRef, Path: "prog", Digest: digest}}, w)
	})
}

// An image must have the digest that the catalogue pins.
func TestPinnedImage(t *testing.T) {
	hub := loopbackRegistry(t)
	st := &Store{Root: t.TempDir()}
	good := pushProgram(t, hub, "good")
	evil := pushProgram(t, hub, "evil") // the tag is this one's now
	e, err := pullInto(t, st, hub, "a", good)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(e.Path("prog")); err != nil || string(b) != "good" {
		t.Errorf("the tag was followed and not the digest: %q %v", b, err)
	}
	want := Origin{Kind: "image", Name: Mirrored(hub, fakeRef), Digest: good, Checked: byCatalogue}
	if o := e.Manifest.Origins; len(o) != 1 || o[0] != want {
		t.Errorf("recorded: %+v", o)
	}
	missing := sha256Prefix + strings.Repeat("1", 64)
	if _, err := pullInto(t, st, hub, "b", missing); err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "catalogue") {
		t.Errorf("an image that the registry does not have: %v", err)
	}
	v := &verifier{store: st, entries: []Entry{e}}
	if open, err := v.images(e, map[string]string{fakeRef: good}); err != nil || len(open) != 0 {
		t.Errorf("%v %v", open, err)
	}
	if _, err := v.images(e, map[string]string{fakeRef: evil}); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), evil) {
		t.Errorf("another pin: %v", err)
	}
}

// Without a pin, what was pulled first into a cache is what is pulled later, though the tag has moved, also where the
// entry that says so is damaged.
func TestFirstPull(t *testing.T) {
	hub := loopbackRegistry(t)
	st := &Store{Root: t.TempDir()}
	first := pushProgram(t, hub, "first")
	e, err := pullInto(t, st, hub, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	pushProgram(t, hub, "second")
	for _, entry := range []string{"b", "a"} {
		flip(t, e.Path("prog"), 0)
		got, err := pullInto(t, st, hub, entry, "")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(got.Path("prog")); err != nil || string(b) != "first" || got.Manifest.Origins[0].Digest != first {
			t.Errorf("%s: got %q, %v, %+v", entry, b, err, got.Manifest.Origins)
		}
	}
	v := &verifier{store: st, entries: []Entry{e}}
	open, err := v.images(e, map[string]string{fakeRef: ""})
	if err != nil || len(open) != 1 || !strings.Contains(open[0], first) {
		t.Errorf("what cannot be compared must be said: %v %v", open, err)
	}
	// A registry that has nothing but the second one.
	other := &Store{Root: t.TempDir()}
	e.Manifest.Origins[0].Digest = sha256Prefix + strings.Repeat("2", 64)
	dir := filepath.Join(other.partsDir(), "x")
	if err := errors.Join(os.MkdirAll(dir, 0o755), writeJSON(filepath.Join(dir, manifestFile), e.Manifest)); err != nil {
		t.Fatal(err)
	}
	if _, err := pullInto(t, other, hub, "c", ""); err == nil || !strings.Contains(err.Error(), "first pull") {
		t.Errorf("an image that was replaced: %v", err)
	}
}

// fakeProxy is a Go module proxy on disk with one module, and returns the module and its checksum.
func fakeProxy(t *testing.T) (module, sum string) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	src := t.TempDir()
	files := map[string]string{"go.mod": "module example.test/fake\n\ngo 1.25\n", "fake.go": "package fake\n\n// Text is a text.\nconst Text = \"fake\"\n"}
	for n, text := range files {
		if err := os.WriteFile(filepath.Join(src, n), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	proxy := t.TempDir()
	at := filepath.Join(proxy, "example.test", "fake", "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	zipModule(t, filepath.Join(at, "v1.0.0.zip"), "example.test/fake@v1.0.0/", files)
	for n, text := range map[string]string{"v1.0.0.info": `{"Version":"v1.0.0"}`, "v1.0.0.mod": files["go.mod"], "list": "v1.0.0\n"} {
		if err := os.WriteFile(filepath.Join(at, n), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cache := t.TempDir()
	t.Setenv("GOMODCACHE", cache)
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOSUMDB", "off") // this module is in no public database, and the catalogue must do without one
	t.Cleanup(func() {         // the go command makes its folders read-only
		_ = filepath.WalkDir(cache, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(p, 0o755)
			}
			return err
		})
	})
	module = "example.test/fake@v1.0.0"
	sum, err := dirSum(src, module)
	if err != nil {
		t.Fatal(err)
	}
	return module, sum
}

// A Go module must have the checksum of the catalogue, and so must its unpacked folder.
func TestModuleSum(t *testing.T) {
	module, sum := fakeProxy(t)
	f := &fetcher{cat: &Catalogue{Modules: map[string]string{module: sum}}}
	w := workIn(t, t.TempDir())
	dir, err := f.moduleDir(t.Context(), w, module)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Origin{"module", "example.test/fake", "v1.0.0", sum, byCatalogue}); len(w.origins) != 1 || w.origins[0] != want {
		t.Errorf("recorded: %+v", w.origins)
	}
	other := &fetcher{cat: &Catalogue{Modules: map[string]string{module: "h1:AAAA"}}}
	if _, err := other.moduleDir(t.Context(), w, module); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), sum) {
		t.Errorf("another checksum: %v", err)
	}
	if _, err := (&fetcher{cat: &Catalogue{}}).moduleDir(t.Context(), w, module); err == nil || !strings.Contains(err.Error(), "no checksum") {
		t.Errorf("a module without a pin: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "fake.go"), 0o644); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(dir, "fake.go"), 0)
	if _, err := f.moduleDir(t.Context(), w, module); !errors.Is(err, ErrPin) {
		t.Errorf("a changed folder: %v", err)
	}
}

// A wrapper module builds only with what its go.sum names.
func TestWrapperSum(t *testing.T) {
	_, sum := fakeProxy(t)
	mod := "module wrapper\n\ngo 1.25\n\nrequire example.test/fake v1.0.0\n"
	main := "package main\n\nimport \"example.test/fake\"\n\nfunc main() { println(fake.Text) }\n"
	modSum, err := modSum("module example.test/fake\n\ngo 1.25\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ sums, err string }{
		"right":   {"example.test/fake v1.0.0 " + sum + "\nexample.test/fake v1.0.0/go.mod " + modSum + "\n", ""},
		"wrong":   {"example.test/fake v1.0.0 " + strings.Replace(sum, sum[5:9], "AAAA", 1) + "\nexample.test/fake v1.0.0/go.mod " + modSum + "\n", "checksum mismatch"},
		"missing": {"example.test/fake v1.0.0/go.mod " + modSum + "\n", "missing go.sum entry"},
	} {
		t.Run(name, func(t *testing.T) {
			w := workIn(t, t.TempDir())
			for n, text := range map[string]string{"go.mod": mod, "go.sum": c.sums, "main.go": main} {
				if err := os.WriteFile(filepath.Join(w.Dir, n), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := w.run(t.Context(), w.Dir, goEnv, "go", "build", "-o", w.Out+"/", ".")
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := checkProgram(filepath.Join(w.Out, "wrapper"), sumLines(c.sums), "wrapper"); err != nil {
					t.Error(err)
				}
				if err := checkProgram(filepath.Join(w.Out, "wrapper"), sumLines(""), "wrapper"); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), "example.test/fake v1.0.0") {
					t.Errorf("a module that no go.sum names: %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A program and its digest in the manifest, both changed, are still not what the catalogue says.
func TestVerifyWheel(t *testing.T) {
	_, pin := fakeWheel(t, t.TempDir())
	p := fakePart(pin)
	e := Entry{Dir: "d", Manifest: Manifest{Files: map[string]File{"fake": {SHA256: pin.Program}}, Origins: []Origin{{Kind: "wheel", Digest: sha256Prefix + pin.Wheel}}}}
	if err := wheelPins(e, p); err != nil {
		t.Error(err)
	}
	e.Manifest.Files["fake"] = File{SHA256: strings.Repeat("0", 64)}
	if err := wheelPins(e, p); !errors.Is(err, ErrPin) {
		t.Errorf("another program: %v", err)
	}
	e.Manifest.Files["fake"] = File{SHA256: pin.Program}
	e.Manifest.Origins[0].Digest = sha256Prefix + strings.Repeat("0", 64)
	if err := wheelPins(e, p); !errors.Is(err, ErrPin) {
		t.Errorf("another wheel: %v", err)
	}
}

// Verify goes through a cache and says of each entry what it could compare with nothing.
func TestVerify(t *testing.T) {
	cat, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	st := &Store{Root: t.TempDir()}
	for _, r := range []Recipe{
		{Name: "node-tools", Version: "distribution", Source: Build},
		{Name: "old", Version: "v0", Source: Build},
		{Name: "envoy", Version: cat.Istio[0].Envoy, Source: Build},
		{Name: "image-pilot", Version: cat.Istio[0].Release, Source: Image},
		{Name: "image-pause", Version: "1", Source: Image},
		{Name: "etcd", Version: "v3.6.5", Source: Build},
	} {
		if _, err := st.Ensure(t.Context(), r, func(_ context.Context, w *Work) error {
			w.came(Origin{Kind: "deb", Name: "runc"})
			return os.WriteFile(filepath.Join(w.Out, r.Name), nil, 0o755)
		}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]Check{}
	if err := Verify(st, t.TempDir(), func(c Check) { got[c.Entry.Manifest.Name] = c }); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"node-tools": "1 packages", "old": "no such version", "image-pilot": "does not say which digest"} {
		if c := got[name]; c.Err != nil || !strings.Contains(strings.Join(c.Unchecked, "\n"), text) {
			t.Errorf("%s: %v %q", name, c.Err, c.Unchecked)
		}
	}
	for _, name := range []string{"envoy", "etcd"} {
		if c := got[name]; !errors.Is(c.Err, ErrPin) {
			t.Errorf("%s: %v", name, c.Err)
		}
	}
	if c := got["image-pause"]; c.Err != nil || len(c.Unchecked) != 0 {
		t.Errorf("%+v", c)
	}
}

// A report lists parts and images first, then what they were made of, each once.
func TestComponents(t *testing.T) {
	curl := Origin{Kind: "deb", Name: "curl", Version: "8", Digest: "sha256:c"}
	s := &Set{
		Parts:  map[string]Entry{"b": {Dir: "b", Manifest: Manifest{Name: "b", Version: "1", Source: Build, Origins: []Origin{curl}}}, "a": {Dir: "a", Manifest: Manifest{Name: "a", Version: "2", Source: Image, Origins: []Origin{curl}}}},
		Images: map[string]Entry{},
	}
	got := s.Components()
	if len(got) != 3 || got[0].Name != "a" || got[0].Source != "image" || got[1].Name != "b" || got[2] != (Component{"curl", "8", "deb", "sha256:c"}) {
		t.Errorf("%+v", got)
	}
}
