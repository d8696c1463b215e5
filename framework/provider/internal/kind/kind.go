// Package kind makes clusters with sigs.k8s.io/kind: nodes are containers of whatever Docker the docker
// command talks to. The node image is kind's own where a registry answers, else one built from the same
// parts as an embedded cluster. The hermetic internet is one more container on the nodes' network.
package kind

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
)

// Options are this provider's own.
type Options struct {
	Nodes int    // how many; 0 means 1
	Image string // node image; "" chooses
}

// Provider makes clusters of containers.
type Provider struct {
	store *components.Store
	opts  Options
}

// New returns the provider; kubeconfigs lie below the component store.
func New(store *components.Store, o Options) *Provider { return &Provider{store, o} }

// Name is "kind".
func (*Provider) Name() string { return "kind" }

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// clusterName is what kind calls a cluster of ours.
func clusterName(name string) string { return "egress-" + name }

func library() *kindcluster.Provider {
	return kindcluster.NewProvider(kindcluster.ProviderWithDocker())
}

// Up creates nodes and internet. On error nothing of either is left.
func (p *Provider) Up(ctx context.Context, o cluster.Options) (cluster.Cluster, error) {
	if !nameRE.MatchString(o.Name) {
		return nil, fmt.Errorf("cluster name %q: use lower-case letters, digits and dashes, 32 at most", o.Name)
	}
	start := time.Now()
	if _, err := p.orphaned(ctx, o.Name); err != nil {
		return nil, err
	}
	if err := p.free(ctx, o.Name); err != nil {
		return nil, err
	}
	lock, err := p.own(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the watcher has its own copy, and so has the cluster
	image, err := p.nodeImage(ctx, o)
	if err != nil {
		return nil, err
	}
	f := cluster.FactsOf(o, p.Name())
	if f.Kubernetes, err = imageVersion(ctx, image); err != nil {
		return nil, err
	}
	if err := p.recordNode(ctx, &f, image); err != nil {
		return nil, err
	}
	f.Timings = map[string]float64{"prepared": time.Since(start).Seconds()}
	c := &kindCluster{provider: p, name: o.Name, facts: f, programs: programs(o.Set), token: rand.Text(), owned: true, gone: make(chan struct{})}
	if c.watcher, err = p.startWatcher(o.Name, lock); err != nil {
		return nil, err
	}
	if err := p.up(ctx, c, o, image); err != nil {
		err = errors.Join(fmt.Errorf("bring up kind cluster %s: %w", o.Name, err), p.remove(context.WithoutCancel(ctx), o.Name))
		c.watcher.release()
		return nil, err
	}
	c.facts.Timings["started"] = time.Since(start).Seconds()
	c.follow(ctx)
	return c, nil
}

func (p *Provider) up(ctx context.Context, c *kindCluster, o cluster.Options, image string) error {
	note, err := ensureNetwork(ctx, networkOf(c.facts))
	if err != nil {
		return err
	}
	if note != "" {
		c.facts.Notes = append(slices.Clone(c.facts.Notes), note)
	}
	// The internet is there first: it marks the cluster as ours, and nodes never have another way out.
	bundle, err := startInternet(ctx, o.Name, image, label{Facts: c.facts, Module: c.facts.Module, Programs: c.programs, Token: c.token}, o.Hosts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.kubeconfig(o.Name)), 0o700); err != nil {
		return err
	}
	err = withEnvironment(networkOf(c.facts), func() error {
		return library().Create(clusterName(o.Name), kindcluster.CreateWithV1Alpha4Config(p.config(o.Port)), kindcluster.CreateWithNodeImage(image),
			kindcluster.CreateWithKubeconfigPath(p.kubeconfig(o.Name)), kindcluster.CreateWithDisplayUsage(false), kindcluster.CreateWithDisplaySalutation(false))
	})
	if err != nil {
		return err
	}
	if err := c.load(ctx); err != nil {
		return err
	}
	return configureNodes(ctx, c, o, bundle)
}

