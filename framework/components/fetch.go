package components

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"
)

const goarch = runtime.GOARCH

// Options choose what is fetched and from where.
type Options struct {
	Istio       string // version as people name it; "" is the default
	IstioSource string // folder with Istio's source, which is built in place of the release's; "" for none
	Releases    string // folder with releases beside those of the catalogue; "" is UserReleases
	Source      Source // "" means Auto
	Hub         string // registry that mirrors the official ones, e.g. "registry.example.com/mirror"
	// Also are further versions, as Istio names one, whose istiod and proxy can run in the cluster beside its own.
	Also []string
	// AlsoCached are further ones, which are left out where Also has their minor version, or some part of theirs is not in the cache.
	AlsoCached []string
	Progress   Progress
}

// Progress hears about parts that are not in the cache. Calls may come from several goroutines.
type Progress interface {
	Start(part, version string, source Source)
	Done(part string, took time.Duration, err error)
}

// Set is everything that one cluster runs, complete and checked.
type Set struct {
	Istio   Istio
	Source  Source           // Image or Build, as it was decided
	Parts   map[string]Entry // by part name
	Images  map[string]Entry // by image name; the archive is ImageArchive
	Refs    map[string][]string
	Module  string   // folder of the Istio module: charts, CRDs, samples
	Notes   []string // where this set differs from the official parts
	TookSec float64
	// Also are further Istios; their images are among Images, as "pilot-" and "proxyv2-" with the release.
	Also []Further
}

// Further is an Istio beside the one of a set.
type Further struct {
	Istio  Istio
	Module string           // as that of a set
	Parts  map[string]Entry // as those of a set
}

// ImageArchive is the file of an image entry.
const ImageArchive = "image.tar"

// OfficialProxy says whether the proxy is Istio's own build of Envoy, with Istio's filters in it.
func (s *Set) OfficialProxy() bool { return s.Source == Image }

// IstioHub is the registry prefix under which the Istio images are known in the cluster.
const IstioHub = "docker.io/istio"

// EnforcerImage has what enforces NetworkPolicies on a node (framework/enforcer): the network policy controller of
// kube-router, with the tools that it calls.
const EnforcerImage = "docker.io/mesh-egress-conformance/netpol:1"

// PauseImage is the sandbox image.
const PauseImage = "registry.k8s.io/pause:3.10.1"

// Fetch returns the complete set, making or pulling what the cache lacks.
func Fetch(ctx context.Context, st *Store, o Options) (*Set, error) {
	cat, err := LoadCatalogue(o.Releases)
	if err != nil {
		return nil, err
	}
	return fetch(ctx, st, cat, o)
}

func fetch(ctx context.Context, st *Store, cat *Catalogue, o Options) (*Set, error) {
	start := time.Now()
	istio, err := cat.find(ctx, o)
	if err != nil {
		return nil, err
	}
	f := &fetcher{store: st, opts: o, cat: cat, set: &Set{Istio: istio, Parts: map[string]Entry{}, Images: map[string]Entry{}, Refs: map[string][]string{}}}
	if f.set.Source = f.decide(ctx); f.set.Source == Build && istio.ChartsOf != "" {
		return nil, notBuilt(istio)
	}
	if d := istio.differs(); d != "" {
		f.set.Notes = append(f.set.Notes, d)
	}
	if f.set.Module, err = f.istioFolder(ctx, istio); err != nil {
		return nil, fmt.Errorf("charts and samples of Istio %s: %w", istio.Version, err)
	}
	if err := f.parts(ctx, slices.Concat(cat.Parts, cat.istioParts(istio))); err != nil {
		return nil, err
	}
	if err := f.images(ctx); err != nil {
		return nil, err
	}
	for _, version := range o.Also {
		if err := f.also(ctx, version); err != nil {
			return nil, err
		}
	}
	for _, version := range o.AlsoCached {
		if !f.cached(version) {
			continue
		}
		if err := f.also(ctx, version); err != nil {
			return nil, err
		}
	}
	f.set.TookSec = time.Since(start).Seconds()
	return f.set, nil
}

