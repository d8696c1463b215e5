package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/components"
)

// Name is that of the release's files, without their ending.
func (p *Plan) Name() string { return "istio-" + p.Release }

// Substitutes says in words what is substituted; "" where nothing is.
func (p *Plan) Substitutes() string {
	if len(p.Substitutions) == 0 {
		return ""
	}
	all := make([]string, len(p.Substitutions))
	for n, s := range p.Substitutions {
		all[n] = fmt.Sprintf("%s %s for %s", s.Path, s.Used, s.Wanted)
	}
	return fmt.Sprintf("istiod and pilot-agent %s are built with modules in place of versions that were not served: %s", p.Release, strings.Join(all, ", "))
}

// Write writes the release's file, and its wrapper module where something is substituted, into a folder. pins are those of
// its Envoy that the catalogue lacks.
func (p *Plan) Write(ctx context.Context, mods Modules, dir string, pins map[string]components.WheelPin) error {
	i := components.Istio{Version: p.Minor, Release: p.Release, Module: p.Module.String(), Envoy: p.Envoy, Substitutes: p.Substitutes()}
	if i.Substitutes != "" {
		i.Wrapper = p.Name()
		if err := p.writeWrapper(ctx, mods, dir); err != nil {
			return err
		}
	}
	r := components.Release{Istio: []components.Istio{i}, Modules: map[string]string{i.Module: p.Served.Sum}}
	if len(pins) > 0 {
		r.Envoy = map[string]map[string]components.WheelPin{p.Envoy: pins}
	}
	b, err := yaml.Marshal(r)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, p.Name()+".yaml"), b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the release: %w", err)
	}
	return nil
}

// writeWrapper writes a module that requires Istio and all that it requires, with the substitutions.
func (p *Plan) writeWrapper(ctx context.Context, mods Modules, dir string) error {
	work, err := os.MkdirTemp(dir, ".wrapper-")
	if err != nil {
		return fmt.Errorf("write the wrapper module: %w", err)
	}
	defer os.RemoveAll(work)
	mod, sum := filepath.Join(work, "go.mod"), filepath.Join(work, "go.sum")
	text, err := p.wrapper()
	if err == nil {
		err = errors.Join(os.WriteFile(mod, text, 0o644), os.WriteFile(sum, nil, 0o644))
	}
	if err != nil {
		return fmt.Errorf("write the wrapper module: %w", err)
	}
	if err := mods.Settle(ctx, work); err != nil {
		return fmt.Errorf("complete the wrapper module: %w\n(--replace MODULE=VERSION names another version of a module)", err)
	}
	return errors.Join(os.Rename(mod, filepath.Join(dir, p.Name()+".mod")), os.Rename(sum, filepath.Join(dir, p.Name()+".sum")))
}

// wrapper is the go.mod of the wrapper module.
func (p *Plan) wrapper() ([]byte, error) {
	b, err := p.gomod.Format()
	if err != nil {
		return nil, err
	}
	m, err := modfile.Parse("go.mod", b, nil) // a copy: the plan stays as it is
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.AddModuleStmt(p.Name()+"-build"), m.AddRequire(p.Module.Path, p.Module.Version)); err != nil {
		return nil, err
	}
	for _, s := range p.Substitutions {
		// For all versions: what is substituted may itself require one that is refused.
		if err := m.AddReplace(s.Path, "", s.Path, s.Used); err != nil {
			return nil, err
		}
	}
	m.Cleanup()
	return m.Format()
}

// Publish moves a release's files into a folder, which is made if need be. A file that is there already is an error.
func (p *Plan) Publish(from, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of releases: %w", err)
	}
	var written []string
	for _, ext := range []string{".mod", ".sum", ".yaml"} { // the release last: it names the others
		b, err := os.ReadFile(filepath.Join(from, p.Name()+ext))
		if errors.Is(err, fs.ErrNotExist) && ext != ".yaml" {
			continue
		}
		if err != nil {
			return written, err
		}
		to := filepath.Join(dir, p.Name()+ext)
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return written, fmt.Errorf("write the release: %w (remove what an earlier attempt has left, or choose another --release)", err)
		}
		_, err = f.Write(b)
		if err := errors.Join(err, f.Close()); err != nil {
			return written, fmt.Errorf("write the release: %w", err)
		}
		written = append(written, to)
	}
	return written, nil
}