// config is the cluster that kind makes: as plain as can be, without a network of kind's own, which would
// hide the pods' addresses from the internet.
func (p *Provider) config(port int) *v1alpha4.Cluster {
	c := &v1alpha4.Cluster{
		Networking: v1alpha4.Networking{
			IPFamily: v1alpha4.IPv4Family, DisableDefaultCNI: true, PodSubnet: podSubnet, ServiceSubnet: serviceSubnet, KubeProxyMode: v1alpha4.IPTablesProxyMode,
			APIServerAddress: "127.0.0.1", APIServerPort: int32(port), //nolint:gosec // a port
		},
		// Kubernetes refuses cgroup v1 unless told so; on v2 this says nothing.
		KubeadmConfigPatches: []string{
			"kind: KubeletConfiguration\nfailCgroupV1: false\nserializeImagePulls: false\n",
			"kind: KubeProxyConfiguration\niptables: {minSyncPeriod: 10ms}\n", // new Services are called at once
			// The cluster does not outlive the machine's next start, and a disk that others keep busy makes the API server
			// wait for seconds. Each node image has one of the two versions of kubeadm's configuration.
			"apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\netcd: {local: {extraArgs: {unsafe-no-fsync: \"true\"}}}\n",
			"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd: {local: {extraArgs: [{name: unsafe-no-fsync, value: \"true\"}]}}\n",
		},
	}
	for i := range max(1, p.opts.Nodes) {
		role := v1alpha4.WorkerRole
		if i == 0 {
			role = v1alpha4.ControlPlaneRole
		}
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: role})
	}
	return c
}

func (p *Provider) kubeconfig(name string) string {
	return filepath.Join(p.store.Root, "kind", name, "kubeconfig")
}

// nodeImage finds or makes the node image, and checks that Docker has it.
func (p *Provider) nodeImage(ctx context.Context, o cluster.Options) (string, error) {
	if p.opts.Image != "" {
		return p.opts.Image, nil
	}
	if o.Set.Source == components.Image {
		return defaults.Image, nil
	}
	archive, ref, err := components.KindNode(ctx, p.store, components.Options{Progress: o.Progress}, o.Set)
	if err != nil {
		return "", err
	}
	if _, err := docker(ctx, nil, "image", "inspect", ref); err == nil {
		return ref, nil
	}
	if _, err := docker(ctx, nil, "load", "--quiet", "--input", archive.Path(components.ImageArchive)); err != nil {
		return "", fmt.Errorf("load the node image: %w", err)
	}
	return ref, nil
}

// recordNode adds the node image to what the cluster is made of, with the digest that Docker knows it by.
func (p *Provider) recordNode(ctx context.Context, f *cluster.Facts, image string) error {
	id, err := docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", image)
	if err != nil {
		return fmt.Errorf("find the digest of the node image: %w", err)
	}
	source := string(components.Image) // kind's own name has a digest in it, which Docker checks when it pulls
	if strings.HasPrefix(image, components.NodeImage+":") {
		source = string(components.Build)
	}
	f.Components = append(f.Components, components.Component{Name: "kind node image", Version: image, Source: source, Digest: id})
	return nil
}

// oldestKubernetes is the oldest minor version of a node image that the supported Istio versions run on.
const oldestKubernetes = 31

// imageVersion reads the Kubernetes version out of a node image.
func imageVersion(ctx context.Context, image string) (string, error) {
	v, err := docker(ctx, nil, "run", "--rm", "--network", "none", "--entrypoint", "cat", image, "/kind/version")
	if err != nil {
		return "", fmt.Errorf("the image %s cannot be used as a node of kind (it must have the file /kind/version): %w", image, err)
	}
	minor, err := strconv.Atoi(strings.SplitN(strings.TrimPrefix(v, "v1."), ".", 2)[0])
	if err != nil || minor < oldestKubernetes {
		return "", fmt.Errorf("the node image %s is of Kubernetes %q; the harness needs v1.%d or later", image, v, oldestKubernetes)
	}
	return v, nil
}

// free demands that nothing carries the cluster's name.
func (p *Provider) free(ctx context.Context, name string) error {
	have, err := library().List()
	if err != nil {
		if _, err := docker(ctx, nil, "version"); err != nil {
			return err
		}
		return fmt.Errorf("list kind's clusters: %w", err)
	}
	ours, err := isOurs(ctx, name)
	switch {
	case err != nil:
		return err
	case ours:
		return fmt.Errorf("kind cluster %q: %w; use it, take it down with egressctl down --provider kind --name %s, or choose another --name", name, cluster.ErrExists, name)
	case slices.Contains(have, clusterName(name)):
		return fmt.Errorf("kind has a cluster %q that this program did not make, and will not touch: choose another --name", clusterName(name))
	}
	return nil
}

// isOurs says whether the internet of a cluster of that name is there.
func isOurs(ctx context.Context, name string) (bool, error) {
	out, err := docker(ctx, nil, "ps", "-aq", "--filter", "name=^"+internetName(name)+"$", "--filter", "label="+ownLabel+"="+name)
	return out != "", err
}

