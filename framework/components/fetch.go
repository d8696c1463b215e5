package components

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/samples"
)

const goarch = runtime.GOARCH

// Options choose what is fetched and from where.
type Options struct {
	Istio    string // version as people name it; "" is the default
	Source   Source // "" means Auto
	Hub      string // registry that mirrors the official ones, e.g. "registry.example.com/mirror"
	Progress Progress
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
}

// ImageArchive is the file of an image entry.
const ImageArchive = "image.tar"

// OfficialProxy says whether the proxy is Istio's own build of Envoy, with Istio's filters in it.
func (s *Set) OfficialProxy() bool { return s.Source == Image }

// IstioHub is the registry prefix under which the Istio images are known in the cluster.
const IstioHub = "docker.io/istio"

// PauseImage is the sandbox image.
const PauseImage = "registry.k8s.io/pause:3.10.1"

// Fetch returns the complete set, making or pulling what the cache lacks.
func Fetch(ctx context.Context, st *Store, o Options) (*Set, error) {
	start := time.Now()
	cat, err := LoadCatalogue()
	if err != nil {
		return nil, err
	}
	istio, err := cat.FindIstio(o.Istio)
	if err != nil {
		return nil, err
	}
	f := &fetcher{store: st, opts: o, cat: cat, set: &Set{Istio: istio, Parts: map[string]Entry{}, Images: map[string]Entry{}, Refs: map[string][]string{}}}
	f.set.Source = f.decide(ctx)
	if f.set.Module, err = f.moduleDir(ctx, istio.Module); err != nil {
		return nil, fmt.Errorf("charts and samples of Istio %s: %w", istio.Version, err)
	}
	if err := f.parts(ctx, slices.Concat(cat.Parts, istioParts(istio))); err != nil {
		return nil, err
	}
	if err := f.images(ctx); err != nil {
		return nil, err
	}
	f.set.TookSec = time.Since(start).Seconds()
	return f.set, nil
}

type fetcher struct {
	store *Store
	opts  Options
	cat   *Catalogue
	mu    sync.Mutex
	set   *Set
}

// moduleDir avoids the go command when the module's folder is already known to this cache.
func (f *fetcher) moduleDir(ctx context.Context, module string) (string, error) {
	e, err := f.store.Ensure(ctx, Recipe{Name: "module", Version: filepath.Base(module), Source: Build, Inputs: module},
		func(ctx context.Context, dir string) error {
			src, err := ModuleDir(ctx, module)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "path"), []byte(src), 0o644)
		})
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(e.Path("path"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(string(b), "go.mod")); err == nil {
		return string(b), nil
	}
	return ModuleDir(ctx, module) // the Go module cache was cleaned since
}

