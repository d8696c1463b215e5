package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// Standing is what somebody's objects come to, while questions are asked of it.
type Standing struct {
	// Config is laid over the installed mesh configuration.
	Config egress.Object
	// Objects are applied in their order, as they are; Secrets after their placeholders were replaced.
	Objects, Secrets []egress.Object
	// Gateways says that the gateways of the installation are needed, GatewayAPI that its kinds are.
	Gateways, GatewayAPI bool
	// Clients are those that ask, by their names in Options.Clients. Each asks all Probes, whose From is replaced.
	Clients []string
	Probes  []egress.Probe
	// Stays leaves what stands to the next examination, which changes what differs and nothing else, and at last to Close.
	Stays bool
}

// Examined is what was heard.
type Examined struct {
	// Heard is by client, in the order of the probes; a client that did not start has none.
	Heard map[string]Heard
	// Refused are objects that the API server or a webhook did not take, or whose gateway did not come up, by their place in
	// Standing.Objects; Unstarted are clients whose pods did not become ready, and Unheard those whose proxy did not say what it has.
	Refused            map[int]error
	Unstarted, Unheard map[string]error
	// Notes are what a reader must know, such as that a proxy did not acknowledge what was applied.
	Notes []string
}

// Heard is what one client was told.
type Heard struct {
	Results []egress.ProbeResult
	// Around is what is known of its proxy and of the cluster's objects.
	Around why.Question
}

// InternetHosts are the hosts of the session's hermetic internet that stay.
func (s *Session) InternetHosts() *internet.Hosts { return s.env.hosts }

// SetGuests makes others the hosts that the session's internet has for a while. At its end there are none.
func (s *Session) SetGuests(ctx context.Context, guests *internet.Hosts) error {
	in, ok := s.env.internet.(cluster.Extensible)
	if !ok || !s.env.ours {
		return errors.New("hosts for a while need the hermetic internet of a cluster of the harness's own (--provider embedded or kind)")
	}
	all, err := s.env.hosts.WithGuests(guests)
	if err == nil && s.stood != nil && moved(s.env.hosts, all) {
		err = s.clear(ctx) // a proxy keeps what a name has resolved to
	}
	if err == nil {
		err = in.SetGuests(ctx, guests)
	}
	if err == nil {
		s.guests, s.env.hosts = len(guests.Hosts) > 0, all
	}
	return err
}

// sendGuestsAway ends what SetGuests has begun; one that a killed run has left, too.
func sendGuestsAway(ctx context.Context, c cluster.Cluster) error {
	in, ok := c.Internet().(cluster.Extensible)
	if !ok {
		return nil
	}
	have, err := in.Hosts(ctx)
	if err != nil || len(have.Guests().Hosts) == 0 {
		return err
	}
	return in.SetGuests(ctx, &internet.Hosts{})
}

// Examine lets something stand, asks, and takes it down again, unless it stays. An error means that nothing was heard, or that
// what stood is in the way of whatever comes next.
func (s *Session) Examine(ctx context.Context, st Standing) (_ *Examined, err error) {
	out := &Examined{Heard: map[string]Heard{}, Refused: map[int]error{}, Unstarted: map[string]error{}, Unheard: map[string]error{}}
	if !s.env.ours {
		return nil, errors.New("somebody else's objects are tried in a cluster of the harness's own alone")
	}
	ctx, stop := s.alive(ctx)
	defer stop()
	defer func() {
		switch {
		case st.Stays && err == nil, s.stood == nil:
			return
		case ctx.Err() != nil: // Close does it
			s.stood = nil
			return
		}
		if down := s.clear(context.WithoutCancel(ctx)); down != nil {
			err = errors.Join(err, s.because(ctx, down))
		}
	}()
	if s.stood == nil {
		s.stood = &stood{objects: map[string]*standing{}}
	}
	if err := s.configure(ctx, st.Config); err != nil {
		return nil, s.because(ctx, err)
	}
	s.times.mark("mesh settings")
	r := s.lanes[0].rules
	if err := r.precede(ctx, st, s.stood, out); err != nil {
		return nil, s.because(ctx, err)
	}
	if err := s.populate(ctx, st, out); err != nil {
		return nil, s.because(ctx, err)
	}
	c := s.stood.as(st.Clients, out.Unstarted)
	if err := r.stand(ctx, c, st, s.stood, out); err != nil {
		return nil, s.because(ctx, err)
	}
	s.times.mark("objects applied")
	if err := s.ask(ctx, c, st, s.deciding, out); err != nil {
		return nil, s.because(ctx, err)
	}
	return out, nil
}

