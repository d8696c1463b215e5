package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/snapshot"
	"mesh-egress-conformance/framework/verify"
)

// liveCluster is a cluster whose objects are verified; a nil one has none.
type liveCluster struct{ snapshot *snapshot.Snapshot }

// isLive says whether the objects of a live cluster are meant.
func (v *verifyFlags) isLive() bool { return v.o.place.Kubeconfig != "" || v.o.place.Context != "" }

// take reads the live cluster, if one is meant. From then on the options mean the cluster in which its objects are tried.
func (v *verifyFlags) take(cmd *cobra.Command) error {
	if !v.isLive() || v.o.provider == provider.Existing { // which session refuses
		return nil
	}
	s, err := v.readLive(cmd, snapshot.Options{Namespaces: v.namespaces, NoSettings: v.meshConfig != ""})
	if err != nil {
		return err
	}
	v.live = &liveCluster{s}
	own := *v.o
	own.place.Kubeconfig, own.place.Context = "", ""
	v.o = &own
	return nil
}

// readLive reads the live cluster.
func (v *verifyFlags) readLive(cmd *cobra.Command, o snapshot.Options) (*snapshot.Snapshot, error) {
	p, err := provider.Open(provider.Existing, nil, v.o.place)
	if err != nil {
		return nil, err
	}
	c, err := p.Open(cmd.Context(), "")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(v.o.steps(cmd), "reading cluster %s\n", c.Name())
	o.Name = "cluster " + c.Name()
	return snapshot.Take(cmd.Context(), c.RESTConfig(), o)
}

// under is the cluster with files laid over it; without a cluster the files alone.
func (l *liveCluster) under(files *manifest.Set, namespace string) *manifest.Set {
	if l == nil {
		return files
	}
	return verify.Laid(l.snapshot.Name, l.snapshot.Set, files, namespace)
}

// running are the pods that run in the cluster; none without one.
func (l *liveCluster) running() map[string]verify.Running {
	if l == nil {
		return nil
	}
	return l.snapshot.Running
}

// isAnother fails where the cluster in which objects are to be tried is the one that they were read of: nothing is written there.
func (l *liveCluster) isAnother(ctx context.Context, ho harness.Options) error {
	if l == nil {
		return nil
	}
	store, err := components.OpenStore()
	if err != nil {
		return err
	}
	p, err := provider.Open(ho.Provider, store, ho.Place)
	if err != nil {
		return err
	}
	c, err := p.Open(ctx, ho.Name)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	same, err := l.snapshot.Of(ctx, c.RESTConfig())
	if err != nil {
		return fmt.Errorf("compare cluster %s, in which the objects are to be tried, with the one that they were read of: %w", ho.Name, err)
	}
	if same {
		return fmt.Errorf("%s is the one that --name %s means, in which the objects would be tried: choose another --name; nothing is written to a cluster that is read", l.snapshot.Name, ho.Name)
	}
	return nil
}

// printRole prints what --kubeconfig needs, with --in-place or without.
func printRole(w io.Writer, inPlace bool) error {
	role := snapshot.RoleYAML()
	if inPlace {
		role = snapshot.InPlaceRoleYAML()
	}
	_, err := w.Write(role)
	return err
}
