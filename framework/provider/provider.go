// Package provider chooses where clusters run. It is the only way to the implementations.
package provider

import (
	"fmt"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/provider/internal/embedded"
)

// ChildMain must be the first call of every program that brings clusters up: an embedded cluster's
// processes are this same program under another first argument.
func ChildMain() { embedded.ChildMain() }

// Names lists the providers.
func Names() []string { return []string{"embedded"} }

// Open returns a provider by name.
func Open(name string, store *components.Store) (cluster.Provider, error) {
	switch name {
	case "embedded":
		return embedded.New(store), nil
	}
	return nil, fmt.Errorf("provider %q is unknown: use one of %v", name, Names())
}
