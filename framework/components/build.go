package components

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

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
	g := p.Go
	src, err := f.goFolder(ctx, g, w)
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

// goFolder is the folder of the module in which a part is built.
func (f *fetcher) goFolder(ctx context.Context, g *GoBuild, w *Work) (string, error) {
	if g.Source != "" {
		w.came(f.set.Istio.Checkout.origin())
	}
	switch {
	case g.Wrapper != "":
		w.came(f.cat.recipes.wrapperOrigin(g.Wrapper))
		err := f.cat.recipes.writeWrapper(g.Wrapper, w.Dir)
		if err == nil && g.Source != "" {
			err = inPlaceOf(w.Dir, istioModule, f.set.Module)
		}
		return w.Dir, err
	case g.Source != "":
		return f.set.Module, nil
	}
	return f.moduleDir(ctx, w, g.Module)
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
