package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/pods"
)

// Addresses of pods and Services.
const (
	podSubnet     = "10.244.0.0/16"
	serviceSubnet = "10.96.0.0/16"
)

// cniConfig gives each pod a route of its own and leaves its address as it is on the way to the hermetic
// internet, whose arrival log must show it. Every node image has these two plugins.
const cniConfig = `{"cniVersion":"0.4.0","name":"pods","plugins":[
{"type":"ptp","ipMasq":%t,"ipam":{"type":"host-local","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}},
{"type":"portmap","capabilities":{"portMappings":true}}]}
`

// corefile is the DNS of the pods: the cluster's names, and that of the internet for everything else.
const corefile = `.:53 {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    pods insecure
    ttl 5
    fallthrough in-addr.arpa ip6.arpa
  }
  forward . %s
}
`

// trust replaces the CA bundle in the last layer of each image of ours by the run's CA alone. The layer
// holds nothing else, and nothing runs on it yet.
const trust = `set -e
ca=$(cat)
n=0
for m in /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/` + components.TrustMarker + `; do
  [ -e "$m" ] || continue
  printf '%s\n' "$ca" >"${m%` + components.TrustMarker + `}` + components.BundlePath + `"
  n=$((n + 1))
done
[ $n -gt 0 ]`

// node is one node with what the others must know of it.
type node struct {
	nodes.Node
	name, ip, pods string
}

// configureNodes makes the nodes of a new cluster ready: routes, pod network, DNS, images, trust.
func configureNodes(ctx context.Context, c *kindCluster, o cluster.Options, bundle []byte) error {
	list, err := library().ListNodes(clusterName(c.name))
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	cs, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return err
	}
	var loading sync.WaitGroup
	failed := make([]error, len(list))
	for i, n := range list {
		loading.Go(func() {
			failed[i] = loadImages(n, o.Set)
			if failed[i] == nil && bundle != nil {
				failed[i] = script(n, string(bundle), trust)
			}
		})
	}
	all, err := networkNodes(ctx, cs, c, list)
	if err == nil {
		err = nameServer(ctx, cs, c.live(), o.Hosts)
	}
	loading.Wait()
	if err := errors.Join(append(failed, err)...); err != nil {
		return err
	}
	for _, n := range all { // the kubelet finds its network, and CoreDNS starts with the right configuration
		if err := nodeutils.WriteFile(n.Node, "/etc/cni/net.d/10-pods.conflist", fmt.Sprintf(cniConfig, c.live(), n.pods)); err != nil {
			return fmt.Errorf("configure the pod network of %s: %w", n.name, err)
		}
	}
	_, err = pods.WaitPodReady(ctx, cs, metav1.NamespaceSystem, "k8s-app=kube-dns", limits.Process().Pods)
	return err
}

// script runs a shell script in a node.
func script(n nodes.Node, stdin, text string) error {
	var out strings.Builder
	if err := n.Command("sh", "-c", text).SetStdin(strings.NewReader(stdin)).SetStdout(&out).SetStderr(&out).Run(); err != nil {
		return fmt.Errorf("in node %s: %w: %s", n.String(), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// loadImages gives a node the images of the set; those of Kubernetes are in the node image.
func loadImages(n nodes.Node, set *components.Set) error {
	for name, e := range set.Images {
		if name == "pause" {
			continue
		}
		f, err := os.Open(e.Path(components.ImageArchive))
		if err != nil {
			return err
		}
		err = nodeutils.LoadImageArchive(n, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("load image %s into node %s: %w", name, n.String(), err)
		}
	}
	return nil
}

// networkNodes makes the nodes the way to each other's pods, and the hermetic internet their only way out.
func networkNodes(ctx context.Context, cs kubernetes.Interface, c *kindCluster, list []nodes.Node) ([]node, error) {
	ranges, err := podRanges(ctx, cs, len(list))
	if err != nil {
		return nil, err
	}
	var all []node
	for _, n := range list {
		ip, _, err := n.IP()
		if err != nil {
			return nil, fmt.Errorf("find the address of node %s: %w", n.String(), err)
		}
		all = append(all, node{n, n.String(), ip, ranges[n.String()]})
	}
	for _, n := range all {
		var b strings.Builder
		for _, other := range all {
			if other.name != n.name {
				fmt.Fprintf(&b, "ip route replace %s via %s\n", other.pods, other.ip)
			}
		}
		if err := script(n.Node, "", "set -e\n"+b.String()); err != nil {
			return nil, fmt.Errorf("lead the way to other nodes' pods: %w", err)
		}
	}
	if c.live() {
		return all, nil
	}
	return all, closeNodes(ctx, c.name, all)
}

// closeNodes makes the hermetic internet the nodes' only way out.
func closeNodes(ctx context.Context, name string, all []node) error {
	outside, err := docker(ctx, nil, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", internetName(name))
	if err != nil {
		return err
	}
	way, host, _ := strings.Cut(outside, " ")
	if way == "" || host == "" {
		return fmt.Errorf("the hermetic internet has no address on the network %s (docker says %q)", network, outside)
	}
	var back strings.Builder
	for _, n := range all {
		// Whatever no host owns dies in the internet's namespace, which forwards nothing. The gateway is the
		// machine itself: only answers go there, to whoever asked the API server.
		closing := fmt.Sprintf("set -e\nip route replace default via %s\niptables -w -I FORWARD -d %s -j REJECT\n", way, host)
		if err := script(n.Node, "", closing); err != nil {
			return fmt.Errorf("lead the way to the hermetic internet: %w", err)
		}
		fmt.Fprintf(&back, "ip route replace %s via %s\n", n.pods, n.ip)
	}
	if _, err := docker(ctx, nil, "exec", internetName(name), "sh", "-ec", back.String()); err != nil {
		return fmt.Errorf("lead the way back from the hermetic internet: %w", err)
	}
	return nil
}

// podRanges waits until every node has got its range of pod addresses.
func podRanges(ctx context.Context, cs kubernetes.Interface, want int) (map[string]string, error) {
	out := map[string]string{}
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, limits.Process().Cluster.Node, true, func(ctx context.Context) (bool, error) {
		var l *corev1.NodeList
		if l, last = cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); last != nil {
			return false, nil //nolint:nilerr // it may answer the next time; the end tells of the last error
		}
		if len(l.Items) != want || slices.ContainsFunc(l.Items, func(n corev1.Node) bool { return n.Spec.PodCIDR == "" }) {
			return false, nil
		}
		for _, n := range l.Items {
			out[n.Name] = n.Spec.PodCIDR
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait until all %d nodes have a range of pod addresses: %w", want, errors.Join(err, last))
	}
	return out, nil
}

// nameServer configures CoreDNS before it starts: it waits for a network.
func nameServer(ctx context.Context, cs kubernetes.Interface, live bool, hosts *internet.Hosts) error {
	ask := hosts.DNS.String()
	if live {
		ask = "/etc/resolv.conf" // the node's: Docker's own name server, made fit by kind
	}
	cms := cs.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	cm, err := cms.Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("configure CoreDNS: %w", err)
	}
	cm.Data["Corefile"] = fmt.Sprintf(corefile, ask)
	if _, err := cms.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("configure CoreDNS: %w", err)
	}
	return nil
}
