package components

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/mod/modfile"
)

func TestCatalogue(t *testing.T) {
	c, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	defaults := 0
	seen := map[string]bool{}
	for _, i := range c.Istio {
		if i.Default {
			defaults++
		}
		if i.Wrapper != "" && i.Substitutes == "" {
			t.Errorf("Istio %s: a wrapper module must say what it substitutes", i.Version)
		}
		for _, v := range replacements(t, i.Wrapper) {
			if !strings.Contains(i.Substitutes, v) {
				t.Errorf("Istio %s: the wrapper module replaces something by %s, and its substitutes do not say so", i.Version, v)
			}
		}
		c.Parts = append(c.Parts, c.istioParts(i)...)
	}
	if defaults != 1 {
		t.Errorf("%d default Istio versions", defaults)
	}
	for _, p := range c.Parts {
		if id := p.Name + " " + p.Version; seen[id] || p.Version == "" || len(p.Files) == 0 {
			t.Errorf("part %q: listed twice, or without version or files", p.Name)
		} else {
			seen[id] = true
		}
		if p.Go == nil && p.CC == nil && p.Deb == nil && p.Wheel == nil {
			t.Errorf("part %q cannot be built without a registry", p.Name)
		}
		if p.Go != nil && p.Go.Wrapper != "" && builtInRecipes().inputs(p.Go.Wrapper) == "" {
			t.Errorf("part %q: recipe %q is missing", p.Name, p.Go.Wrapper)
		}
	}
	if _, err := c.FindIstio("0.8"); err == nil || !strings.Contains(err.Error(), "1.31") {
		t.Errorf("an unknown version must name the known ones: %v", err)
	}
	if i, err := c.FindIstio(""); err != nil || !i.Default {
		t.Errorf("%+v %v", i, err)
	}
}

