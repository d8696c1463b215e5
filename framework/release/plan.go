// Package release adds an Istio release to a folder of releases: it finds out which of the modules that the release requires
// can be had, names served versions in place of those that cannot, and writes the release's file and, where something is
// replaced, the module of ours in which it is built. It starts no part of a cluster, and changes no release that is there.
package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"mesh-egress-conformance/framework/components"
)

// Served is what a source of Go modules has of a module.
type Served struct {
	Version string // as the source names it: that of a tag or a commit is another one
	Dir     string // unpacked; "" where it is refused
	Sum     string // as in a go.sum
	Why     string // what the source said when it refused
}

// Modules is where Go modules come from.
type Modules interface {
	// Download fetches modules and says of each, in their order, what became of it.
	Download(ctx context.Context, mods ...module.Version) ([]Served, error)
	// Versions are those of a module that the source lists, with its latest one; none where it lists none.
	Versions(ctx context.Context, path string) []string
	// GoMod is a module's go.mod.
	GoMod(ctx context.Context, m module.Version) ([]byte, error)
	// Settle makes the go.mod and go.sum in a folder complete for what Istio's programs are built of.
	Settle(ctx context.Context, dir string) error
}

// Options say what is added.
type Options struct {
	Module  string            // path@version; the version may be a tag or a commit
	Release string            // its name, and the tag of its official images; "" is made of version and commit
	Envoy   string            // "" is that of the catalogue's release of the same minor version, else the newest that fits
	Replace map[string]string // versions that are to be used, by module path, whatever is served
	Logf    func(format string, a ...any)
}

// Plan is a release that can be written.
type Plan struct {
	Module        module.Version
	Served        Served
	Minor         string // "1.31"
	Release       string
	Envoy         string
	Substitutions []Substitution
	gomod         *modfile.File
}

// Substitution is a module in place of one that is not served.
type Substitution struct {
	Path, Wanted, Used string
	From               string // who else uses that version; "" where the source lists it
}

// maxTries is how many versions of one module are asked for: each is a download, and a version far away seldom compiles.
const maxTries = 8

// Make finds out what a release needs. cat is the catalogue that it is to be added to.
func Make(ctx context.Context, mods Modules, cat *components.Catalogue, o Options) (*Plan, error) {
	path, version, ok := strings.Cut(o.Module, "@")
	if !ok || path == "" || version == "" {
		return nil, fmt.Errorf("module %q is not of the form istio.io/istio@VERSION", o.Module)
	}
	p := &Plan{Module: module.Version{Path: path, Version: version}}
	if err := p.read(ctx, mods); err != nil {
		return nil, err
	}
	if err := p.name(cat, version, o); err != nil {
		return nil, err
	}
	o.Logf("%s %s is Istio %s and requires %d modules; asking which of them are served", path, p.Module.Version, p.Minor, len(p.gomod.Require))
	refused, err := p.refused(ctx, mods, o.Replace)
	if err != nil {
		return nil, err
	}
	others := siblings(ctx, mods, cat)
	for _, r := range refused {
		s, err := substitute(ctx, mods, r, others, o)
		if err != nil {
			return nil, err
		}
		o.Logf("%s %s is refused; %s %s", s.Path, s.Wanted, s.Used, s.origin())
		p.Substitutions = append(p.Substitutions, s)
	}
	return p, nil
}

func (s Substitution) origin() string {
	if s.From == "" {
		return "is the nearest that is served"
	}
	return "is the nearest that is served (" + s.From + " uses it)"
}

// read downloads the module and reads its go.mod and version.
func (p *Plan) read(ctx context.Context, mods Modules) error {
	got, err := mods.Download(ctx, p.Module)
	if err != nil {
		return err
	}
	if p.Served = got[0]; p.Served.Dir == "" {
		return fmt.Errorf("%s is not served here: %s", p.Module, p.Served.Why)
	}
	p.Module.Version = p.Served.Version
	b, err := os.ReadFile(filepath.Join(p.Served.Dir, "go.mod"))
	if err == nil {
		p.gomod, err = modfile.Parse("go.mod", b, nil)
	}
	if err != nil {
		return fmt.Errorf("read what %s requires: %w", p.Module, err)
	}
	if name := p.gomod.Module.Mod.Path; name != components.IstioModule {
		return fmt.Errorf("%s calls itself %s: only %s can be added", p.Module, name, components.IstioModule)
	}
	b, err = os.ReadFile(filepath.Join(p.Served.Dir, "VERSION"))
	if err != nil {
		return fmt.Errorf("find out which version of Istio %s is: %w", p.Module, err)
	}
	p.Minor = strings.TrimSpace(string(b))
	return nil
}

