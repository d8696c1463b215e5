package harness

import (
	"context"
	"fmt"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// bringUp makes a cluster and installs Istio. Clients and gateways go on starting in the background.
func (s *opening) bringUp(ctx context.Context) error {
	o := s.opts.Components
	if s.opts.AlsoOfCases {
		istio, err := components.Find(ctx, o)
		if err != nil {
			return err
		}
		o.AlsoCached = versionsFor(s.opts.Cases, s.opts.Clients, istio.Version)
	}
	set, err := components.Fetch(ctx, s.store, o)
	if err != nil {
		return err
	}
	s.times.mark(stepComponents)
	c, err := s.provider.Up(ctx, cluster.Options{Name: s.opts.Name, Set: set, Internet: s.opts.Internet, Profile: s.opts.Profile, Hosts: s.opts.Hosts, Port: s.opts.Port, Progress: s.opts.Components.Progress})
	if err != nil {
		return err
	}
	s.env = s.ownEnvironment(c)
	s.hold.journal, s.hold.temporary = fixture.NewJournal(), true
	s.hold.lock.before = "" // whatever it left is gone with its cluster
	ctx, stop := s.alive(ctx)
	defer stop()
	s.times.mark(stepProcesses)
	if err := s.connect(); err != nil {
		return err
	}
	in := s.installer(s.env.facts.Istios()[0])
	if err := s.conn.awaitAPI(ctx, c, s.opts.Limits.Cluster.APIServer); err != nil {
		return err
	}
	s.times.mark(stepAPIServer)
	if err := s.hold.lock.acquireUID(ctx, s.store, s.conn.cs); err != nil {
		return fmt.Errorf("cluster %s: %w", s.opts.Name, err)
	}
	s.starter.startClient(egress.ControlClient)
	if err := in.ControlPlane(ctx); err != nil {
		return err
	}
	s.times.mark(stepCharts)
	if _, err := pods.WaitPodReady(ctx, s.conn.cs, mesh.SystemNamespace, "app=istiod", s.opts.Limits.Pods); err != nil {
		return err
	}
	s.times.mark(stepIstiod)
	s.starter.startClient("client")
	if g, ok := c.(cluster.Guarded); ok {
		if err := g.AwaitGuard(ctx); err != nil {
			return err
		}
	}
	if err := s.followGateways(ctx); err != nil {
		return err
	}
	s.starter.gateways.bring = func(ctx context.Context) error { return s.installGateways(ctx, in) }
	if s.hold.run == "" { // a run wants its first verdict early and starts them later
		s.starter.startGateways()
	}
	return s.join(ctx)
}

// useRunning uses a cluster of the harness that is already there, and adds the hosts that its internet lacks.
func (s *opening) useRunning(ctx context.Context, c cluster.Cluster) error {
	s.env = s.ownEnvironment(c)
	if err := sameInternet(c, s.opts.Internet); err != nil {
		return err
	}
	err := sameIstio(ctx, c, s.opts)
	if err != nil {
		return err
	}
	if !s.opts.Watch {
		if err := sendGuestsAway(ctx, c); err != nil { // of a run that was killed
			return err
		}
	}
	if s.opts.Hosts, err = extend(ctx, c, s.opts.Hosts); err != nil {
		return err
	}
	s.env = s.ownEnvironment(c) // with all hosts
	return s.attach(ctx)
}

// attach uses a cluster that is already there.
func (s *opening) attach(ctx context.Context) error {
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.hold.lock.acquireUID(ctx, s.store, s.conn.cs); err != nil {
		return fmt.Errorf("cluster %s: %w", s.opts.Name, err)
	}
	if err := s.beginJournal(ctx); err != nil {
		return err
	}
	if !s.opts.Watch {
		if err := s.lookForForeign(ctx, searched.ofOurs); err != nil {
			return err
		}
	}
	for _, n := range baseClients {
		s.starter.startClient(n)
	}
	if err := s.followGateways(ctx); err != nil {
		return err
	}
	s.starter.gateways.bring = s.ensureGateways
	return s.join(ctx)
}

// sameInternet demands that a running cluster reaches the internet that was asked for.
func sameInternet(c cluster.Cluster, want cluster.InternetKind) error {
	if have := c.Facts().Internet; want != "" && want != have {
		return fmt.Errorf("the running cluster %s reaches the %s internet, not the %s one: take it down, or choose another --name", c.Name(), have, want)
	}
	return nil
}

// sameIstio demands that a running cluster of the harness has the Istio that was asked for, if one was.
func sameIstio(ctx context.Context, c cluster.Cluster, o Options) error {
	if err := CarriesIstios(c, o.Components.Also); err != nil {
		return err
	}
	if o.Components.Istio == "" && o.Components.IstioSource == "" {
		return nil
	}
	want, err := components.Find(ctx, o.Components)
	if err != nil {
		return err
	}
	have := c.Facts()
	if o.Components.IstioSource == "" && o.Components.Istio == want.Version && have.Istio == want.Version || have.IstioTag == want.Release {
		return nil
	}
	return fmt.Errorf("the running cluster %s has Istio %s, not %s: take it down, or choose another --name", c.Name(), have.IstioTag, want.Release)
}
