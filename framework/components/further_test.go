package components

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stocked is a fetcher of Istio 1.31 whose cache has the parts of other releases, as empty programs, and their modules.
func stocked(t *testing.T, releases ...string) *fetcher {
	t.Helper()
	cat, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	istio, err := cat.FindIstio("1.31")
	if err != nil {
		t.Fatal(err)
	}
	st := &Store{Root: t.TempDir()}
	f := &fetcher{store: st, cat: cat, set: &Set{Istio: istio, Source: Build, Parts: map[string]Entry{}, Images: map[string]Entry{}, Refs: map[string][]string{}}}
	fill := func(name, content string) func(context.Context, *Work) error {
		return func(_ context.Context, w *Work) error {
			return os.WriteFile(filepath.Join(w.Out, name), []byte(content), 0o755)
		}
	}
	ensure := func(r Recipe, name, content string) Entry {
		e, err := st.Ensure(t.Context(), r, fill(name, content))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	f.set.Parts[userland] = ensure(recipe(userland), "rootfs.tar", "")
	if err := os.WriteFile(f.set.Parts[userland].Path("ca-certificates.crt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, v := range releases {
		i, err := cat.FindIstio(v)
		if err != nil {
			t.Fatal(err)
		}
		module := t.TempDir()
		for _, n := range []string{"go.mod", "tools/packaging/common/envoy_bootstrap.json"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(module, n)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(module, n), []byte(v), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ensure(moduleRecipe(i.Module), "path", module)
		one := &fetcher{cat: cat, set: &Set{Istio: i}}
		for _, p := range cat.istioParts(i) {
			if p.Wheel != nil { // the pin of an empty program
				sum, err := fileDigest(os.DevNull)
				if err != nil {
					t.Fatal(err)
				}
				cat.Envoy[i.Envoy][goarch] = WheelPin{Program: sum}
				p.Wheel.Pins = cat.Envoy[i.Envoy]
			}
			if p.Name == "istioctl" {
				continue // which no further Istio needs
			}
			r, err := one.recipe(p, Build)
			if err != nil {
				t.Fatal(err)
			}
			ensure(r, p.Files[0], "")
		}
	}
	return f
}

// The images of further Istios are beside those of the set's own, which stays what it is.
func TestAlso(t *testing.T) {
	f := stocked(t, "1.29", "1.30")
	for _, v := range []string{"1.30", "1.29"} {
		if err := f.also(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	s := f.set
	for _, n := range []string{"pilot-1.29.0", "proxyv2-1.29.0", "pilot-1.30.4", "proxyv2-1.30.4"} {
		kind, tag, _ := strings.Cut(n, "-")
		if want := "docker.io/istio/" + kind + ":" + tag; len(s.Refs[n]) != 1 || s.Refs[n][0] != want {
			t.Errorf("%s is called %v, not %s", n, s.Refs[n], want)
		}
		if _, err := os.Stat(s.Images[n].Path(ImageArchive)); err != nil {
			t.Error(err)
		}
	}
	if len(s.Also) != 2 || s.Also[0].Istio.Release != "1.30.4" || s.Also[0].Module == s.Also[1].Module || len(s.Also[1].Parts) != 3 {
		t.Errorf("%+v", s.Also)
	}
	if s.Istio.Version != "1.31" || len(s.Parts) != 1 || len(s.Images) != 4 {
		t.Errorf("the set's own: %s, parts %v, images %v", s.Istio.Version, s.Parts, s.Images)
	}
	if notes := strings.Join(s.Notes, "\n"); !strings.Contains(notes, "Istio 1.29.0 beside it: Envoy 1.37.0 is the upstream build") {
		t.Errorf("%s", notes)
	}
	if n := len(s.Entries()); n != 1+4+6 {
		t.Errorf("%d entries to be verified", n)
	}
}

// What nobody has asked for is there only where nothing has to be made for it.
func TestAlsoCached(t *testing.T) {
	f := stocked(t, "1.29", "1.30")
	cached := func() string {
		return strings.Join(slices.DeleteFunc([]string{"1.28", "1.29", "1.30", "1.31", "0.8"}, func(v string) bool { return !f.cached(v) }), " ")
	}
	if got := cached(); got != "1.29 1.30" {
		t.Errorf("the cache has %q", got)
	}
	if err := f.also(t.Context(), "1.30.4"); err != nil {
		t.Fatal(err)
	}
	if got := cached(); got != "1.29" {
		t.Errorf("beside one that was asked for: %q", got)
	}
	parts, err := filepath.Glob(filepath.Join(f.store.partsDir(), "pilot-agent-1.29*"))
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	if err := os.RemoveAll(parts[0]); err != nil {
		t.Fatal(err)
	}
	if got := cached(); got != "" {
		t.Errorf("a part is missing, and it has %q", got)
	}
}

func TestAlsoBad(t *testing.T) {
	f := stocked(t, "1.29")
	if err := f.also(t.Context(), "1.29"); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"0.8":    "not in the component catalogue",
		"1.31":   "the cluster has anyway (1.31.0)",
		"1.31.4": "the cluster has anyway",
		"1.29":   "of the same minor version",
		"1.30.8": "--source image",
	} {
		if err := f.also(t.Context(), version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q", version, err, want)
		}
	}
	if len(f.set.Also) != 1 || len(f.set.Images) != 2 {
		t.Errorf("%v %v", f.set.Also, f.set.Images)
	}
}