// FetchIstio makes what the cache lacks of an Istio's own programs and its proxy, from Go modules and the proxy's wheel,
// and nothing else of a cluster.
func FetchIstio(ctx context.Context, st *Store, o Options) (*Set, error) {
	cat, err := LoadCatalogue(o.Releases)
	if err != nil {
		return nil, err
	}
	istio, err := cat.find(ctx, o)
	if err != nil {
		return nil, err
	}
	if istio.ChartsOf != "" {
		return nil, notBuilt(istio)
	}
	f := &fetcher{store: st, opts: o, cat: cat, set: &Set{Istio: istio, Source: Build, Parts: map[string]Entry{}}}
	if f.set.Module, err = f.istioFolder(ctx, istio); err != nil {
		return nil, fmt.Errorf("charts and samples of Istio %s: %w", istio.Version, err)
	}
	return f.set, f.parts(ctx, cat.istioParts(istio))
}

type fetcher struct {
	store *Store
	opts  Options
	cat   *Catalogue
	mu    sync.Mutex
	set   *Set
}

// notBuilt says why a version has only images.
func notBuilt(i Istio) error {
	return fmt.Errorf("istio %s is not in the component catalogue, so it is taken for a tag of official images, and those are used with --source image only (with auto, where a registry answers within seconds that it has them; --hub names a mirror). To build it: egressctl components add-istio, or --istio-source DIR (docs/versions.md)", i.Release)
}

// istioFolder is the folder with the charts and samples of an Istio.
func (f *fetcher) istioFolder(ctx context.Context, i Istio) (string, error) {
	if i.Checkout != nil {
		return f.snapshot(ctx, i)
	}
	return f.istioModule(ctx, i.Module)
}

