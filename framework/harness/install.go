package harness

import (
	"context"
	"errors"
	"fmt"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/existing"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// istio finds the Istio of somebody else's cluster, or installs one where there is none and that is allowed.
func (s *opening) istio(ctx context.Context) (mesh.Found, error) {
	found, err := mesh.Detect(ctx, s.conn.cs)
	if err == nil || !errors.Is(err, mesh.ErrNoIstio) {
		return found, err
	}
	if !s.opts.AllowInstall {
		return found, fmt.Errorf("%w; --allow-install lets the run install one, which it removes again", err)
	}
	if err := s.hold.lock.end(false); err != nil { // shared until now
		return found, err
	}
	if s.hold.lock, err = acquireByUID(ctx, s.store, s.conn.cs, s.hold.run); err != nil {
		return found, fmt.Errorf("cluster %s: %w", s.env.cluster.Name(), err)
	}
	version, charts, err := components.Charts(ctx, s.store, s.opts.Components)
	if err != nil {
		return found, err
	}
	if err := existing.PrepareInstall(ctx, s.conn.cs, s.conn.fix); err != nil {
		return found, err
	}
	s.opts.logf("installing Istio %s, which this run removes again", version.Release)
	s.hold.istio = mesh.NewInstaller(s.env.cluster.RESTConfig(), mesh.Options{
		Module: charts, Tag: version.Release, Hub: s.opts.Components.Hub, OfficialProxy: s.opts.Components.Source != components.Build, Policy: egress.RegistryOnly, Run: s.hold.run, Intend: s.hold.journal.Intend,
	})
	if err := s.hold.istio.ControlPlane(ctx); err != nil {
		return found, fmt.Errorf("install Istio: %w (what is there already, of an earlier Istio or of somebody else's, was left as it is: remove it, or install an Istio yourself)", err)
	}
	if _, err := pods.WaitPodReady(ctx, s.conn.cs, mesh.SystemNamespace, "app=istiod", s.opts.Limits.Pods); err != nil {
		return found, err
	}
	s.times.mark(stepIstiod)
	return mesh.Detect(ctx, s.conn.cs)
}
