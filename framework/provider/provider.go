// Package provider chooses where clusters run. It is the only way to the implementations.
package provider

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/provider/internal/embedded"
	"mesh-egress-conformance/framework/provider/internal/existing"
	"mesh-egress-conformance/framework/provider/internal/kind"
)

// ChildMain must be the first call of every program that brings clusters up: an embedded cluster's
// processes, and every part of a hermetic internet, are this same program under another first argument.
func ChildMain() {
	embedded.ChildMain()
	kind.ChildMain()
	internet.ChildMain()
}

// Options are what single providers want to know.
type Options struct {
	Kubeconfig, Context string // existing: which cluster
	Nodes               int    // kind: how many nodes; 0 means 1
	NodeImage           string // kind: "" chooses
}

// Auto chooses a provider by what is there.
const Auto = "auto"

// Existing is the provider that neither makes nor removes clusters.
const Existing = "existing"

// Names lists the providers.
func Names() []string { return []string{"embedded", "kind", Existing} }

// Open returns a provider by name.
func Open(name string, store *components.Store, o Options) (cluster.Provider, error) {
	switch name {
	case "embedded":
		return embedded.New(store), nil
	case "kind":
		return kind.New(store, kind.Options{Nodes: o.Nodes, Image: o.NodeImage}), nil
	case Existing:
		return existing.New(o.Kubeconfig, o.Context), nil
	}
	return nil, fmt.Errorf("provider %q is unknown: use one of %v, or %s", name, Names(), Auto)
}

// Choose names the provider that auto stands for: the cluster of a given kubeconfig, else an embedded
// one where this is root on Linux, else kind where Docker answers. The error says what each lacks.
func Choose(ctx context.Context, store *components.Store, o Options) (string, error) {
	if o.Kubeconfig != "" || o.Context != "" {
		return Existing, nil
	}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		return "embedded", nil
	}
	checks := kind.New(store, kind.Options{Image: o.NodeImage}).Doctor(ctx)
	i := slices.IndexFunc(checks, func(c cluster.Check) bool { return !c.OK })
	if i < 0 {
		return "kind", nil
	}
	lacks := []string{
		"embedded: needs Linux and root (this is " + runtime.GOOS + fmt.Sprintf(", uid %d)", os.Geteuid()),
		fmt.Sprintf("kind: %s: %s", checks[i].Name, checks[i].Detail),
		"existing: needs --kubeconfig FILE or --context NAME",
	}
	return "", fmt.Errorf("no place to run a cluster:\n  %s", strings.Join(lacks, "\n  "))
}
