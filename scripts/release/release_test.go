package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

func TestCheckOptions(t *testing.T) {
	for name, x := range map[string]struct {
		version, path string
		args          []string
		want          string
	}{
		"right":       {"v1.2.3", "example.com/m", nil, ""},
		"candidate":   {"v1.2.3-rc.1", "example.com/m", nil, ""},
		"no version":  {"", "example.com/m", nil, "is no version"},
		"no v":        {"1.2.3", "example.com/m", nil, "is no version"},
		"short":       {"v1.2", "example.com/m", nil, "is no version"},
		"major":       {"v2.0.0", "example.com/m", nil, "need a module path"},
		"no host":     {"v1.2.3", "m/n", nil, "missing dot"},
		"an argument": {"v1.2.3", "example.com/m", []string{"now"}, `"now"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&options{version: x.version, path: x.path}).check(x.args, false)
			if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
}

// What names the module in an import is renamed, and nothing else is.
func TestRenamed(t *testing.T) {
	files, err := renamed(fstest.MapFS{
		"go.mod": {Data: []byte("module old\n\ngo 1.26.0\n\nrequire golang.org/x/mod v0.1.0\n")},
		"a.go":   {Data: []byte("// Package old is old/b.\npackage old\n\nimport (\n\t\"older/x\"\n\tb \"old/b\"\n\t\"old\"\n)\n\nconst label = \"old/run\"\n")},
		"a.yaml": {Data: []byte("old/b: old\n")},
	}, "old", "example.com/new")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Path()] = string(f.(memory).text)
	}
	for name, want := range map[string]string{
		"go.mod": "module example.com/new\n\ngo 1.26.0\n\nrequire golang.org/x/mod v0.1.0\n",
		"a.go":   "// Package old is old/b.\npackage old\n\nimport (\n\t\"older/x\"\n\tb \"example.com/new/b\"\n\t\"example.com/new\"\n)\n\nconst label = \"old/run\"\n",
		"a.yaml": "old/b: old\n",
	} {
		if got[name] != want {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	for want, tree := range map[string]fstest.MapFS{
		"go.mod:3: the go command": {"go.mod": {Data: []byte("module old\n\nreplace a => b v1.0.0\n")}},
		"a.go:1":                   {"a.go": {Data: []byte("no Go\n")}},
	} {
		if _, err := renamed(tree, "old", "example.com/new"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// A checkout is renamed with the modules within it and with its linter's rules; what git does not know stays.
func TestRename(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "go.mod", "module old\n\ngo 1.26.0\n")
	put(t, dir, "a/a.go", "package a\n\nimport \"old/b\"\n")
	put(t, dir, "sub/go.mod", "module old/sub\n\ngo 1.26.0\n\nreplace old => ..\n\nrequire old v0.0.0\n")
	put(t, dir, ".golangci.yml", "deny: [{pkg: old/a}]\n")
	put(t, dir, "label.yaml", "old/run: x\n")
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}} {
		if _, err := output(t.Context(), dir, nil, append([]string{"git"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "b/unknown.go", "package b\n\nimport \"old/b\"\n")
	if err := rename(t.Context(), dir, "example.com/new"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"go.mod":        "module example.com/new\n\ngo 1.26.0\n",
		"a/a.go":        "package a\n\nimport \"example.com/new/b\"\n",
		"sub/go.mod":    "module example.com/new/sub\n\ngo 1.26.0\n\nrequire example.com/new v0.0.0\n\nreplace example.com/new => ..\n",
		".golangci.yml": "deny: [{pkg: example.com/new/a}]\n",
		"label.yaml":    "old/run: x\n",
		"b/unknown.go":  "package b\n\nimport \"old/b\"\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// The proxy has what the go command asks for, and modules within the module are not part of it.
func TestPublish(t *testing.T) {
	src, proxy := t.TempDir(), t.TempDir()
	put(t, src, "go.mod", "module old\n\ngo 1.26.0\n")
	put(t, src, "a/a.go", "package a\n")
	put(t, src, "tools/go.mod", "module old/tools\n")
	put(t, src, "tools/t.go", "package tools\n")
	v := module.Version{Path: "example.com/New", Version: "v0.1.0"}
	if err := publish(source{dir: src}, v, proxy); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(proxy, "example.com", "!new", "@v")
	cf, err := zip.CheckZip(v, filepath.Join(dir, "v0.1.0.zip"))
	if err != nil || strings.Join(cf.Valid, " ") != "example.com/New@v0.1.0/a/a.go example.com/New@v0.1.0/go.mod" {
		t.Error(cf.Valid, err)
	}
	for name, want := range map[string]string{"list": "v0.1.0\n", "v0.1.0.mod": "module example.com/New\n\ngo 1.26.0\n", "v0.1.0.info": `{"Version":"v0.1.0","Time":"1970-01-01T00:00:00Z"}`} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	a, b, c := put(t, dir, "a", "text"), put(t, dir, "b", "text"), put(t, dir, "c", "tent")
	if err := same(a, b); err != nil {
		t.Error(err)
	}
	for _, other := range []string{c, put(t, dir, "d", "texts"), put(t, dir, "e", "")} {
		if err := same(a, other); err == nil || !strings.Contains(err.Error(), "not reproducible") {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// A program that notes its folder is found: it is built in two of them.
func TestTwice(t *testing.T) {
	dir := t.TempDir()
	sources := make([]source, 2)
	for i, name := range []string{"one", "two"} {
		sources[i] = source{dir: filepath.Join(dir, name), commit: "abc"}
		put(t, sources[i].dir, "go.mod", "module m\n\ngo 1.26\n")
		put(t, sources[i].dir, "cmd/egressctl/main.go", "package main\n\nvar version, commit string\n\nfunc main() { println(version, commit, folder) }\n")
		put(t, sources[i].dir, "cmd/egressctl/folder.go", "package main\n\nconst folder = \"same\"\n")
	}
	tg := target{"linux", "arm64"}
	if err := twice(t.Context(), tg, "v1.0.0", sources[0], sources[1], filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	put(t, sources[1].dir, "cmd/egressctl/folder.go", "package main\n\nconst folder = \"else\"\n")
	if err := twice(t.Context(), tg, "v1.0.0", sources[0], sources[1], filepath.Join(dir, "out")); err == nil || !strings.Contains(err.Error(), "linux/arm64") {
		t.Error(err)
	}
}

func TestWriteImage(t *testing.T) {
	dir := t.TempDir()
	programs := map[string]string{"egressctl": put(t, dir, "p", "program"), "egressprobe-1": put(t, dir, "q", "agent")}
	a, b := filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar")
	for _, out := range []string{a, b} {
		if err := writeImage(target{"linux", "arm64"}, "m/egressctl:v1.0.0", programs, out); err != nil {
			t.Fatal(err)
		}
	}
	if err := same(a, b); err != nil {
		t.Error(err)
	}
	img, err := tarball.ImageFromPath(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Architecture != "arm64" || config.Config.Entrypoint[0] != "/usr/local/bin/egressctl" || !config.Created.IsZero() {
		t.Errorf("%+v %v", config, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	modes := map[string]int64{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
	text, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	if b, err := io.ReadAll(text); err != nil || len(b)%512 != 0 || !bytes.HasSuffix(b, make([]byte, 1024)) {
		t.Errorf("the layer is no whole archive: %d bytes, %v", len(b), err)
	}
	if modes["usr/local/bin/egressctl"] != 0o755 || modes["usr/local/bin/egressprobe-1"] != 0o755 || modes["tmp/"] != 0o1777 {
		t.Error(modes)
	}
	if err := writeImage(target{"linux", "amd64"}, "m/egressctl:v1.0.0", map[string]string{"egressctl": put(t, dir, "none", "")}, b); err == nil {
		t.Error("an empty program is taken")
	}
}

func TestComplete(t *testing.T) {
	bom := `{"bomFormat": "CycloneDX", "components": [{"name": "a.example/x", "version": "v1.0.0"}]}`
	for want, x := range map[string]struct {
		bom     string
		modules []string
	}{
		"":                      {bom, []string{"a.example/x@v1.0.0"}},
		"lacks":                 {bom, []string{"a.example/x@v1.0.0", "a.example/y@v1.0.0"}},
		"has 0 modules":         {bom, nil},
		"format is \"SPDX\"":    {`{"bomFormat": "SPDX"}`, []string{"a"}},
		"read the SBOM: unexpe": {`{`, []string{"a"}},
	} {
		if err := complete([]byte(x.bom), x.modules); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestUnpack(t *testing.T) {
	for want, h := range map[string]tar.Header{
		"":                       {Typeflag: tar.TypeReg, Name: "a/b.txt", Size: 1, Mode: 0o644},
		"neither a file":         {Typeflag: tar.TypeSymlink, Name: "a/l", Linkname: "/etc"},
		"escapes":                {Typeflag: tar.TypeReg, Name: "../b.txt", Size: 1, Mode: 0o644},
		"archive of the source:": {Typeflag: tar.TypeReg, Name: "a/short", Size: 9, Mode: 0o644},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "a/", Mode: 0o755})
		_ = w.WriteHeader(&h)
		_, _ = w.Write([]byte("x"))
		_ = w.Flush() // reports a file that is shorter than its header says
		if err := unpack(&b, t.TempDir()); (err == nil) != (want == "") || err != nil && want != "archive of the source:" && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Nothing is removed that a release has not made.
func TestEmptied(t *testing.T) {
	dir := t.TempDir()
	theirs := put(t, dir, "theirs/file", "text")
	if err := emptied(filepath.Dir(theirs)); err == nil || !strings.Contains(err.Error(), "not made by a release") {
		t.Error(err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
	out := filepath.Join(dir, "dist")
	if err := emptied(out); err != nil {
		t.Fatal(err)
	}
	old := put(t, out, "old", "text")
	if err := emptied(out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("what an earlier release left is still there")
	}
}

func TestLacking(t *testing.T) {
	entry := func(name, version string) components.Entry {
		return components.Entry{Manifest: components.Manifest{Name: name, Version: version}}
	}
	parts, istio := []components.Part{{Name: "etcd", Version: "v3"}}, components.Istio{Release: "1.31.0"}
	full := []components.Entry{entry("etcd", "v3"), entry("image-pilot", "1.31.0"), entry("image-proxyv2", "1.31.0")}
	for want, have := range map[string][]components.Entry{
		"":                     full,
		"etcd v3":              {entry("etcd", "v2"), full[1], full[2]},
		"image-proxyv2 1.31.0": {full[0], full[1], entry("image-proxyv2", "1.30.0")},
		"etcd v3, image-pilot 1.31.0, image-proxyv2 1.31.0": nil,
	} {
		if got := strings.Join(lacking(parts, istio, have), ", "); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

// Only a run of the one case that conforms, without a fault, proves that the program works.
func TestProven(t *testing.T) {
	of := func(name string, v egress.Verdict, faults ...string) *report.Report {
		return report.New(report.Environment{}, time.Now(), []egress.Result{{Case: egress.Case{Name: name}, Verdict: v}}, faults...)
	}
	if err := proven(of(rehearsed, egress.Conforms)); err != nil {
		t.Error(err)
	}
	for what, r := range map[string]*report.Report{
		"violated": of(rehearsed, egress.Violates), "skipped": of(rehearsed, egress.Skipped), "another case": of("other", egress.Conforms),
		"a fault": of(rehearsed, egress.Conforms, "etcd died"), "none": report.New(report.Environment{}, time.Now(), nil),
	} {
		if proven(r) == nil {
			t.Errorf("%s is taken for a proof", what)
		}
	}
}
