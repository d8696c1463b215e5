package internet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Server runs the hosts on addresses that the caller gives to this network namespace (Hosts.Addresses, Hosts.Ranges).
type Server struct {
	ca    *CA
	log   arrivals
	hosts atomic.Pointer[Hosts] // replaced, never changed
	mine  netip.Addr            // serve only the hosts at this address; zero: all
	// Own, if set, gives further hosts what they need of the network before they are served; it may refuse them.
	Own func(*Hosts) error
	// Disown, if set, takes addresses back that no host has any more: a call of one must go nowhere, and not be refused.
	Disown func([]netip.Addr, []netip.Prefix) error
	// upstream answers for names in cluster.local; "" for none.
	upstream string

	noNames atomic.Bool        // sabotage: DNS refuses every question
	foreign atomic.Pointer[CA] // sabotage: who signs every host's certificate instead

	changing answers

	changes sync.Mutex // one change of the hosts at a time
	down    bool       // sabotage: no host listens
	open    listeners
}

// NewServer prepares a server; nothing listens yet.
func NewServer(h *Hosts, ca *CA) *Server {
	s := &Server{ca: ca}
	s.hosts.Store(h)
	return s
}

// Hosts are those that the server has now. They must not be changed.
func (s *Server) Hosts() *Hosts { return s.hosts.Load() }

// Start listens on every host's address, whether it is on a link yet or not. On error no host is left listening.
func (s *Server) Start(ctx context.Context) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	var err error
	if dns := s.Hosts().DNS; dns.IsValid() && (!s.mine.IsValid() || s.mine == dns) {
		err = s.startDNS(ctx)
	}
	if err == nil {
		err = s.startHosts(ctx, s.Hosts().Hosts)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start the hermetic internet: %w", err), s.open.close())
	}
	return nil
}

// Add adds hosts and client certificates to the running server, by the rules of Hosts.Add. Where it fails, nothing has
// changed.
func (s *Server) Add(ctx context.Context, more *Hosts) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	have := s.Hosts()
	all, err := have.Add(more)
	if err != nil {
		return fmt.Errorf("add hosts to the running internet: %w", err)
	}
	fresh := all.Hosts[len(have.Hosts):]
	for _, n := range fresh {
		for _, name := range n.Names() {
			if s.changing.has(name) {
				return fmt.Errorf("add hosts to the running internet: host %s: a case changes what %s resolves to right now; wait for its end", n.Name, name)
			}
		}
	}
	if s.Own != nil {
		if err := s.Own(&Hosts{Hosts: fresh}); err != nil {
			return fmt.Errorf("add hosts to the running internet: %w", err)
		}
	}
	if !s.down {
		if err := s.startHosts(ctx, fresh); err != nil {
			for _, x := range fresh {
				err = errors.Join(err, s.open.closeHost(x.key()))
			}
			return fmt.Errorf("add hosts to the running internet: %w", err)
		}
	}
	s.hosts.Store(all)
	return nil
}

func (s *Server) startHosts(ctx context.Context, hosts []Host) error {
	for _, h := range hosts {
		if s.mine.IsValid() && !h.In(netip.PrefixFrom(s.mine, s.mine.BitLen())) {
			continue
		}
		if err := s.startHost(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) startHost(ctx context.Context, h Host) error {
	for _, p := range h.Address {
		if h.Ping {
			if err := s.logPings(ctx, h, p); err != nil {
				return fmt.Errorf("host %s, ICMP: %w", h.Name, err)
			}
		}
		for _, svc := range h.Services {
			err := s.startService(ctx, h, svc, p)
			if p.Addr().Is6() && errors.Is(err, syscall.EAFNOSUPPORT) { // nobody here can call it
				continue
			}
			if err != nil {
				return fmt.Errorf("host %s, port %d (%s): %w", h.Name, svc.Port, svc.Kind, err)
			}
		}
	}
	return nil
}

// Break spoils the internet on purpose: "down" kills every host, "dns" lets no name resolve, "ca" shows
// certificates of a CA that nobody trusts; "mend" undoes all of it.
func (s *Server) Break(ctx context.Context, what string) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	switch what {
	case "down":
		s.down = true
		return s.open.close()
	case "dns":
		s.noNames.Store(true)
	case "ca":
		ca, err := NewCA("a CA that nobody trusts")
		if err != nil {
			return err
		}
		s.foreign.Store(ca)
	case "mend":
		s.noNames.Store(false)
		s.foreign.Store(nil)
		if s.down {
			s.down = false
			return s.startHosts(ctx, s.Hosts().Hosts)
		}
	default:
		return fmt.Errorf("nothing to break is called %q", what)
	}
	return nil
}

// Close stops every host. DNS goes on: names still resolve while their hosts are dead.
func (s *Server) Close() error { return s.open.close() }

// startService serves one port at one address or range of a host.
func (s *Server) startService(ctx context.Context, h Host, svc Service, at netip.Prefix) error {
	if svc.Kind == UDPEcho {
		return s.startUDP(ctx, h, svc.Port, at)
	}
	raw, err := s.listen(ctx, h, svc.Port, at)
	if err != nil {
		return err
	}
	ln := &loggedListener{Listener: raw, server: h.Name, log: &s.log}
	cfg := s.tlsConfig(h, svc)
	if kinds[svc.Kind].web {
		return s.startWeb(ln, h, svc, cfg)
	}
	talk, known := talks[svc.Kind]
	switch {
	case svc.Kind == Connect:
		return s.serveHTTP(h.key(), optionalTLS(ln, svc, cfg), s.connectProxy())
	case !known:
		return errors.Join(fmt.Errorf("service kind %q is unknown", svc.Kind), raw.Close())
	case svc.TLS && kinds[svc.Kind].tls == tlsInside:
		s.serveTalk(h, svc, ln, cfg, talk)
	default:
		s.serveTalk(h, svc, optionalTLS(ln, svc, cfg), nil, talk)
	}
	return nil
}