// populate starts what is called and who calls.
func (s *Session) populate(ctx context.Context, st Standing, out *Examined) error {
	for _, n := range st.Clients {
		s.starter.startClient(n)
	}
	if st.Gateways {
		if err := s.starter.startGateways().wait(ctx); err != nil {
			return err
		}
	}
	if st.GatewayAPI {
		if err := s.starter.startGatewayAPI().wait(ctx); err != nil {
			return err
		}
	}
	if err := s.start(ctx, st, out); err != nil {
		return err
	}
	s.istiods.changer.EndpointsChange()
	return nil
}

// start starts who calls.
func (s *Session) start(ctx context.Context, st Standing, out *Examined) error {
	starting := map[string]*startup{}
	for _, n := range st.Clients {
		starting[n] = s.starter.startClient(n)
	}
	for n, u := range starting {
		if err := u.wait(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			out.Unstarted[n] = err
		}
	}
	s.times.mark("stand-ins ready")
	return nil
}

// settled notes what is worth it of a wait.
func (x *Examined) settled(s mesh.Settled) {
	x.Notes = append(x.Notes, s.Rejections...)
	if s.Note != "" {
		x.Notes = append(x.Notes, s.Note)
	}
}

// deciding says which objects of a cluster decide about egress, and the mesh-wide policy.
type deciding func(context.Context) ([]why.Object, egress.Policy, error)

// ask makes all probes from all clients, and looks at their proxies while everything stands.
func (s *Session) ask(ctx context.Context, c egress.Case, st Standing, decide deciding, out *Examined) error {
	var probes []egress.Probe
	for _, x := range c.Probes {
		for _, p := range st.Probes {
			p.From = x.From
			probes = append(probes, p)
		}
	}
	results := s.lanes[0].engine.Examine(ctx, probes)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ask: %w", errors.Join(err, context.Cause(ctx)))
	}
	s.times.mark(fmt.Sprintf("%d questions asked", len(probes)))
	objects, policy, err := decide(ctx)
	if err != nil {
		return err
	}
	gateways, err := s.conn.hopsOf(ctx, results)
	if err != nil {
		out.Notes = append(out.Notes, err.Error())
	}
	heard := make([]Heard, len(c.Probes))
	errs := make([]error, len(c.Probes))
	var wg sync.WaitGroup
	for i, x := range c.Probes {
		heard[i] = Heard{Results: results[i*len(st.Probes) : (i+1)*len(st.Probes)], Around: why.Question{Objects: objects, Policy: policy, Gateways: gateways}}
		wg.Go(func() { errs[i] = s.sidecarOf(ctx, x.From, &heard[i].Around) })
	}
	wg.Wait()
	for i, x := range c.Probes {
		out.tell(x.From, heard[i], errs[i])
	}
	return ctx.Err()
}

// sidecarOf is proxyOf; a client whose calls go around its sidecar has one all the same.
func (s *Session) sidecarOf(ctx context.Context, client string, q *why.Question) error {
	err := s.proxyOf(ctx, client, q)
	if pod, bad := s.conn.pods.Get(client); err == nil && bad == nil && pod.Captured() && pod.Escapes {
		q.Captured = true
	}
	return err
}

// tell takes what one client was told; one whose proxy does not say what it has keeps no other from being heard.
func (x *Examined) tell(client string, h Heard, err error) {
	if err != nil {
		x.Unheard[client] = fmt.Errorf("read what the proxy of %s has: %w", client, err)
		return
	}
	x.Heard[client] = h
}
