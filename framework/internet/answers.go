package internet

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// answers are names of which the DNS server gives other answers from one moment to the next.
type answers struct {
	mu sync.Mutex
	of map[string]*answer
}

type answer struct {
	addrs []netip.Addr
	rcode int
	asked int // since it is the answer
}

// changingTTL is how long the answers may be kept, in seconds: the shortest time but none.
const changingTTL = 1

// Answer makes a name resolve to the addresses of a host from now on, or fail with the code NXDOMAIN or
// SERVFAIL; "" forgets the name. It fails for a name that a host has, because others count on it.
func (s *Server) Answer(name, host string) error {
	name = strings.ToLower(name)
	if _, taken := s.Hosts().Find(name); taken {
		return fmt.Errorf("%s is the name of a host; take one that is none's", name)
	}
	a := &answer{}
	if code, ok := dns.StringToRcode[host]; ok && code != dns.RcodeSuccess {
		a.rcode = code
	} else if host != "" {
		h, ok := s.Hosts().Find(host)
		if !ok {
			return fmt.Errorf("no host is called %q", host)
		}
		a.addrs = h.Addresses()
	}
	s.changing.mu.Lock()
	defer s.changing.mu.Unlock()
	if host == "" {
		delete(s.changing.of, name)
		return nil
	}
	if s.changing.of == nil {
		s.changing.of = map[string]*answer{}
	}
	s.changing.of[name] = a
	return nil
}

// Asked is how often a name's address was asked for since its answer is what it is.
func (s *Server) Asked(name string) int {
	s.changing.mu.Lock()
	defer s.changing.mu.Unlock()
	if a := s.changing.of[strings.ToLower(name)]; a != nil {
		return a.asked
	}
	return 0
}

// reply completes the reply to a question about a changing name; false if the name is another one.
func (x *answers) reply(m *dns.Msg, q dns.Question, name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.of[name]
	if a == nil {
		return false
	}
	m.Rcode = a.rcode
	if q.Qtype == dns.TypeA {
		a.asked++
	}
	m.Answer = addresses(q, a.addrs, changingTTL)
	return true
}

// has says that a name's answer has been changed.
func (x *answers) has(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.of[name] != nil
}

// addresses are the records of a name that a question asks for.
func addresses(q dns.Question, addrs []netip.Addr, ttl uint32) []dns.RR {
	var out []dns.RR
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	for _, addr := range addrs {
		switch {
		case q.Qtype == dns.TypeA && addr.Is4():
			out = append(out, &dns.A{Hdr: header, A: addr.AsSlice()})
		case q.Qtype == dns.TypeAAAA && addr.Is6():
			out = append(out, &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()})
		}
	}
	return out
}