// decide settles auto: images when the registry answers for the Istio image within seconds.
func (f *fetcher) decide(ctx context.Context) Source {
	if f.opts.Source == Image || f.opts.Source == Build {
		return f.opts.Source
	}
	// What is complete in the cache wins, so that a warm start asks no registry.
	for _, src := range []Source{Build, Image} {
		if r, err := f.recipe(istioParts(f.set.Istio)[0], src); err == nil {
			if _, err := f.store.Lookup(r); err == nil {
				return src
			}
		}
	}
	if registryAnswers(ctx, f.opts.Hub, IstioHub+"/pilot:"+f.set.Istio.Release) {
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
		in = append(in, p.NodeBase, recipeInputs("kind-base"))
	}
	if p.Go != nil && p.Go.Wrapper != "" {
		in = append(in, recipeInputs(p.Go.Wrapper))
	}
	if p.Deb != nil || p.NodeBase != "" {
		id, err := distribution()
		if err != nil {
			return r, err
		}
		in = append(in, id)
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
	e, err := f.ensure(ctx, r, func(ctx context.Context, dir string) error {
		if r.Source == Image {
			return pullFiles(ctx, f.opts.Hub, p.Image, dir)
		}
		return buildPart(ctx, p, dir)
	})
	if err != nil {
		return fmt.Errorf("component %s %s is missing and cannot be had from source %q: %w\n(try the other --source, or --hub for a mirror; egressctl doctor checks the tools)", p.Name, p.Version, r.Source, err)
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
func (f *fetcher) ensure(ctx context.Context, r Recipe, fill func(context.Context, string) error) (Entry, error) {
	if e, err := f.store.Lookup(r); err == nil {
		return e, nil
	} else if errors.Is(err, ErrCorrupt) && f.opts.Progress != nil {
		f.opts.Progress.Start(r.Name+" (again: "+err.Error()+")", r.Version, r.Source)
	}
	return f.store.Ensure(ctx, r, func(ctx context.Context, dir string) error {
		if f.opts.Progress == nil {
			return fill(ctx, dir)
		}
		start := time.Now()
		f.opts.Progress.Start(r.Name, r.Version, r.Source)
		err := fill(ctx, dir)
		f.opts.Progress.Done(r.Name, time.Since(start), err)
		return err
	})
}

// images assembles the archives. Official images get the trust layer appended; everything else is
// put together from parts.
func (f *fetcher) images(ctx context.Context) error {
	names, err := sampleImageNames(f.set.Module)
	if err != nil {
		return err
	}
	p := f.set.Parts
	user := p["userland"]
	bundle, base := user.Path("ca-certificates.crt"), user.Path("rootfs.tar")
	istioRef := func(n string) []string { return []string{IstioHub + "/" + n + ":" + f.set.Istio.Release} }
	curlRefs := uniq(append(append(names["curl"], names["sleep"]...), f.cat.SampleImages["curl"]...))
	specs := map[string]imageSpec{
		"pause":   {refs: []string{PauseImage}, files: map[string]string{"pause": p["pause"].Path("pause")}, entrypoint: []string{"/pause"}, user: "65535:65535"},
		"httpbin": {refs: uniq(append(names["httpbin"], f.cat.SampleImages["httpbin"]...)), files: map[string]string{"bin/go-httpbin": p["go-httpbin"].Path("go-httpbin")}, entrypoint: []string{"/bin/go-httpbin"}, user: "65532:65532"},
		"pilot":   {refs: istioRef("pilot"), base: base, files: map[string]string{"usr/local/bin/pilot-discovery": p["pilot"].Path("pilot-discovery")}, trust: bundle, entrypoint: []string{"/usr/local/bin/pilot-discovery"}, user: "1337:1337"},
		"proxyv2": {refs: istioRef("proxyv2"), base: base, trust: bundle, entrypoint: []string{"/usr/local/bin/pilot-agent"}, user: "1337:1337", files: map[string]string{
			"usr/local/bin/pilot-agent":                     p["pilot-agent"].Path("pilot-agent"),
			"usr/local/bin/envoy":                           p["envoy"].Path("envoy"),
			"var/lib/istio/envoy/envoy_bootstrap_tmpl.json": filepath.Join(f.set.Module, "tools/packaging/common/envoy_bootstrap.json"),
		}},
	}
	app, err := f.own(ctx, "egresshttpbin")
	if err != nil {
		return err
	}
	agent, err := f.own(ctx, "egressprobe")
	if err != nil {
		return err
	}
	specs["curl"] = imageSpec{refs: curlRefs, base: base, trust: bundle, files: map[string]string{"usr/local/bin/egressprobe": agent.Path("egressprobe")}, entrypoint: []string{"curl"}, user: "100:101"}
	specs["egresshttpbin"] = imageSpec{refs: []string{samples.AppImage}, base: base, trust: bundle, files: map[string]string{"app": app.Path("egresshttpbin")}, entrypoint: []string{"/app"}, user: "1000:1000"}
	order := make([]string, 0, len(specs))
	for n := range specs {
		order = append(order, n)
	}
	sort.Strings(order)
	for _, n := range order {
		if err := f.image(ctx, n, specs[n]); err != nil {
			return err
		}
	}
	return nil
}

// istioImages differ from release to release of Istio.
var istioImages = []string{"pilot", "proxyv2"}

func (f *fetcher) image(ctx context.Context, n string, s imageSpec) error {
	official := f.set.Source == Image && slices.Contains(istioImages, n)
	r := Recipe{Name: "image-" + n, Version: "1", Source: f.set.Source}
	if slices.Contains(istioImages, n) {
		r.Version = f.set.Istio.Release
	}
	if official {
		r.Inputs = []any{s.refs, f.opts.Hub, goarch, recipeVersion}
	} else {
		in := map[string]string{}
		for dst, src := range s.files {
			sum, err := f.partDigest(src)
			if err != nil {
				return err
			}
			in[dst] = sum
		}
		r.Inputs = []any{s.refs, in, s.base != "", s.trust != "", f.set.Parts["userland"].Manifest.Key, s.entrypoint, s.user, goarch, recipeVersion}
	}
	e, err := f.ensure(ctx, r, func(ctx context.Context, dir string) error {
		if official {
			return pullArchive(ctx, f.opts.Hub, s, filepath.Join(dir, ImageArchive))
		}
		return s.writeArchive(filepath.Join(dir, ImageArchive))
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", n, err)
	}
	f.set.Images[n], f.set.Refs[n] = e, s.refs
	return nil
}

// partDigest is the recorded digest of a file in a part, so that no image recipe reads its inputs.
func (f *fetcher) partDigest(file string) (string, error) {
	for _, e := range f.set.Parts {
		if filepath.Dir(file) == e.Dir {
			return e.Manifest.Files[filepath.Base(file)].SHA256, nil
		}
	}
	return fileDigest(file)
}

// ownPrograms are built from sources that are part of this program: file name in the build folder to
// text. They use the standard library alone, so that building them downloads nothing.
func ownPrograms() (map[string]map[string]string, error) {
	agent := map[string]string{"go.mod": "module mesh-egress-conformance\n\ngo 1.25\n"}
	err := fs.WalkDir(probe.Source, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := probe.Source.ReadFile(p)
		agent["framework/probe/"+p] = string(b)
		return err
	})
	return map[string]map[string]string{
		"egresshttpbin": {"go.mod": "module egresshttpbin\n\ngo 1.25\n", "main.go": samples.AppSource},
		"egressprobe":   agent,
	}, err
}

// ownPackages are the main packages of ownPrograms.
var ownPackages = map[string]string{"egresshttpbin": ".", "egressprobe": "./framework/probe/agent"}

// Agent returns the file of the probe agent, built from the source that is part of this program.
func Agent(ctx context.Context, st *Store, progress Progress) (string, error) {
	f := &fetcher{store: st, opts: Options{Progress: progress}, set: &Set{Parts: map[string]Entry{}}}
	e, err := f.own(ctx, "egressprobe")
	if err != nil {
		return "", err
	}
	return e.Path("egressprobe"), nil
}

// own builds one of ownPrograms.
func (f *fetcher) own(ctx context.Context, name string) (Entry, error) {
	all, err := ownPrograms()
	if err != nil {
		return Entry{}, err
	}
	src := all[name]
	e, err := f.ensure(ctx, Recipe{Name: name, Version: "1", Source: Build, Inputs: []any{src, goarch, recipeVersion}},
		func(ctx context.Context, dir string) error {
			work, err := os.MkdirTemp("", "egress-own-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(work)
			for file, text := range src {
				to := filepath.Join(work, filepath.FromSlash(file))
				if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(text), 0o644)); err != nil {
					return err
				}
			}
			_, err = run(ctx, work, []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod", "GOOS=linux"}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), ownPackages[name])
			return err
		})
	if err != nil {
		return Entry{}, fmt.Errorf("build %s, which is part of the harness: %w", name, err)
	}
	f.set.Parts[name] = e
	return e, nil
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

// Entries lists every entry of the set, for verification and pruning.
func (s *Set) Entries() []Entry {
	var out []Entry
	for _, m := range []map[string]Entry{s.Parts, s.Images} {
		for _, e := range m {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Dir < out[j].Dir })
	return out
}

// InUse lists the folders of all entries that the current catalogue names, from any source.
func InUse(st *Store, hub string) (map[string]bool, error) {
	cat, err := LoadCatalogue()
	if err != nil {
		return nil, err
	}
	keep, releases := map[string]bool{}, []string{}
	for _, i := range cat.Istio {
		releases = append(releases, i.Release, filepath.Base(i.Module))
		f := &fetcher{store: st, opts: Options{Hub: hub}, cat: cat, set: &Set{Istio: i}}
		for _, p := range slices.Concat(cat.Parts, cat.Kind, istioParts(i)) {
			for _, src := range []Source{Build, Image} {
				r, err := f.recipe(p, src)
				if err != nil {
					return nil, err
				}
				dir, _, err := st.dirOf(r)
				if err != nil {
					return nil, err
				}
				keep[dir] = true
			}
		}
	}
	entries, err := st.Entries()
	if err != nil {
		return nil, err
	}
	// Images, modules and the sample application are told by age: the newest of a name and version is
	// used, where the version is one of the catalogue's.
	newest := map[string]Entry{}
	for _, e := range entries {
		m := e.Manifest
		perRelease := m.Name == "module" || slices.Contains(istioImages, strings.TrimPrefix(m.Name, "image-"))
		if perRelease && !slices.Contains(releases, m.Version) {
			continue
		}
		if !perRelease && ownPackages[m.Name] == "" && !strings.HasPrefix(m.Name, "image-") {
			continue
		}
		if id := m.Name + " " + m.Version; m.Created.After(newest[id].Manifest.Created) {
			newest[id] = e
		}
	}
	for _, e := range newest {
		keep[e.Dir] = true
	}
	return keep, nil
}
