package components

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// NodeImage is the name of the node image for kind that is built here; its tag is the Kubernetes version and
// a digest of what it is made of.
const NodeImage = "mesh-egress-conformance/kind-node"

// KindNode returns the archive of a node image for kind and the image's name, made of the same parts as
// an embedded cluster and of kind's own base files. The way is kind's: images/base/Dockerfile and
// pkg/build/nodeimage; nothing is pulled, and no Docker is needed to make it.
func KindNode(ctx context.Context, st *Store, o Options, set *Set) (archive Entry, ref string, err error) {
	cat, err := LoadCatalogue()
	if err != nil {
		return Entry{}, "", err
	}
	f := &fetcher{store: st, opts: o, cat: cat, set: set}
	from := set.Source
	f.set.Source = Build // kind's parts come from nowhere else
	err = f.parts(ctx, cat.Kind)
	f.set.Source = from
	if err != nil {
		return Entry{}, "", err
	}
	kube, err := cat.Part("kubernetes")
	if err != nil {
		return Entry{}, "", err
	}
	inputs := []any{recipeVersion, nodeRecipe}
	for _, n := range nodeParts {
		inputs = append(inputs, set.Parts[n].Manifest.Digest())
	}
	r := Recipe{Name: "image-kind-node", Version: kube.Version, Source: Build, Inputs: inputs}
	key, err := r.key()
	if err != nil {
		return Entry{}, "", err
	}
	ref = fmt.Sprintf("%s:%s-%.12s", NodeImage, kube.Version, key) // whoever has the name has the content
	archive, err = f.ensure(ctx, r, func(ctx context.Context, dir string) error { return f.buildNode(ctx, dir, ref, kube.Version) })
	if err != nil {
		return Entry{}, "", fmt.Errorf("build the node image for kind: %w", err)
	}
	return archive, ref, nil
}

// nodeParts are what a node image is made of.
var nodeParts = []string{"kind-base", "kubernetes", "kubelet", "kubeadm", "containerd", "etcd", "coredns", "pause", "userland"}

// nodeRecipe changes whenever this file makes another image of the same parts.
const nodeRecipe = 2

func (f *fetcher) buildNode(ctx context.Context, dir, ref, version string) error {
	work, err := os.MkdirTemp("", "egress-node-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	p := f.set.Parts
	images, err := f.nodeImages(ctx, work, version)
	if err != nil {
		return err
	}
	content, err := f.containerdContent(ctx, work, images)
	if err != nil {
		return fmt.Errorf("put the images of Kubernetes into the node's containerd: %w", err)
	}
	base, err := f.containerSpec(ctx, work)
	if err != nil {
		return err
	}
	versionFile := filepath.Join(work, "version")
	if err := os.WriteFile(versionFile, []byte(version), 0o644); err != nil {
		return err
	}
	files := map[string]string{
		"usr/bin/kubeadm":              p["kubeadm"].Path("kubeadm"),
		"usr/bin/kubelet":              p["kubelet"].Path("kubelet"),
		"usr/bin/kubectl":              p["kubernetes"].Path("kubectl"),
		"etc/containerd/cri-base.json": base,
		"kind/version":                 versionFile,
	}
	for _, n := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		files["usr/local/bin/"+n] = p["containerd"].Path(n)
	}
	err = filepath.WalkDir(content, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(content, file)
		files[path.Join("var/lib/containerd", filepath.ToSlash(rel))] = file
		return err
	})
	if err != nil {
		return err
	}
	s := imageSpec{
		refs: []string{ref}, base: p["kind-base"].Path("rootfs.tar"), files: files, env: []string{"container=docker"},
		entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"}, stopSignal: "SIGRTMIN+3",
	}
	return s.writeArchive(filepath.Join(dir, ImageArchive))
}