// IstioModule is moduleDir without the go command when the module's folder is already known to this cache.
func (f *fetcher) istioModule(ctx context.Context, module string) (string, error) {
	e, err := f.store.Ensure(ctx, moduleRecipe(module), func(ctx context.Context, w *Work) error {
		src, err := f.moduleDir(ctx, w, module)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(w.Out, "path"), []byte(src), 0o644)
	})
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(e.Path("path"))
	if err != nil {
		return "", err
	}
	dir := string(b)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil { // the Go module cache was cleaned since
		err = f.store.work(ctx, e.Manifest.Key, func(w *Work) error {
			dir, err = f.moduleDir(ctx, w, module)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return dir, nil
}

func moduleRecipe(module string) Recipe {
	return Recipe{Name: moduleEntry, Version: filepath.Base(module), Source: Build, Inputs: module}
}

// moduleEntry is the name of entries that hold nothing but the path of a Go module's folder.
const moduleEntry = "module"

// decide settles auto: images when the registry answers for the Istio image within seconds.
func (f *fetcher) decide(ctx context.Context) Source {
	if f.opts.Source == Image || f.opts.Source == Build {
		return f.opts.Source
	}
	// What is complete in the cache wins, so that a warm start asks no registry.
	i := f.set.Istio
	if i.Checkout != nil { // what matters is where all else comes from
		i.Release, i.Checkout = i.ImageTag, nil
	}
	for _, src := range []Source{Build, Image} {
		if src == Build && i.ChartsOf != "" {
			continue
		}
		if r, err := f.recipe(f.cat.istioParts(i)[0], src); err == nil {
			if _, err := f.store.Lookup(r); err == nil {
				return src
			}
		}
	}
	if registryAnswers(ctx, f.opts.Hub, IstioHub+"/pilot:"+i.Release) {
		return Image
	}
	return Build
}

func (f *fetcher) recipe(p Part, src Source) (Recipe, error) {
	r := Recipe{Name: p.Name, Version: p.Version, Source: src}
	if src == Image && len(p.Image) > 0 {
		r.Inputs = []any{p.Image, f.opts.Hub, goarch}
		return r, nil
	}
	r.Source = Build
	in := []any{p.Go, p.CC, p.Deb, p.Wheel, goarch, recipeVersion}
	if p.NodeBase != "" {
		in = append(in, p.NodeBase, f.cat.recipes.inputs("kind-base"))
	}
	if p.Go != nil && p.Go.Wrapper != "" {
		in = append(in, f.cat.recipes.inputs(p.Go.Wrapper))
	}
	if p.Deb != nil || p.NodeBase != "" {
		id, err := distribution()
		if err != nil {
			return r, err
		}
		in = append(in, id, debRecipe)
	}
	r.Inputs = in
	if p.Name == "pilot" && f.set.Istio.Substitutes != "" {
		r.Substitutes = []string{f.set.Istio.Substitutes}
	}
	if p.Name == "envoy" {
		r.Substitutes = []string{fmt.Sprintf("Envoy %s is the upstream build, without Istio's own filters (istio.stats, metadata exchange, istio.alpn)", p.Version)}
	}
	return r, nil
}

// recipeVersion changes whenever the code in this package makes different files of the same inputs.
const recipeVersion = 4

// debRecipe is recipeVersion for what comes out of the distribution's packages.
const debRecipe = 2

// parts makes every part. Compilers use all cores by themselves, so Go builds go one after another;
// downloads and unpacking run beside them.
func (f *fetcher) parts(ctx context.Context, parts []Part) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queues := map[bool][]Part{}
	for _, p := range parts {
		compiles := p.Go != nil
		queues[compiles] = append(queues[compiles], p)
	}
	errs := make(chan error, len(queues))
	for _, q := range queues {
		go func() {
			for _, p := range q {
				if err := f.part(ctx, p); err != nil {
					cancel()
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var all error
	for range queues {
		if err := <-errs; err != nil && !errors.Is(err, context.Canceled) {
			all = errors.Join(all, err)
		}
	}
	if all == nil {
		all = ctx.Err()
	}
	return all
}

func (f *fetcher) part(ctx context.Context, p Part) error {
	r, err := f.recipe(p, f.set.Source)
	if err != nil {
		return err
	}
	e, err := f.ensure(ctx, r, func(ctx context.Context, w *Work) error {
		if r.Source == Image {
			return pullFiles(ctx, f.opts.Hub, p.Image, w)
		}
		return f.buildPart(ctx, p, w)
	})
	if err != nil {
		return fmt.Errorf("component %s %s is missing and cannot be had from source %q: %w\n(try the other --source, or --hub for a mirror; egressctl doctor checks the tools)", p.Name, p.Version, r.Source, err)
	}
	if r.Source == Build && p.Wheel != nil {
		if err := wheelPins(e, p); err != nil {
			return err
		}
	}
	for _, want := range p.Files {
		if _, err := os.Stat(e.Path(want)); err != nil {
			return fmt.Errorf("component %s %s from source %q lacks the file %s: %w", p.Name, p.Version, r.Source, want, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set.Parts[p.Name] = e
	f.set.Notes = append(f.set.Notes, e.Manifest.Substitutes...)
	return nil
}

// ensure is Store.Ensure with progress for entries that must be made.
func (f *fetcher) ensure(ctx context.Context, r Recipe, fill func(context.Context, *Work) error) (Entry, error) {
	if e, err := f.store.Lookup(r); err == nil {
		return e, nil
	} else if errors.Is(err, ErrCorrupt) && f.opts.Progress != nil {
		f.opts.Progress.Start(r.Name+" (again: "+err.Error()+")", r.Version, r.Source)
	}
	return f.store.Ensure(ctx, r, func(ctx context.Context, w *Work) error {
		if f.opts.Progress == nil {
			return fill(ctx, w)
		}
		start := time.Now()
		f.opts.Progress.Start(r.Name, r.Version, r.Source)
		err := fill(ctx, w)
		f.opts.Progress.Done(r.Name, time.Since(start), err)
		return err
	})
}

// distribution names the release that package recipes belong to, e.g. "debian 12".
func distribution() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find out the Linux distribution: %w", err)
	}
	return string(b), nil
}

func uniq(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	sort.Strings(out)
	return out
}
