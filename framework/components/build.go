package components

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed recipes
var recipes embed.FS

// buildPart makes a part's files from Go modules, distribution packages or a wheel.
func (f *fetcher) buildPart(ctx context.Context, p Part, w *Work) error {
	switch {
	case p.Go != nil:
		return f.buildGo(ctx, p, w)
	case p.CC != nil:
		return f.buildC(ctx, p, w)
	case p.Deb != nil:
		return buildDeb(ctx, p, w)
	case p.Wheel != nil:
		return fetchWheel(ctx, p, w)
	case p.NodeBase != "":
		return f.buildNodeBase(ctx, p, w)
	}
	return fmt.Errorf("component %s %s has no build recipe", p.Name, p.Version)
}

// goEnv is the environment of every call of the go command. -mod=readonly makes it refuse what go.sum does not name;
// nothing here switches a check of checksums off.
var goEnv = []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOOS=linux"}

// moduleDir returns the folder of a module (path@version) in the Go module cache, downloading it when it is missing.
// The folder's content is compared with the checksum in the catalogue.
func (f *fetcher) moduleDir(ctx context.Context, w *Work, module string) (string, error) {
	pin, err := f.cat.moduleSum(module)
	if err != nil {
		return "", err
	}
	out, err := w.run(ctx, w.Dir, goEnv, "go", "mod", "download", "-json", module)
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
	if err := checkModule(m.Dir, module, pin); err != nil {
		return "", err
	}
	w.came(moduleOrigin(module, pin))
	return m.Dir, nil
}

func (f *fetcher) buildGo(ctx context.Context, p Part, w *Work) error {
	g, src := p.Go, w.Dir
	var err error
	if g.Wrapper != "" {
		err = writeWrapper(g.Wrapper, src)
		w.came(wrapperOrigin(g.Wrapper))
	} else {
		src, err = f.moduleDir(ctx, w, g.Module)
	}
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + g.LDFlags)}
	if len(g.Tags) > 0 {
		args = append(args, "-tags", strings.Join(g.Tags, ","))
	}
	out := w.Out + "/"
	if g.Output != "" {
		out = filepath.Join(w.Out, g.Output)
	}
	args = append(append(args, "-o", out), g.Packages...)
	if _, err := w.run(ctx, src, goEnv, "go", args...); err != nil {
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
		b.WriteString(recipeFile(name + ext))
	}
	return b.String()
}

// recipeFile is one file of the recipes, "" when there is none of that name.
func recipeFile(name string) string {
	b, err := recipes.ReadFile("recipes/" + name)
	if err != nil {
		return ""
	}
	return string(b)
}

func (f *fetcher) buildC(ctx context.Context, p Part, w *Work) error {
	src, err := f.moduleDir(ctx, w, p.CC.Module)
	if err != nil {
		return err
	}
	_, err = w.run(ctx, w.Out, nil, "cc", "-Os", "-static", "-s", "-DVERSION="+p.Version,
		"-o", p.CC.Output, filepath.Join(src, p.CC.Source))
	if err != nil {
		return fmt.Errorf("compile %s: %w", p.Name, err)
	}
	return nil
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
