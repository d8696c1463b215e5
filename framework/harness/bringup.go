package harness

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// bringUp makes a cluster and installs Istio. Clients and gateways go on starting in the background.
func (s *Session) bringUp(ctx context.Context, p cluster.Provider, store *components.Store) error {
	o := s.opts.components()
	if s.opts.AlsoCached {
		istio, err := components.Find(ctx, o)
		if err != nil {
			return err
		}
		o.AlsoCached = versionsFor(s.opts.Cases, s.opts.Clients, istio.Version)
	}
	set, err := components.Fetch(ctx, store, o)
	if err != nil {
		return err
	}
	s.times.mark(stepComponents)
	c, err := p.Up(ctx, cluster.Options{Name: s.opts.Name, Set: set, Internet: s.opts.Internet, Profile: s.opts.Profile, Hosts: s.opts.Hosts, Port: s.opts.Port, Progress: s.opts.Progress})
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
	if err := s.hold.lock.acquireUID(ctx, store, s.conn.cs); err != nil {
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
func (s *Session) useRunning(ctx context.Context, c cluster.Cluster, store *components.Store) error {
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
	return s.attach(ctx, store)
}

// attach uses a cluster that is already there.
func (s *Session) attach(ctx context.Context, store *components.Store) error {
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.hold.lock.acquireUID(ctx, store, s.conn.cs); err != nil {
		return fmt.Errorf("cluster %s: %w", s.opts.Name, err)
	}
	if err := s.beginJournal(ctx, store); err != nil {
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

func (s *Session) connect() error {
	cfg := s.env.cluster.RESTConfig()
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make a Kubernetes client: %w", err)
	}
	owner, noted := fixture.RunOwner(s.hold.run), s.hold.journal
	fix, err := fixture.NewClient(cfg, owner, noted)
	if err != nil {
		return err
	}
	makes := fix
	if s.hold.temporary { // the clients belong to the cluster, which may be kept
		owner = fixture.ClusterOwner
		makes = fix.As(owner)
	}
	p := pods.New(pods.Options{Custom: s.env.custom, Config: cfg, Clientset: cs, Fixtures: makes, Istioctl: s.env.cluster.Program("istioctl"), Kubeconfig: s.env.cluster.Kubeconfig(), Owner: owner, Limits: s.opts.Limits.Pods})
	s.conn = &connection{cs: cs, fix: fix, pods: p, logs: mesh.NewAccessLogs(cs, caller(p, s.opts.Limits.Pods.Request), s.opts.Limits.Log), pages: mesh.NewAdminPages(cfg, cs)}
	s.starter.use(s.conn)
	return nil
}

// followGateways follows the logs of all gateways of the cluster; on somebody else's, of those that the run's own
// namespaces have.
func (s *Session) followGateways(ctx context.Context) error {
	var keep func(string) bool
	if !s.env.ours {
		keep = func(namespace string) bool {
			return slices.ContainsFunc(s.conn.pods.Started(), func(p *pods.Pod) bool { return p.Namespace == namespace })
		}
	}
	var err error
	s.conn.followed, err = mesh.FollowGateways(ctx, s.conn.cs, s.conn.logs, keep, s.opts.Limits)
	return err
}

// join connects to istiod and makes the engine, once the base client is there.
func (s *Session) join(ctx context.Context) error {
	for _, n := range baseClients {
		if err := s.starter.lookup(n).wait(ctx); err != nil {
			return err
		}
	}
	s.times.mark(stepClients)
	var err error
	if s.istiods, err = connectIstiods(ctx, s.site, s.hold.istio); err != nil {
		return err
	}
	s.starter.mesh = s.istiods
	if err := s.istiods.connected(ctx, s.conn.proxies()...); err != nil {
		return err
	}
	if s.hold.lock.follows() {
		if err := s.istiods.setBase(ctx, nil); err != nil {
			return err
		}
		s.hold.lock.before = "" // its objects went in cleanUpPrevious
	}
	s.cases = newRunner(s.site, s.istiods, s.hold.run)
	first := s.cases.lanes[0]
	s.asker = &asker{s.site, first.engine, first.rules.clients}
	if s.env.ours {
		s.examiner = &examiner{asker: s.asker, istiods: s.istiods, rules: first.rules}
	}
	if s.opts.Sabotage != NoSabotage {
		s.opts.logf("SABOTAGE: %s", s.opts.Sabotage)
	}
	return s.opts.Sabotage.begin(ctx, s.istiods.target(s.cases.engines()...))
}