// replacements are the versions by which a wrapper module replaces others; "" has none.
func replacements(t *testing.T, wrapper string) []string {
	t.Helper()
	if wrapper == "" {
		return nil
	}
	m, err := modfile.Parse(wrapper+".mod", []byte(builtInRecipes().file(wrapper+".mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range m.Replace {
		out = append(out, r.New.Version)
	}
	return out
}

func TestMirrored(t *testing.T) {
	for _, x := range [][3]string{
		{"", "docker.io/istio/pilot:1", "docker.io/istio/pilot:1"},
		{"mirror.test:5000", "docker.io/istio/pilot:1", "mirror.test:5000/istio/pilot:1"},
		{"mirror.test/sub/", "registry.k8s.io/coredns/coredns:v1", "mirror.test/sub/coredns/coredns:v1"},
	} {
		if got := Mirrored(x[0], x[1]); got != x[2] {
			t.Errorf("%v: %s", x, got)
		}
	}
}

// push puts an archive's image into a registry under the name by which the catalogue asks for it.
func push(t *testing.T, hub, ref, archive string) {
	t.Helper()
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(Mirrored(hub, ref))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

// workIn is a place to work in whose result goes into out.
func workIn(t *testing.T, out string) *Work {
	return &Work{Out: out, Dir: t.TempDir(), tmp: t.TempDir(), store: &Store{Root: t.TempDir()}}
}

func loopbackRegistry(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestPull(t *testing.T) {
	hub := loopbackRegistry(t)
	dir := t.TempDir()
	bundle, prog := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "prog")
	if err := errors.Join(os.WriteFile(bundle, []byte("CERT\n"), 0o644), os.WriteFile(prog, []byte("program"), 0o755)); err != nil {
		t.Fatal(err)
	}
	spec := imageSpec{refs: []string{"docker.io/istio/pilot:1"}, files: map[string]string{"usr/local/bin/prog": prog}, entrypoint: []string{"/prog"}, user: "1337"}
	archive := filepath.Join(dir, "a.tar")
	if err := spec.writeArchive(archive); err != nil {
		t.Fatal(err)
	}
	if registryAnswers(t.Context(), hub, spec.refs[0]) {
		t.Error("an empty registry is taken for one that has the image")
	}
	push(t, hub, spec.refs[0], archive)
	if !registryAnswers(t.Context(), hub, spec.refs[0]) {
		t.Error("the registry has the image")
	}
	if registryAnswers(t.Context(), "127.0.0.1:1", spec.refs[0]) {
		t.Error("nothing listens there")
	}
	if err := pullFiles(t.Context(), hub, []ImageFile{{Ref: spec.refs[0], Path: "usr/local/bin/prog"}}, workIn(t, dir)); err == nil {
		t.Error("an existing file is overwritten")
	}
	out := t.TempDir()
	if err := pullFiles(t.Context(), hub, []ImageFile{{Ref: spec.refs[0], Path: "usr/local/bin/prog"}}, workIn(t, out)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, "prog")); err != nil || string(b) != "program" {
		t.Errorf("%q %v", b, err)
	}
	if err := pullFiles(t.Context(), hub, []ImageFile{{Ref: spec.refs[0], Path: "no/such"}}, workIn(t, out)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := pullFiles(t.Context(), hub, []ImageFile{{Ref: "docker.io/istio/other:1", Path: "x"}}, workIn(t, out)); err == nil || !strings.Contains(err.Error(), "istio/other") {
		t.Errorf("got %v", err)
	}
	// An official image gets the trust layer, and keeps its own configuration.
	spec.trust = bundle
	if err := pullArchive(t.Context(), hub, spec, workIn(t, out)); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(filepath.Join(out, ImageArchive), nil)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img)
}

func checkImage(t *testing.T, img v1.Image) {
	t.Helper()
	cf, err := img.ConfigFile()
	if err != nil || cf.Config.User != "1337" || cf.Config.Entrypoint[0] != "/prog" {
		t.Errorf("%+v %v", cf, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	out := filepath.Join(t.TempDir(), "bundle")
	if err := extractFile(img, BundlePath, out); err != nil {
		t.Error(err)
	}
	if err := extractFile(img, TrustMarker, out+"2"); err != nil {
		t.Error(err)
	}
}

// unpin takes the digests of images out of a catalogue: images of our own are not the official ones.
func unpin(c *Catalogue) {
	for _, p := range c.Parts {
		for i := range p.Image {
			p.Image[i].Digest = ""
		}
	}
	for i := range c.Istio {
		c.Istio[i].Digests = nil
	}
}

// The image source end to end: a loopback registry is filled with images made of our own archives
// and programs, and a second, empty cache is filled from it. Needs a warm cache (make conformance).
func TestImageSource(t *testing.T) {
	if testing.Short() {
		t.Skip("copies a gigabyte")
	}
	st, err := OpenStore()
	if err != nil {
		t.Skip(err)
	}
	cat, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	istio, err := cat.FindIstio("")
	if err != nil {
		t.Fatal(err)
	}
	f := &fetcher{store: st, cat: cat, set: &Set{Istio: istio, Source: Build}}
	parts := append(append([]Part{}, cat.Parts...), cat.istioParts(istio)...)
	files := map[string]map[string]string{} // image → path in it → file here
	for _, p := range parts {
		r, err := f.recipe(p, Build)
		if err != nil {
			t.Fatal(err)
		}
		e, err := st.Lookup(r)
		if err != nil {
			t.Skipf("the cache has no %s yet: %v", p.Name, err)
		}
		for _, i := range p.Image {
			if files[i.Ref] == nil {
				files[i.Ref] = map[string]string{}
			}
			files[i.Ref][i.Path] = e.Path(filepath.Base(i.Path))
		}
	}
	hub := loopbackRegistry(t)
	archive := filepath.Join(t.TempDir(), "image.tar")
	for ref, fs := range files {
		if err := (imageSpec{refs: []string{ref}, files: fs}).writeArchive(archive); err != nil {
			t.Fatal(err)
		}
		push(t, hub, ref, archive)
	}
	// The parts that have no official image come out of the warm cache.
	cold := &Store{Root: t.TempDir()}
	if err := os.MkdirAll(cold.partsDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	warm, err := st.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range warm {
		for _, p := range parts {
			if p.Name == e.Manifest.Name && len(p.Image) == 0 || e.Manifest.Name == moduleEntry {
				if err := os.Symlink(e.Dir, filepath.Join(cold.partsDir(), filepath.Base(e.Dir))); err != nil && !errors.Is(err, os.ErrExist) {
					t.Fatal(err)
				}
			}
		}
	}
	unpin(cat)
	set, err := fetch(t.Context(), cold, cat, Options{Source: Auto, Hub: hub})
	if err != nil {
		t.Fatal(err)
	}
	if set.Source != Image || !set.OfficialProxy() || len(set.Notes) != 0 {
		t.Errorf("source %s, notes %v", set.Source, set.Notes)
	}
	for _, p := range parts {
		r, err := f.recipe(p, Build)
		if err != nil {
			t.Fatal(err)
		}
		want, err := st.Lookup(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Files {
			if got := set.Parts[p.Name].Manifest.Files[n].SHA256; len(p.Image) > 0 && got != want.Manifest.Files[n].SHA256 {
				t.Errorf("%s/%s differs", p.Name, n)
			}
		}
	}
	if _, err := Fetch(t.Context(), &Store{Root: t.TempDir()}, Options{Source: Image, Hub: "127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("a dead mirror must say what to do: %v", err)
	}
}
