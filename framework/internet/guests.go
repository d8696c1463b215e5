package internet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Guests are hosts that an internet has for a while, beside those that stay. A guest may have the name of one that stays: it is
// meant then, until the guests are others. Whoever brings guests sends all former ones away.

// Guests are those of the hosts that are there for a while.
func (h *Hosts) Guests() *Hosts {
	out := &Hosts{DNS: h.DNS}
	for _, x := range h.Hosts {
		if x.Guest {
			out.Hosts = append(out.Hosts, x)
		}
	}
	return out
}

// WithGuests returns the hosts that stay, with others as their guests, whose missing addresses are chosen. Clashes are errors as
// in Add, but for names of hosts that stay.
func (h *Hosts) WithGuests(guests *Hosts) (*Hosts, error) {
	stay := slices.DeleteFunc(slices.Clone(h.Hosts), func(x Host) bool { return x.Guest })
	m := merger{out: &Hosts{DNS: h.DNS, Hosts: slices.Clone(stay), ClientCertificates: h.ClientCertificates}, names: map[string]int{}}
	for _, x := range guests.Hosts {
		x.Guest = true
		m.host(x)
	}
	m.choose(len(stay))
	m.bounds()
	if len(m.errs) > 0 {
		return nil, enough(m.errs)
	}
	// The first of a name is the one that is found.
	out := *m.out
	out.Hosts = slices.Concat(m.out.Hosts[len(stay):], stay)
	return &out, nil
}

// SetGuests makes others the guests of the running server; none sends all away. Those that are alike in all stay as they are.
// Guests that clash with others change nothing; where anything fails after that, there are none.
func (s *Server) SetGuests(ctx context.Context, guests *Hosts) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	have := s.Hosts()
	all, err := have.WithGuests(guests)
	if err != nil {
		return fmt.Errorf("bring guests to the running internet: %w", err)
	}
	var fresh []Host
	for _, x := range all.Guests().Hosts {
		if !slices.ContainsFunc(have.Guests().Hosts, func(y Host) bool { return same(y, x) }) {
			fresh = append(fresh, x)
		}
	}
	for _, x := range have.Guests().Hosts {
		if !slices.ContainsFunc(all.Guests().Hosts, func(y Host) bool { return same(x, y) }) {
			err = errors.Join(err, s.open.closeHost(x.key()))
		}
	}
	err = errors.Join(err, s.disown(have, all))
	if s.Own != nil {
		err = errors.Join(err, s.Own(&Hosts{Hosts: fresh}))
	}
	s.hosts.Store(all) // before they are called: a shared listener asks whose an address is
	if !s.down && err == nil {
		err = s.startHosts(ctx, fresh)
	}
	if err == nil {
		return nil
	}
	for _, x := range all.Guests().Hosts {
		err = errors.Join(err, s.open.closeHost(x.key()))
	}
	if none, e := have.WithGuests(&Hosts{}); e == nil {
		s.hosts.Store(none)
		err = errors.Join(err, s.disown(all, none))
	}
	return fmt.Errorf("bring guests to the running internet: %w", err)
}

// disown takes back what some hosts have of the network and others, which come after them, do not.
func (s *Server) disown(before, after *Hosts) error {
	if s.Disown == nil {
		return nil
	}
	addresses, ranges := after.Addresses(), after.Ranges()
	goneAddresses := slices.DeleteFunc(before.Addresses(), func(a netip.Addr) bool { return slices.Contains(addresses, a) })
	goneRanges := slices.DeleteFunc(before.Ranges(), func(r netip.Prefix) bool { return slices.Contains(ranges, r) })
	if len(goneAddresses)+len(goneRanges) == 0 {
		return nil
	}
	return s.Disown(goneAddresses, goneRanges)
}

// key is the name under which what a host has open is kept. A guest may be called as another host is.
func (h Host) key() string {
	if h.Guest {
		return "guest " + h.Name
	}
	return h.Name
}
