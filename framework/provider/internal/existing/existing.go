// Package existing finds a cluster that is already there by its kubeconfig. It never makes or removes
// one.
package existing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// Provider opens clusters by kubeconfig and context.
type Provider struct{ kubeconfig, context string }

// New returns the provider. With no kubeconfig it follows KUBECONFIG and the user's home folder, as
// kubectl does.
func New(kubeconfig, context string) *Provider { return &Provider{kubeconfig, context} }

// Name is "existing".
func (*Provider) Name() string { return "existing" }

var errNotOurs = errors.New("the provider existing neither makes nor removes clusters: it uses the one of --kubeconfig and --context")

// Up always fails.
func (*Provider) Up(context.Context, cluster.Options) (cluster.Cluster, error) {
	return nil, errNotOurs
}

// Down always fails.
func (*Provider) Down(context.Context, string) error {
	return fmt.Errorf("%w; egressctl clean removes what a run has left there", errNotOurs)
}

// List lists nothing: which clusters there are is not ours to know.
func (*Provider) List(context.Context) ([]cluster.Status, error) { return nil, nil }

// Open connects; the name is not used.
func (p *Provider) Open(ctx context.Context, _ string) (cluster.Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: p.context})
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig %s (context %q): %w", strings.Join(rules.GetLoadingPrecedence(), ":"), p.context, err)
	}
	cfg.QPS, cfg.Burst = 50, 100
	d, err := discovery.NewDiscoveryClientForConfig(limited(cfg))
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", cfg.Host, err)
	}
	v, err := d.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("reach the API server %s of the kubeconfig: %w (is the cluster up, and is this user let in? kubectl version tries the same)", cfg.Host, err)
	}
	c := &guestCluster{config: cfg, kubeconfig: rules.ExplicitPath, name: p.context, gone: make(chan struct{})}
	if c.name == "" {
		c.name = raw.CurrentContext
	}
	if c.kubeconfig == "" {
		c.kubeconfig = rules.GetDefaultFilename()
	}
	c.facts = cluster.Facts{Provider: "existing", Kubernetes: v.GitVersion, Source: "the cluster's own", Features: []egress.Feature{egress.Hermetic}, Foreign: true}
	return c, ctx.Err()
}

// limited gives up soon: a cluster that is not there should say so at once.
func limited(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.Timeout = limits.Process().Cluster.Answer
	return c
}

// Doctor checks that there is a kubeconfig that connects.
func (p *Provider) Doctor(ctx context.Context) []cluster.Check {
	_, err := p.Open(ctx, "")
	c := cluster.Check{Name: "a cluster that answers", OK: err == nil}
	if err != nil {
		c.Detail, c.Remedy = err.Error(), "give --kubeconfig FILE, and --context NAME if it has several"
	}
	return []cluster.Check{c}
}

type guestCluster struct {
	name, kubeconfig string
	config           *rest.Config
	facts            cluster.Facts
	gone             chan struct{} // never closed: nobody tells
}

func (c *guestCluster) Name() string                { return c.name }
func (c *guestCluster) RESTConfig() *rest.Config    { return rest.CopyConfig(c.config) }
func (c *guestCluster) Kubeconfig() string          { return c.kubeconfig }
func (c *guestCluster) Facts() cluster.Facts        { return c.facts }
func (c *guestCluster) Internet() cluster.Internet  { return nil }
func (c *guestCluster) Gone() <-chan struct{}       { return c.gone }
func (c *guestCluster) Failure() error              { return nil }
func (c *guestCluster) Detach() error               { return nil }
func (c *guestCluster) Close(context.Context) error { return nil }
func (c *guestCluster) Log(string) (io.ReadCloser, error) {
	return nil, errors.New("the logs of this cluster's parts are not ours to read")
}

// Program finds a program on this machine.
func (c *guestCluster) Program(name string) string {
	f, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(f); err != nil {
		return ""
	}
	return f
}
