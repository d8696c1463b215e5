package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/provider"
)

// opening is a session while it is opened: in a cluster that it brings up (bringup.go), in a running one of the harness, or in somebody
// else's (existing.go, inplace.go).
type opening struct {
	*Session
	provider cluster.Provider
	store    *components.Store
}

// baseClients are the ones that every cluster from `egressctl up` has.
var baseClients = []string{"client", egress.ControlClient}

// Open uses the running cluster of that name, or brings one up that Close takes down again.
func Open(ctx context.Context, o Options) (*Session, error) {
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Watch:
		err = startingIn(s.store, o.Provider, o.Name)
	case o.Provider != provider.Existing: // held before anybody can know that there is no cluster
		s.hold.lock, err = acquireByName(s.store, o.Provider, o.Name, s.hold.run)
	}
	var c cluster.Cluster
	if err == nil {
		c, err = s.provider.Open(ctx, o.Name)
	}
	switch {
	case errors.Is(err, cluster.ErrNotFound) && !o.Watch:
		err = s.bringUp(ctx)
	case err == nil && c.Facts().Foreign:
		o.logf("using the cluster of context %s, which belongs to somebody else", c.Name())
		s.env = environment{cluster: c}
		err = s.useExisting(ctx)
	case err == nil && !o.Watch && c.Facts().Profile != cluster.Standard:
		err = CasesFit(c)
	case err == nil:
		o.logf("using the running cluster %s", o.Name)
		err = s.useRunning(ctx, c)
	}
	if err == nil {
		err = s.hold.lock.complete()
	}
	return s.done(ctx, err)
}

// Up brings a cluster up with Istio, both gateways and the base clients, and lets it live on.
func Up(ctx context.Context, o Options) (*Session, error) {
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	s.hold.run = "" // what belongs to the cluster and not to a run
	if s.hold.lock, err = acquireByName(s.store, o.Provider, o.Name, s.hold.run); err == nil {
		err = s.bringUp(ctx)
	}
	if err == nil {
		err = s.Ready(ctx)
	}
	if err == nil && o.Profile == cluster.IstioDocs {
		err = s.prepareForDocs(ctx)
	}
	if err == nil {
		err = errors.Join(s.Keep(), s.hold.lock.complete())
	}
	return s.done(ctx, err)
}

// done is the session, or why it was not opened; what it had of a cluster is gone then.
func (s *opening) done(ctx context.Context, err error) (*Session, error) {
	if err != nil {
		return nil, errors.Join(s.because(ctx, err), s.Close(context.WithoutCancel(ctx)))
	}
	return s.Session, nil
}

// open checks the options and opens the provider; nothing runs yet.
func open(o Options) (*opening, error) {
	if o.Components.IstioSource != "" && o.Provider == provider.Existing {
		return nil, fmt.Errorf("the Istio of %s cannot be installed on an existing cluster, which pulls its images from a registry: install it there yourself, or let the harness make the cluster (--provider embedded or kind)", o.Components.IstioSource)
	}
	o.Clients = slices.Clone(o.Clients)
	if o.Limits == (limits.Limits{}) {
		o.Limits = limits.Process()
	}
	if _, err := egress.RevisionsOf(o.Clients); err != nil {
		return nil, err
	}
	for i, c := range o.Clients {
		if err := c.Check(); err != nil {
			return nil, err
		}
		if spoil := actions[o.Sabotage].clients; spoil != nil && c.Captured() {
			o.Clients[i] = spoil(c)
		}
	}
	for _, c := range o.Cases {
		if err := fixture.Check(context.Background(), o.Fixtures, c.Fixtures...); err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	if o.Hosts == nil {
		var err error
		if o.Hosts, err = internet.DefaultHosts(); err != nil {
			return nil, err
		}
	}
	store, err := components.OpenStore()
	if err != nil {
		return nil, err
	}
	p, err := provider.Open(o.Provider, store, o.Place)
	if err != nil {
		return nil, err
	}
	return &opening{Session: newSession(o), provider: p, store: store}, nil
}

func newSession(o Options) *Session {
	s := &Session{site: &site{opts: o, times: newRecorder(o.logf, o.OnStep)}, hold: hold{run: fmt.Sprintf("run-%x", time.Now().UnixNano()&0xffffffffff)}}
	s.starter = newStarter(o.Clients, o.Limits, o.logf, s.alive)
	return s
}

// connect makes the session's connection to its cluster, in place of one that it has: what is made over it is noted in the journal that
// there is by now, and its pods are as the environment says by now.
func (s *opening) connect() error {
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
	inside := cluster.Inside(s.env.cluster)
	p := pods.New(pods.Options{Inside: inside, Custom: s.env.custom, Config: cfg, Clientset: cs, Fixtures: makes, Istioctl: s.env.cluster.Program("istioctl"), Kubeconfig: s.env.cluster.Kubeconfig(), Owner: owner, Limits: s.opts.Limits.Pods})
	way := mesh.Way{Config: cfg, Clientset: cs, Inside: inside}
	s.conn = &connection{cs: cs, way: way, fix: fix, pods: p, logs: mesh.NewAccessLogs(cs, caller(p, s.opts.Limits.Pods.Request), s.opts.Limits.Log), pages: mesh.NewAdminPages(way)}
	s.starter.use(s.conn)
	return nil
}

// followGateways follows the logs of all gateways of the cluster; on somebody else's, of those that the run's own
// namespaces have.
func (s *opening) followGateways(ctx context.Context) error {
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
func (s *opening) join(ctx context.Context) error {
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
