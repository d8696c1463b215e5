package harness

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// examiner lets somebody's objects stand and asks what they come to, in a cluster of the harness's own.
type examiner struct {
	*asker
	istiods *istiods
	rules   *rules // by which they stand
	stood   *stood // what stands between two examinations; nil for nothing
	guests  bool   // the internet has hosts that are there for the session
}

// Examine lets something stand, asks, and takes it down again, unless it stays. An error means that nothing was heard, or that
// what stood is in the way of whatever comes next.
func (s *Session) Examine(ctx context.Context, st Standing) (*Examined, error) {
	if !s.env.ours {
		return nil, errors.New("somebody else's objects are tried in a cluster of the harness's own alone")
	}
	return s.examiner.examine(ctx, st)
}

// InternetHosts are the hosts of the session's hermetic internet that stay.
func (s *Session) InternetHosts() *internet.Hosts { return s.env.hosts }

// SetGuests makes others the hosts that the session's internet has for a while. At its end there are none.
func (s *Session) SetGuests(ctx context.Context, guests *internet.Hosts) error {
	in, ok := s.env.internet.(cluster.Extensible)
	if !ok || !s.env.ours {
		return errors.New("hosts for a while need the hermetic internet of a cluster of the harness's own (--provider embedded or kind)")
	}
	return s.examiner.setGuests(ctx, in, guests)
}

// SetClients makes others the clients of the session. Those that are alike in all go on; the others end, and are started when they
// are needed. Nothing may be examined meanwhile.
func (s *Session) SetClients(ctx context.Context, clients []egress.Client) error {
	if !s.env.ours {
		return errors.New("a session on somebody else's cluster keeps the clients that it was opened with")
	}
	return s.examiner.setClients(ctx, clients)
}

// examine is Session.Examine.
func (s *examiner) examine(ctx context.Context, st Standing) (_ *Examined, err error) {
	out := &Examined{Heard: map[string]Heard{}, Refused: map[int]error{}, Unstarted: map[string]error{}, Unheard: map[string]error{}}
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
	if err := s.rules.precede(ctx, st, s.stood, out); err != nil {
		return nil, s.because(ctx, err)
	}
	if err := s.populate(ctx, st, out); err != nil {
		return nil, s.because(ctx, err)
	}
	c := s.stood.as(st.Clients, out.Unstarted)
	if err := s.rules.stand(ctx, c, st, s.stood, out); err != nil {
		return nil, s.because(ctx, err)
	}
	s.times.mark("objects applied")
	if err := s.ask(ctx, c, st, s.deciding, out); err != nil {
		return nil, s.because(ctx, err)
	}
	return out, nil
}

// configure lays a mesh configuration over the installed one, where it is not there already.
func (s *examiner) configure(ctx context.Context, config egress.Object) error {
	if s.stood.configured && reflect.DeepEqual(s.stood.config, config) {
		return nil
	}
	s.stood.configured = false
	if err := s.istiods.setBase(ctx, config); err != nil {
		return err
	}
	s.stood.config, s.stood.configured = config, true
	return nil
}

// populate starts what is called and who calls.
func (s *examiner) populate(ctx context.Context, st Standing, out *Examined) error {
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

// clear removes all that stands.
func (s *examiner) clear(ctx context.Context) error {
	c := s.stood.standingCase()
	s.stood = nil
	if s.env.dead() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Limits.Probe.Restore)
	defer cancel()
	r := s.rules
	r.mu.Lock()
	objs := r.of(c).applied
	r.mu.Unlock()
	if _, err := r.take(ctx, c, objs, nil); err != nil {
		return fmt.Errorf("what stood could not be removed: %w", err)
	}
	r.taken(c)
	return nil
}

// setGuests is Session.SetGuests.
func (s *examiner) setGuests(ctx context.Context, in cluster.Extensible, guests *internet.Hosts) error {
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

// moved says whether a guest that stays has other addresses than before.
func moved(before, now *internet.Hosts) bool {
	return slices.ContainsFunc(before.Guests().Hosts, func(x internet.Host) bool {
		return slices.ContainsFunc(x.Names(), func(name string) bool {
			y, ok := now.Find(name)
			return ok && y.Guest && !slices.Equal(x.Addresses(), y.Addresses())
		})
	})
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

// setClients is Session.SetClients.
func (s *examiner) setClients(ctx context.Context, clients []egress.Client) error {
	for _, c := range clients {
		if err := c.Check(); err != nil {
			return err
		}
	}
	if err := s.starter.settled(ctx); err != nil {
		return err
	}
	if err := s.starter.replace(ctx, clients); err != nil {
		return err
	}
	s.opts.Clients = clients
	s.rules.places.clients = clients // which all lanes share
	s.istiods.changer.EndpointsChange()
	return nil
}