// Open finds a running cluster.
func (p *Provider) Open(ctx context.Context, name string) (cluster.Cluster, error) {
	if _, err := p.orphaned(ctx, name); err != nil {
		return nil, err
	}
	ours, err := isOurs(ctx, name)
	if err != nil {
		return nil, err
	}
	if !ours {
		return nil, fmt.Errorf("kind cluster %q: %w (egressctl status --provider kind lists the running ones, egressctl up --provider kind makes one)", name, cluster.ErrNotFound)
	}
	l, err := readLabel(ctx, name)
	if err != nil {
		return nil, err
	}
	l.Facts.Module = l.Module
	c := &kindCluster{provider: p, name: name, facts: l.Facts, programs: l.Programs, token: l.Token, gone: make(chan struct{})}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("kind cluster %q is half there (its nodes may be starting, or gone): %w (egressctl down --provider kind --name %s removes it)", name, err, name)
	}
	c.follow(ctx)
	return c, nil
}

// Down removes a cluster of ours.
func (p *Provider) Down(ctx context.Context, name string) error {
	if was, err := p.orphaned(ctx, name); err != nil || was {
		return err
	}
	ours, err := isOurs(ctx, name)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("kind cluster %q: %w", name, cluster.ErrNotFound)
	}
	return p.remove(ctx, name)
}

// remove takes away everything of a cluster. What is gone already is no error. The internet goes last: it
// is what tells that the rest is ours.
func (p *Provider) remove(ctx context.Context, name string) error {
	ours, err := isOurs(ctx, name)
	if err != nil || !ours {
		return errors.Join(err, removeNetworks(ctx))
	}
	return p.removeAll(ctx, name)
}

// removeAll removes a cluster that is known to be ours. Nodes are removed as kind's own Delete does it, which takes no
// context: a docker command that hangs must end with the caller's patience.
func (p *Provider) removeAll(ctx context.Context, name string) error {
	nodes, err := docker(ctx, nil, "ps", "-aq", "--filter", "label="+kindLabel+"="+clusterName(name))
	if err != nil {
		return err
	}
	if nodes != "" {
		if _, err := docker(ctx, nil, append([]string{"rm", "--force", "--volumes"}, strings.Fields(nodes)...)...); err != nil {
			return fmt.Errorf("remove the nodes of kind cluster %s: %w", name, err)
		}
	}
	if _, err := docker(ctx, nil, "rm", "--force", "--volumes", internetName(name)); err != nil {
		return fmt.Errorf("remove the internet of kind cluster %s: %w", name, err)
	}
	return errors.Join(removeNetworks(ctx), os.RemoveAll(filepath.Dir(p.kubeconfig(name))))
}

// List names the clusters of ours.
func (p *Provider) List(ctx context.Context) ([]cluster.Status, error) {
	out, err := docker(ctx, nil, "ps", "-a", "--filter", "label="+ownLabel, "--format", `{{.Label "`+ownLabel+`"}}`)
	if err != nil {
		return nil, err
	}
	var list []cluster.Status
	for _, name := range strings.Fields(out) {
		st := cluster.Status{Name: name, Provider: p.Name(), State: "dead", Kubeconfig: p.kubeconfig(name)}
		if run, err := docker(ctx, nil, "inspect", "--format", "{{.State.Running}} {{.Created}}", controlPlane(name)); err == nil {
			running, created, _ := strings.Cut(run, " ")
			if running == "true" {
				st.State = "running"
			}
			st.Since, _ = time.Parse(time.RFC3339Nano, created)
			st.Memory = nodeMemory(ctx, name)
		}
		list = append(list, st)
	}
	return list, nil
}

func nodeMemory(ctx context.Context, name string) int64 {
	// cgroup v2 and v1 say it in different files.
	out, err := docker(ctx, nil, "exec", controlPlane(name), "sh", "-c", "cat /sys/fs/cgroup/memory.current 2>/dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func controlPlane(name string) string { return clusterName(name) + "-control-plane" }

// label is what the internet's container remembers of the cluster.
type label struct {
	Facts    cluster.Facts     `json:"facts"`
	Module   string            `json:"module"`
	Programs map[string]string `json:"programs"`
	Token    string            `json:"token"` // of its control API
}

func readLabel(ctx context.Context, name string) (label, error) {
	var l label
	out, err := docker(ctx, nil, "inspect", "--format", `{{index .Config.Labels "`+factsLabel+`"}}`, internetName(name))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		return l, fmt.Errorf("read what is known of kind cluster %s: %w", name, err)
	}
	return l, nil
}

// programs are the files that Cluster.Program knows.
func programs(set *components.Set) map[string]string {
	out := map[string]string{}
	for part, files := range map[string][]string{"kubernetes": {"kubectl"}, "istioctl": {"istioctl"}} {
		for _, f := range files {
			if e, ok := set.Parts[part]; ok {
				out[f] = e.Path(f)
			}
		}
	}
	return out
}