// nodeImages writes the archives of all images that kubeadm wants, under the names that it wants them by.
func (f *fetcher) nodeImages(ctx context.Context, work, version string) ([]string, error) {
	p := f.set.Parts
	out, err := run(ctx, work, nil, p["kubeadm"].Path("kubeadm"), "config", "images", "list", "--kubernetes-version", version)
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, ref := range strings.Fields(string(out)) {
		name, _, _ := strings.Cut(path.Base(ref), ":")
		s := imageSpec{refs: []string{ref}}
		bin := "usr/local/bin/" + name
		switch name {
		case "kube-apiserver", "kube-controller-manager", "kube-scheduler":
			s.files, s.entrypoint = map[string]string{bin: p["kubernetes"].Path(name)}, []string{"/" + bin}
		case "kube-proxy":
			s.base = p["userland"].Path("rootfs.tar")
			s.files, s.entrypoint = map[string]string{bin: p["kubernetes"].Path(name)}, []string{"/" + bin}
		case "etcd":
			s.files, s.entrypoint = map[string]string{bin: p["etcd"].Path(name)}, []string{"/" + bin}
		case "coredns":
			s.files, s.entrypoint = map[string]string{name: p["coredns"].Path(name)}, []string{"/coredns"}
		case "pause": // kubeadm's and the one that kind's containerd is configured with
			s.refs = uniq([]string{ref, PauseImage, "registry.k8s.io/pause:3.10"})
			s.files, s.entrypoint, s.user = map[string]string{name: p["pause"].Path(name)}, []string{"/pause"}, "65535:65535"
		default:
			return nil, fmt.Errorf("kubeadm %s wants the image %s, of which nothing is known here", version, ref)
		}
		archive := filepath.Join(work, name+".tar")
		if err := s.writeArchive(archive); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// containerdContent imports image archives, not unpacked, into a containerd folder of its own, as
// kind's node image builder does, and returns the folder.
func (f *fetcher) containerdContent(ctx context.Context, work string, archives []string) (string, error) {
	root, state := filepath.Join(work, "containerd"), filepath.Join(work, "state")
	socket := filepath.Join(work, "c.sock")
	conf := filepath.Join(work, "containerd.toml")
	text := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images']\n[grpc]\n  address = %q\n", root, state, socket)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", err
	}
	bin := f.set.Parts["containerd"]
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	daemon := exec.CommandContext(ctx, bin.Path("containerd"), "-c", conf, "--log-level", "warn")
	daemon.Cancel = func() error { return daemon.Process.Signal(os.Interrupt) }
	daemon.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		return "", err
	}
	err := importImages(ctx, bin.Path("ctr"), socket, archives)
	stop()
	_ = daemon.Wait() // it was told to end
	if err != nil {
		return "", fmt.Errorf("%w\ncontainerd says: %s", err, tail(log.String(), 10))
	}
	// Locks and sockets of this containerd are of no use to the node's.
	return root, errors.Join(os.RemoveAll(filepath.Join(root, "tmpmounts")), os.RemoveAll(state))
}

func importImages(ctx context.Context, ctr, socket string, archives []string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for tries := 100; ; tries-- {
		_, err := run(ctx, "/", nil, ctr, "-a", socket, "version")
		if err == nil {
			break
		}
		if tries == 0 {
			return fmt.Errorf("wait for containerd: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, a := range archives {
		if _, err := run(ctx, "/", nil, ctr, "-a", socket, "-n", "k8s.io", "images", "import", "--label=io.cri-containerd.pinned=pinned",
			"--all-platforms", "--no-unpack", "--digests", a); err != nil {
			return fmt.Errorf("import %s: %w", filepath.Base(a), err)
		}
	}
	return nil
}

// containerSpec writes the base of every container's OCI spec: containerd's own, without limits, with
// kind's hook that hides the host's product files.
func (f *fetcher) containerSpec(ctx context.Context, work string) (string, error) {
	out, err := run(ctx, work, nil, f.set.Parts["containerd"].Path("ctr"), "oci", "spec")
	if err != nil {
		return "", err
	}
	var spec map[string]any
	if err := json.Unmarshal(out, &spec); err != nil {
		return "", fmt.Errorf("read containerd's container spec: %w", err)
	}
	if p, ok := spec["process"].(map[string]any); ok {
		delete(p, "rlimits")
	}
	hooks, _ := spec["hooks"].(map[string]any)
	if hooks == nil {
		hooks = map[string]any{}
		spec["hooks"] = hooks
	}
	old, _ := hooks["createContainer"].([]any)
	hooks["createContainer"] = append(old, map[string]any{"path": "/kind/bin/mount-product-files.sh"})
	b, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	file := filepath.Join(work, "cri-base.json")
	return file, os.WriteFile(file, b, 0o644)
}

// buildNodeBase makes a node's root file system with debootstrap, from the mirror that this machine's
// apt uses.
func buildNodeBase(ctx context.Context, p Part, dir string) error {
	kind, err := ModuleDir(ctx, p.NodeBase)
	if err != nil {
		return err
	}
	suite, mirror, sections, err := aptOrigin(ctx, dir)
	if err != nil {
		return err
	}
	script, err := recipes.ReadFile("recipes/kind-base.sh")
	if err != nil {
		return err
	}
	_, err = run(ctx, dir, nil, "bash", "-c", string(script), "kind-base.sh", suite, mirror, sections, kind, filepath.Join(dir, "rootfs.tar"))
	return err
}

// aptOrigin says from where this machine installs its packages: release, mirror, and sections.
func aptOrigin(ctx context.Context, dir string) (suite, mirror, sections string, err error) {
	rel, err := distribution()
	if err != nil {
		return "", "", "", err
	}
	sc := bufio.NewScanner(strings.NewReader(rel))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "VERSION_CODENAME="); ok {
			suite = strings.Trim(v, `"`)
		}
	}
	if suite == "" {
		return "", "", "", errors.New("/etc/os-release has no VERSION_CODENAME: a node image can be built on Debian and Ubuntu")
	}
	out, err := run(ctx, dir, nil, "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Created-By: Packages")
	if err != nil {
		return "", "", "", err
	}
	var have []string
	for _, l := range strings.Split(string(out), "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[0] == suite && (mirror == "" || mirror == f[2]) {
			mirror = f[2]
			have = append(have, f[1])
		}
	}
	// Ubuntu has the CNI plugins in universe.
	want := slices.DeleteFunc([]string{"main", "universe"}, func(s string) bool { return !slices.Contains(have, s) })
	if len(want) == 0 {
		want = []string{"main"}
	}
	return suite, mirror, strings.Join(want, ","), nil
}
