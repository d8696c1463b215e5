package components

import (
	"path/filepath"
	"strings"
	"testing"
)

const ownRelease = `istio:
  - version: "1.32"
    release: 1.32-abc
    module: istio.io/istio@v0.0.0-1
    envoy: 9.9.9
    wrapper: istio-1.32-abc
    substitutes: something
envoy:
  9.9.9:
    amd64: {wheel: aa, program: bb}
    arm64: {wheel: aa, program: bb}
modules:
  istio.io/istio@v0.0.0-1: h1:x
`

func TestReleases(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "istio-1.32-abc.yaml"), ownRelease)
	put(t, filepath.Join(dir, "istio-1.32-abc.mod"), "module w\n")
	put(t, filepath.Join(dir, "istio-1.32-abc.sum"), "\n")
	cat, err := LoadCatalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.32", "1.32-abc"} {
		i, err := cat.FindIstio(version)
		if err != nil || i.Module != "istio.io/istio@v0.0.0-1" {
			t.Fatalf("%s: %+v %v", version, i, err)
		}
		f := &fetcher{cat: cat, set: &Set{Istio: i}}
		r, err := f.recipe(cat.istioParts(i)[0], Build)
		if err != nil || len(r.Substitutes) != 1 || r.Substitutes[0] != "something" {
			t.Errorf("%+v %v", r, err)
		}
		to := t.TempDir()
		if _, err := f.goFolder(t.Context(), cat.istioParts(i)[0].Go, &Work{Dir: to}); err != nil {
			t.Error(err)
		}
	}
	if i, err := cat.FindIstio(""); err != nil || i.Version != "1.31" {
		t.Errorf("a release of the user's became the default: %+v %v", i, err)
	}
	if err := cat.addFolder(dir); err != nil || len(cat.Istio) != len(loaded(t).Istio)+1 {
		t.Errorf("the folder that a program was built with is an error: %v", err)
	}
	if _, err := LoadCatalogue(filepath.Join(dir, "missing")); err == nil {
		t.Error("a folder that was named must exist")
	}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "missing"))
	if _, err := LoadCatalogue(""); err != nil {
		t.Errorf("the user's folder need not exist: %v", err)
	}
}

// A release that contradicts the catalogue, or lacks something, is an error that names the file.
func TestReleasesBad(t *testing.T) {
	for want, change := range map[string][2]string{
		"is not of the form":             {`version: "1.32"`, "version: later"},
		`release "1.32/../x"`:            {"release: 1.32-abc", "release: 1.32/../x"},
		"is in the catalogue already":    {"release: 1.32-abc", "release: 1.31.0"},
		"unknown field":                  {"wrapper:", "wraper:"},
		"has no checksum of":             {"  istio.io/istio@v0.0.0-1: h1:x", "  istio.io/istio@v0.0.0-2: h1:x"},
		"has another checksum":           {"modules:", "modules:\n  k8s.io/kubernetes@v1.36.3: h1:x"},
		"has no digests of version":      {"envoy: 9.9.9", "envoy: 9.9.8"},
		"has other digests":              {"envoy:\n  9.9.9:", "envoy:\n  1.39.3:\n    amd64: {wheel: a, program: b}\n  9.9.9:"},
		"is not there":                   {"wrapper: istio-1.32-abc", "wrapper: other"},
		`wrapper module "x"`:             {"wrapper: istio-1.32-abc", "wrapper: ../x"},
		"must say what that substitutes": {"substitutes: something", "substitutes: \"\""},
		"default release":                {"substitutes: something", "substitutes: something\n    default: true"},
	} {
		t.Run(want, func(t *testing.T) {
			dir, text := t.TempDir(), strings.Replace(ownRelease, change[0], change[1], 1)
			if text == ownRelease {
				t.Fatal("nothing was changed")
			}
			put(t, filepath.Join(dir, "mine.yaml"), text)
			put(t, filepath.Join(dir, "istio-1.32-abc.mod"), "module w\n")
			put(t, filepath.Join(dir, "istio-1.32-abc.sum"), "\n")
			_, err := LoadCatalogue(dir)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mine.yaml") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A version that is not in the catalogue is a tag of images, which are never built.
func TestTag(t *testing.T) {
	cat := loaded(t)
	i, err := cat.FindIstio("1.31.7")
	if err != nil || i.Version != "1.31" || i.Release != "1.31.7" || i.ChartsOf != "1.31.0" || i.Digests != nil {
		t.Fatalf("%+v %v", i, err)
	}
	for _, p := range cat.istioParts(i) {
		for _, f := range p.Image {
			if !strings.HasSuffix(f.Ref, ":1.31.7") || f.Digest != "" {
				t.Errorf("%s: %+v", p.Name, f)
			}
		}
	}
	if _, err := cat.FindIstio("1.99.1"); err == nil {
		t.Error("a tag of an unknown minor version is accepted")
	}
	for _, source := range []Source{Build, Auto} { // nothing listens there
		_, err = fetch(t.Context(), &Store{Root: t.TempDir()}, cat, Options{Istio: "1.31.7", Source: source, Hub: "127.0.0.1:1"})
		if err == nil || !strings.Contains(err.Error(), "--source image only") {
			t.Errorf("%s: %v", source, err)
		}
	}
}
