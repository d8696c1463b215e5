//go:build !linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
)

// Provider makes no clusters here: it needs Linux.
type Provider struct{}

var errLinux = fmt.Errorf("the embedded provider needs Linux, and this is %s: use --provider kind or --provider existing", runtime.GOOS)

// New returns a provider that can do nothing.
func New(*components.Store) *Provider { return &Provider{} }

// ChildMain does nothing: nothing starts this program as a part of a cluster here.
func ChildMain() {}

// Name is "embedded".
func (*Provider) Name() string { return "embedded" }

// Up always fails.
func (*Provider) Up(context.Context, cluster.Options) (cluster.Cluster, error) { return nil, errLinux }

// Open finds nothing.
func (*Provider) Open(context.Context, string) (cluster.Cluster, error) {
	return nil, errors.Join(cluster.ErrNotFound, errLinux)
}

// Down always fails.
func (*Provider) Down(context.Context, string) error { return errLinux }

// List lists nothing.
func (*Provider) List(context.Context) ([]cluster.Status, error) { return nil, nil }

// Doctor says that Linux is missing.
func (*Provider) Doctor(context.Context) []cluster.Check {
	return []cluster.Check{{Name: "Linux", Detail: errLinux.Error(), Remedy: "use --provider kind or --provider existing"}}
}
