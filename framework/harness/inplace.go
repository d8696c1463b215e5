package harness

import (
	"context"
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/why"
)

// InPlaceOptions are how somebody else's cluster is asked as it is: from pods beside the workloads themselves.
type InPlaceOptions struct {
	// Choose says who asks, by what the mesh configuration says of access logs. Nothing is made before.
	Choose func(mesh.Logging) ([]egress.Client, error)
	// Hosts are all that is called, and Players those of them that pods play; without any, the real outside is called.
	Hosts   *internet.Hosts
	Players []string
}

// OpenInPlace opens a session that does nothing but ask in place. It makes a namespace with the control client, one with the stand-ins
// where the outside is not the real one, and what AskInPlace makes; Close removes all of it.
func OpenInPlace(ctx context.Context, o Options, in InPlaceOptions) (*Session, error) {
	o.Provider = provider.Existing
	control := slices.IndexFunc(o.Clients, func(c egress.Client) bool { return c.Name == egress.ControlClient })
	if control < 0 {
		return nil, fmt.Errorf("there is no client %q, without which nothing is proven", egress.ControlClient)
	}
	o.Clients = []egress.Client{o.Clients[control]}
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	if s.env.cluster, err = s.provider.Open(ctx, o.Name); err == nil {
		o.logf("asking in the cluster of context %s, which belongs to somebody else", s.env.cluster.Name())
		err = s.useInPlace(ctx, in)
	}
	if err == nil {
		err = s.hold.lock.complete()
	}
	return s.done(ctx, err)
}

// useInPlace finds out who asks, and makes what they need.
func (s *opening) useInPlace(ctx context.Context, in InPlaceOptions) error {
	if err := s.connect(); err != nil {
		return err
	}
	found, err := mesh.Detect(ctx, s.conn.cs)
	if err != nil {
		return err
	}
	logging, err := mesh.LoggingOf(ctx, s.conn.cs, found.Revision)
	if err != nil {
		return err
	}
	guests, err := in.Choose(logging)
	if err != nil {
		return err
	}
	if s.hold.lock, err = shareByUID(ctx, s.store, s.conn.cs); err != nil {
		return fmt.Errorf("cluster %s: %w", s.env.cluster.Name(), err)
	}
	if err := s.beginJournal(ctx); err != nil {
		return err
	}
	control := s.opts.Clients[0]
	control.Namespace += "-" + s.hold.run
	control.StandIn, control.Service = &egress.StandIn{InPlace: true}, false
	s.opts.Clients = append([]egress.Client{control}, guests...)
	s.starter.clients = s.opts.Clients
	if err := (&visit{s, found}).inPlaceEnvironment(ctx, in); err != nil {
		return err
	}
	if err := s.connect(); err != nil { // clients are customized from here on
		return err
	}
	_, err = s.conn.fix.Apply(ctx, "", &fixture.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": control.Namespace, "labels": map[string]any{"istio-injection": "disabled"}},
	}})
	if err != nil {
		return fmt.Errorf("make a namespace for the control client: %w", err)
	}
	// Whoever made a gateway, what goes through it is proven by its log.
	if s.conn.followed, err = mesh.FollowGateways(ctx, s.conn.cs, s.conn.logs, nil, s.opts.Limits); err != nil {
		return err
	}
	if err := s.starter.startClient(control.Name).wait(ctx); err != nil {
		return err
	}
	s.times.mark(stepClients)
	s.asker = inPlaceAsker(s.site)
	return nil
}

// inPlaceEnvironment makes the environment, and the pods that play the outside unless the real one is called.
func (s *visit) inPlaceEnvironment(ctx context.Context, in InPlaceOptions) error {
	e, err := s.environment(ctx)
	if err != nil {
		return err
	}
	e.facts.Istio, e.facts.IstioTag, e.facts.Internet, e.facts.Features = s.found.Version, s.found.Release, cluster.Live, nil
	if in.Hosts != nil {
		s.opts.Hosts, e.hosts = in.Hosts, in.Hosts
		played, err := s.startPodInternet(ctx, e.custom, in.Players)
		if err != nil {
			return err
		}
		e.facts.Internet, e.internet, e.custom.DNS, e.custom.CA = cluster.Hermetic, played, played.DNS, played.CA
	}
	s.completeEnvironment(&e)
	s.env = e
	return nil
}

// inPlaceAsker has an engine that asks and changes nothing.
func inPlaceAsker(s *site) *asker {
	cl := clients{s.conn.pods, 0, func(egress.Feature) []string { return nil }}
	e := &engine.Engine{
		Clients: cl, Mesh: laneLogs{s.conn.logs, s.conn.followed, 0}, Proxies: proxyPages{cl, s.conn.logs, s.conn.pages}, Version: s.env.facts.Istio, Limits: s.opts.Limits,
		Canonical: func(n string) string {
			if h, ok := s.env.hosts.Find(n); ok {
				return h.Name
			}
			return n
		},
	}
	if in := s.env.internet; in != nil {
		e.Internet = in
	}
	return &asker{s, e, cl}
}

// inPlaceAtOnce is how many pods are beside workloads at a time: a cluster may have little room, and many classes.
const inPlaceAtOnce = 10

// AskInPlace asks the same of all clients that were chosen, some at a time, and ends each when it was heard. objects and policy are what
// decides about egress in the cluster.
func (s *Session) AskInPlace(ctx context.Context, probes []egress.Probe, objects []why.Object, policy egress.Policy) (*Examined, error) {
	out := &Examined{Heard: map[string]Heard{}, Unstarted: map[string]error{}, Unheard: map[string]error{}}
	known := func(context.Context) ([]why.Object, egress.Policy, error) { return objects, policy, nil } //nolint:unparam // as deciding has it
	for group := range slices.Chunk(s.opts.Clients[1:], inPlaceAtOnce) {
		st := Standing{Probes: probes}
		for _, c := range group {
			st.Clients = append(st.Clients, c.Name)
		}
		if err := s.asker.start(ctx, st, out); err != nil {
			return nil, err
		}
		standing := stood{}
		if err := s.asker.ask(ctx, standing.as(st.Clients, out.Unstarted), st, known, out); err != nil {
			return nil, err
		}
		if err := s.starter.replace(ctx, s.opts.Clients[:1]); err != nil {
			return nil, err
		}
		s.starter.clients = s.opts.Clients
	}
	return out, nil
}
