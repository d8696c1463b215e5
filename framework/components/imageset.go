package components

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"mesh-egress-conformance/samples"
)

// images assembles the archives. Official images get the trust layer appended; everything else is
// put together from parts.
func (f *fetcher) images(ctx context.Context) error {
	names, err := sampleImageNames(f.set.Module)
	if err != nil {
		return err
	}
	p := f.set.Parts
	bundle, base := p[userland].Path("ca-certificates.crt"), p[userland].Path("rootfs.tar")
	curlRefs := uniq(append(append(names["curl"], names["sleep"]...), f.cat.SampleImages["curl"]...))
	specs := map[string]imageSpec{
		"pause":   {refs: []string{PauseImage}, files: map[string]string{"pause": p["pause"].Path("pause")}, entrypoint: []string{"/pause"}, user: "65535:65535"},
		"httpbin": {refs: uniq(append(names["httpbin"], f.cat.SampleImages["httpbin"]...)), files: map[string]string{"bin/go-httpbin": p["go-httpbin"].Path("go-httpbin")}, entrypoint: []string{"/bin/go-httpbin"}, user: "65532:65532"},
	}
	maps.Copy(specs, f.istioSpecs())
	app, err := f.own(ctx, "egresshttpbin")
	if err != nil {
		return err
	}
	agent, err := f.own(ctx, "egressprobe")
	if err != nil {
		return err
	}
	specs["curl"] = imageSpec{refs: curlRefs, base: base, trust: bundle, entrypoint: []string{"curl"}, user: "100:101", env: []string{"SSL_CERT_FILE=/" + BundlePath}, files: map[string]string{ // without it openssl looks elsewhere
		"usr/local/bin/egressprobe": agent.Path("egressprobe"),
		"usr/bin/openssl":           p["client-tools"].Path("openssl"),
	}}
	specs["egresshttpbin"] = imageSpec{refs: []string{samples.AppImage}, base: base, trust: bundle, files: map[string]string{"app": app.Path("egresshttpbin")}, entrypoint: []string{"/app"}, user: "1000:1000"}
	specs["netpol"] = f.enforcerSpec()
	for _, n := range slices.Sorted(maps.Keys(specs)) {
		if err := f.image(ctx, n, specs[n]); err != nil {
			return err
		}
	}
	return nil
}

// userland is the part with what programs in images need besides themselves.
const userland = "userland"

// enforcerSpec is the image of what enforces NetworkPolicies. Its iptables is of the legacy kind: in a user namespace the other one
// cannot write as many rules at once as it takes ("Message too long"), and the tables are other ones than kube-proxy's.
func (f *fetcher) enforcerSpec() imageSpec {
	p := f.set.Parts
	tools := p["node-tools"]
	files := map[string]string{"usr/local/bin/netpol": p["netpol"].Path("netpol"), "usr/sbin/ipset": tools.Path("ipset"), "usr/" + ipsetLibrary: tools.Path(ipsetLibrary)}
	for _, n := range iptablesNames { // before the userland's own in PATH
		files["usr/local/sbin/"+n] = tools.Path("xtables-legacy-multi")
	}
	return imageSpec{refs: []string{EnforcerImage}, base: p[userland].Path("rootfs.tar"), entrypoint: []string{"/usr/local/bin/netpol"}, files: files}
}

// istioSpecs are the images of the Istio itself; its parts and the userland are there.
func (f *fetcher) istioSpecs() map[string]imageSpec {
	p, i := f.set.Parts, f.set.Istio
	bundle, base := p[userland].Path("ca-certificates.crt"), p[userland].Path("rootfs.tar")
	ref := func(n string) []string { return []string{IstioHub + "/" + n + ":" + i.Release} }
	return map[string]imageSpec{
		"pilot": {refs: ref("pilot"), digest: i.Digests["pilot"], base: base, files: map[string]string{"usr/local/bin/pilot-discovery": p["pilot"].Path("pilot-discovery")}, trust: bundle, entrypoint: []string{"/usr/local/bin/pilot-discovery"}, user: "1337:1337"},
		"proxyv2": {refs: ref("proxyv2"), digest: i.Digests["proxyv2"], base: base, trust: bundle, entrypoint: []string{"/usr/local/bin/pilot-agent"}, user: "1337:1337", files: map[string]string{
			"usr/local/bin/pilot-agent":                     p["pilot-agent"].Path("pilot-agent"),
			"usr/local/bin/envoy":                           p["envoy"].Path("envoy"),
			"var/lib/istio/envoy/envoy_bootstrap_tmpl.json": filepath.Join(f.set.Module, "tools/packaging/common/envoy_bootstrap.json"),
		}},
	}
}

// imagePrefix begins the names of entries that are image archives.
const imagePrefix = "image-"

// istioImages differ from release to release of Istio.
var istioImages = []string{"pilot", "proxyv2"}

func (f *fetcher) image(ctx context.Context, n string, s imageSpec) error {
	official := f.set.Source == Image && slices.Contains(istioImages, n) && f.set.Istio.Checkout == nil
	r := Recipe{Name: imagePrefix + n, Version: "1", Source: f.set.Source}
	if slices.Contains(istioImages, n) {
		r.Version = f.set.Istio.Release
	}
	if official {
		r.Inputs = []any{s.refs, s.digest, f.opts.Hub, goarch, recipeVersion}
	} else {
		in := map[string]string{}
		for dst, src := range s.files {
			sum, err := f.partDigest(src)
			if err != nil {
				return err
			}
			in[dst] = sum
		}
		inputs := []any{s.refs, in, s.base != "", s.trust != "", f.set.Parts[userland].Manifest.Key, s.entrypoint, s.user, goarch, recipeVersion}
		if len(s.env) > 0 {
			inputs = append(inputs, s.env)
		}
		r.Inputs = inputs
	}
	e, err := f.ensure(ctx, r, func(ctx context.Context, w *Work) error {
		if official {
			return pullArchive(ctx, f.opts.Hub, s, w)
		}
		return s.writeArchive(filepath.Join(w.Out, ImageArchive))
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
