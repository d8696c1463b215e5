package components

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/procgroup"
)

// NodeImage is the name of the node image for kind that is built here; its tag is the Kubernetes version and
// a digest of what it is made of.
const NodeImage = "mesh-egress-conformance/kind-node"

// KindNode returns the archive of a node image for kind and the image's name, made of the same parts as
// an embedded cluster and of kind's own base files. The way is kind's: images/base/Dockerfile and
// pkg/build/nodeimage; nothing is pulled, and no Docker is needed to make it.
func KindNode(ctx context.Context, st *Store, o Options, set *Set) (archive Entry, ref string, err error) {
	cat, err := builtInCatalogue()
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
	r := Recipe{Name: imagePrefix + "kind-node", Version: kube.Version, Source: Build, Inputs: inputs}
	key, err := r.key()
	if err != nil {
		return Entry{}, "", err
	}
	ref = fmt.Sprintf("%s:%s-%.12s", NodeImage, kube.Version, key) // whoever has the name has the content
	archive, err = f.ensure(ctx, r, func(ctx context.Context, w *Work) error { return f.buildNode(ctx, w, ref, kube.Version) })
	if err != nil {
		return Entry{}, "", fmt.Errorf("build the node image for kind: %w", err)
	}
	return archive, ref, nil
}

// nodeParts are what a node image is made of.
var nodeParts = []string{"kind-base", "kubernetes", "kubelet", "kubeadm", "containerd", "etcd", "coredns", "pause", userland}

// nodeRecipe changes whenever this file makes another image of the same parts.
const nodeRecipe = 2

func (f *fetcher) buildNode(ctx context.Context, w *Work, ref, version string) error {
	work := w.Dir
	p := f.set.Parts
	images, err := f.nodeImages(ctx, w, version)
	if err != nil {
		return err
	}
	content, err := f.containerdContent(ctx, w, images)
	if err != nil {
		return fmt.Errorf("put the images of Kubernetes into the node's containerd: %w", err)
	}
	base, err := f.containerSpec(ctx, w)
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
	return s.writeArchive(filepath.Join(w.Out, ImageArchive))
}

// nodeImages writes the archives of all images that kubeadm wants, under the names that it wants them by.
func (f *fetcher) nodeImages(ctx context.Context, w *Work, version string) ([]string, error) {
	p := f.set.Parts
	out, err := w.run(ctx, w.Dir, nil, p["kubeadm"].Path("kubeadm"), "config", "images", "list", "--kubernetes-version", version)
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
			s.base = p[userland].Path("rootfs.tar")
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
		archive := filepath.Join(w.Dir, name+".tar")
		if err := s.writeArchive(archive); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// containerdStop is how long the containerd that images are imported into may take to end.
const containerdStop = 10 * time.Second

// containerdContent imports image archives, not unpacked, into a containerd folder of its own, as
// kind's node image builder does, and returns the folder.
func (f *fetcher) containerdContent(ctx context.Context, w *Work, archives []string) (string, error) {
	root, state := filepath.Join(w.Dir, "containerd"), filepath.Join(w.Dir, "state")
	socket := filepath.Join(w.Dir, "c.sock")
	conf := filepath.Join(w.Dir, "containerd.toml")
	text := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images']\n[grpc]\n  address = %q\n", root, state, socket)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", err
	}
	bin := f.set.Parts["containerd"]
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	daemon, err := w.command(ctx, w.Dir, nil, bin.Path("containerd"), "-c", conf, "--log-level", "warn")
	if err != nil {
		return "", err
	}
	var log bytes.Buffer
	daemon.Stderr = &log
	group, err := procgroup.Start(daemon)
	if err != nil {
		return "", err
	}
	err = w.importImages(ctx, bin.Path("ctr"), socket, archives)
	_ = daemon.Process.Signal(os.Interrupt) // it may have ended by itself
	late := time.AfterFunc(containerdStop, kill)
	_ = group.Wait() // its exit status says nothing about the images
	late.Stop()
	if err == nil && ctx.Err() != nil { // it was killed, and its databases may be incomplete
		err = fmt.Errorf("containerd did not end within %s: %w", containerdStop, ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("%w\ncontainerd says: %s", err, Excerpt(log.String()))
	}
	// Locks and sockets of this containerd are of no use to the node's.
	return root, errors.Join(os.RemoveAll(filepath.Join(root, "tmpmounts")), os.RemoveAll(state))
}

func (w *Work) importImages(ctx context.Context, ctr, socket string, archives []string) error {
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, wait.Backoff{Duration: 100 * time.Millisecond, Steps: 100}, func(ctx context.Context) (bool, error) {
		_, last = w.run(ctx, w.Dir, nil, ctr, "-a", socket, "version")
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for containerd: %w", errors.Join(err, last))
	}
	for _, a := range archives {
		if _, err := w.run(ctx, w.Dir, nil, ctr, "-a", socket, "-n", "k8s.io", "images", "import", "--label=io.cri-containerd.pinned=pinned",
			"--all-platforms", "--no-unpack", "--digests", a); err != nil {
			return fmt.Errorf("import %s: %w", filepath.Base(a), err)
		}
	}
	return nil
}

// containerSpec writes the base of every container's OCI spec: containerd's own, without limits, with
// kind's hook that hides the host's product files.
func (f *fetcher) containerSpec(ctx context.Context, w *Work) (string, error) {
	out, err := w.run(ctx, w.Dir, nil, f.set.Parts["containerd"].Path("ctr"), "oci", "spec")
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
	file := filepath.Join(w.Dir, "cri-base.json")
	return file, os.WriteFile(file, b, 0o644)
}

// buildNodeBase makes a node's root file system with debootstrap, from the mirror that this machine's
// apt uses.
func (f *fetcher) buildNodeBase(ctx context.Context, p Part, w *Work) error {
	kind, err := f.moduleDir(ctx, w, p.NodeBase)
	if err != nil {
		return err
	}
	suite, mirror, sections, err := aptOrigin(ctx, w)
	if err != nil {
		return err
	}
	list := filepath.Join(w.Dir, "packages")
	// debootstrap mounts /proc and /sys in the new root: in a mount namespace of its own they end with it.
	_, err = w.run(ctx, w.Dir, nil, "unshare", "--mount", "bash", "-c", f.cat.recipes.file("kind-base.sh"), "kind-base.sh", suite, mirror, sections, kind, filepath.Join(w.Out, "rootfs.tar"), list)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read which packages the node base is made of: %w", err)
	}
	from, err := parsePackages(string(b))
	w.came(from...)
	return err
}

// parsePackages reads a list of packages: name, version, and SHA-256 a line.
func parsePackages(text string) ([]Origin, error) {
	var out []Origin
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(l)
		if len(f) != 3 || len(f[2]) != sha256.Size*2 {
			return nil, fmt.Errorf("the list of the node base's packages has the line %q, wanted name, version and sha256", l)
		}
		out = append(out, Origin{Kind: "deb", Name: f[0], Version: f[1], Digest: sha256Prefix + f[2], Checked: byApt})
	}
	return out, nil
}

// aptOrigin says from where this machine installs its packages: release, mirror, and sections.
func aptOrigin(ctx context.Context, w *Work) (suite, mirror, sections string, err error) {
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
	out, err := w.run(ctx, w.Dir, nil, "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Created-By: Packages")
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