// tag is how Istio's releases are tagged, without the v that Go demands.
var tag = regexp.MustCompile(`^\d+\.\d+\.\d+(-[a-z]+\.\d+)?$`)

// name gives the release a name that no other has.
func (p *Plan) name(cat *components.Catalogue, asked string, o Options) error {
	for _, i := range cat.Istio {
		if i.Module == p.Module.String() {
			return fmt.Errorf("%s is in the catalogue already, as release %s", p.Module, i.Release)
		}
	}
	p.Release = o.Release
	if p.Release == "" && tag.MatchString(asked) {
		p.Release = asked
	}
	if p.Release == "" {
		rev, err := module.PseudoVersionRev(p.Module.Version)
		if err != nil {
			rev = strings.TrimPrefix(p.Module.Version, "v")
		}
		p.Release = p.Minor + "-" + rev
	}
	for _, i := range cat.Istio {
		if i.Release == p.Release {
			return fmt.Errorf("release %s is in the catalogue already, as %s: give this one another name (--release)", p.Release, i.Module)
		}
	}
	if p.Envoy = o.Envoy; p.Envoy == "" {
		for _, i := range cat.Istio {
			if i.Version == p.Minor {
				p.Envoy = i.Envoy
				break
			}
		}
	}
	return nil
}

// refused lists the requirements that cannot be had, and those for which another version was named.
func (p *Plan) refused(ctx context.Context, mods Modules, replace map[string]string) ([]module.Version, error) {
	known := map[string]bool{}
	var ask, out []module.Version
	for _, r := range p.gomod.Require {
		known[r.Mod.Path] = true
		if replace[r.Mod.Path] != "" {
			out = append(out, r.Mod)
		} else {
			ask = append(ask, r.Mod)
		}
	}
	for path := range replace {
		if !known[path] {
			return nil, fmt.Errorf("%s does not require %s, for which a version is named (--replace)", p.Module, path)
		}
	}
	got, err := mods.Download(ctx, ask...)
	if err != nil {
		return nil, fmt.Errorf("ask for what %s requires: %w", p.Module, err)
	}
	for n, g := range got {
		if g.Dir == "" {
			out = append(out, ask[n])
		}
	}
	module.Sort(out)
	return out, nil
}

// substitute finds the nearest served version of a module.
func substitute(ctx context.Context, mods Modules, refused module.Version, others requirements, o Options) (Substitution, error) {
	s := Substitution{Path: refused.Path, Wanted: refused.Version}
	candidates := nearest(refused.Version, append(mods.Versions(ctx, refused.Path), others.versions(refused.Path)...))
	if v := o.Replace[refused.Path]; v != "" {
		candidates = []string{v}
	}
	for n, v := range candidates {
		if n == maxTries {
			break
		}
		got, err := mods.Download(ctx, module.Version{Path: refused.Path, Version: v})
		if err != nil {
			return s, err
		}
		if got[0].Dir != "" {
			s.Used, s.From = got[0].Version, others[module.Version{Path: refused.Path, Version: got[0].Version}]
			return s, nil
		}
	}
	tried := "none is known"
	if len(candidates) > 0 {
		tried = "tried: " + strings.Join(candidates[:min(len(candidates), maxTries)], ", ")
	}
	return s, fmt.Errorf("%s %s is refused, and so is every version near it (%s): name one that is served with --replace %[1]s=VERSION", refused.Path, refused.Version, tried)
}

// EnvoyOf is the pattern of the versions of Envoy that a minor version of Istio is built of. In Istio 1.28 to 1.31, which
// have Envoy 1.36 to 1.39, the two minor versions differ by eight.
func EnvoyOf(minor string) (string, error) {
	var major, n int
	if _, err := fmt.Sscanf(minor, "%d.%d", &major, &n); err != nil || major != 1 {
		return "", fmt.Errorf("which Envoy belongs to Istio %q is not known: name one (--envoy)", minor)
	}
	return fmt.Sprintf("1.%d.*", n+8), nil
}
