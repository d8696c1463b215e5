package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"mesh-egress-conformance/framework/cluster"
)

type kindCluster struct {
	provider *Provider
	name     string
	facts    cluster.Facts
	programs map[string]string
	token    string
	config   *rest.Config
	internet *kindInternet
	owned    bool
	watcher  *watcher // nil when the cluster was only opened

	gone chan struct{}
	mu   sync.Mutex
	why  error
	stop context.CancelFunc
}

// load reads the kubeconfig and finds the internet.
func (c *kindCluster) load(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	cfg.QPS = -1 // the API server has its own limits, and nobody else to serve
	c.config = cfg
	if c.live() {
		return nil
	}
	client, err := internetClient(ctx, c.name, c.token)
	c.internet = &kindInternet{client, internetName(c.name)}
	return err
}

// follow waits in the background until the control plane's container ends.
func (c *kindCluster) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until Close
	c.stop = cancel
	go func() {
		code, err := docker(ctx, nil, "wait", controlPlane(c.name))
		if ctx.Err() != nil {
			return // only this process stops to look
		}
		c.mu.Lock()
		c.why = errors.Join(fmt.Errorf("the container %s has ended (status %s)", controlPlane(c.name), code), err)
		c.mu.Unlock()
		close(c.gone)
	}()
}

func (c *kindCluster) Name() string               { return c.name }
func (c *kindCluster) RESTConfig() *rest.Config   { return rest.CopyConfig(c.config) }
func (c *kindCluster) Kubeconfig() string         { return c.provider.kubeconfig(c.name) }
func (c *kindCluster) Facts() cluster.Facts       { return c.facts }
func (c *kindCluster) Gone() <-chan struct{}      { return c.gone }
func (c *kindCluster) Program(name string) string { return c.programs[name] }

func (c *kindCluster) live() bool { return c.facts.Internet == cluster.Live }

func (c *kindCluster) Internet() cluster.Internet {
	if c.live() {
		return nil
	}
	return c.internet
}

func (c *kindCluster) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// Log reads a unit's journal, the internet's log, or the log of a static pod on the control plane.
func (c *kindCluster) Log(part string) (io.ReadCloser, error) {
	var argv []string
	switch part {
	case "internet":
		argv = []string{"logs", internetName(c.name)}
	case "kubelet", "containerd":
		argv = []string{"exec", controlPlane(c.name), "journalctl", "--no-pager", "-u", part}
	case "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns":
		argv = []string{"exec", controlPlane(c.name), "sh", "-c", "cat /var/log/pods/kube-system_" + part + "-*/*/*.log"}
	default:
		return nil, fmt.Errorf("cluster %s has no part %q; it has internet, kubelet, containerd, etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, coredns", c.name, part)
	}
	cmd := exec.Command("docker", argv...) //nolint:noctx // it ends with the reader
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("docker %s: %w", strings.Join(argv, " "), err)
	}
	return &output{out, cmd}, nil
}

type output struct {
	io.ReadCloser
	cmd *exec.Cmd
}

func (o *output) Close() error {
	_ = o.ReadCloser.Close()
	_ = o.cmd.Wait() // its status says nothing that the log does not
	return nil
}

// LoadImages gives the archive to the containerd of every node.
func (c *kindCluster) LoadImages(_ context.Context, file string) error {
	list, err := library().ListNodes(clusterName(c.name))
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	for _, n := range list {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = nodeutils.LoadImageArchive(n, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("give %s to node %s: %w", file, n.String(), err)
		}
	}
	return nil
}

func (c *kindCluster) Detach() error {
	if !c.owned {
		return nil
	}
	if err := os.WriteFile(c.provider.livesOn(c.name), nil, 0o600); err != nil {
		return fmt.Errorf("let kind cluster %s live on: %w", c.name, err)
	}
	c.owned = false
	c.watcher.release()
	return nil
}

func (c *kindCluster) Close(ctx context.Context) error {
	if c.stop != nil {
		c.stop()
	}
	if !c.owned {
		return nil
	}
	if err := c.provider.remove(ctx, c.name); err != nil {
		return err // the watcher tries once more when this process ends
	}
	c.owned = false
	c.watcher.release()
	return nil
}
