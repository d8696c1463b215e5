package internet

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// startDNS serves the internet's names, authoritatively: a name that is not known does not exist.
// Names under nip.io carry their address in themselves, as the real service has it.
func (s *Server) startDNS(ctx context.Context) error {
	addr := net.JoinHostPort(s.Hosts().DNS.String(), "53")
	lc := listenConfig()
	pc, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return err
	}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: ln, Handler: s}} {
		go func() { _ = srv.ActivateAndServe() }() // ends with the process
	}
	return nil
}

const ttl = 5

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(m) // the asker is gone if this fails
		return
	}
	if n := strings.ToLower(q.Question[0].Name); s.upstream != "" && (strings.HasSuffix(n, ".cluster.local.") || strings.HasSuffix(n, ".arpa.")) {
		s.forward(w, q)
		return
	}
	if s.noNames.Load() {
		m.Rcode = dns.RcodeNameError
		_ = w.WriteMsg(m) // the asker is gone if this fails
		return
	}
	question := q.Question[0]
	name := strings.TrimSuffix(strings.ToLower(question.Name), ".")
	if s.changing.reply(m, question, name) {
		_ = w.WriteMsg(m) // the asker is gone if this fails
		return
	}
	addrs, known := s.lookup(name)
	switch {
	case !known:
		m.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeA, question.Qtype == dns.TypeAAAA:
		m.Answer = addresses(question, addrs, ttl)
	case question.Qtype == dns.TypeTXT:
		m.Answer = append(m.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl},
			Txt: []string{"mesh-egress-conformance"},
		})
	}
	_ = w.WriteMsg(m) // the asker is gone if this fails
}

func (s *Server) lookup(name string) ([]netip.Addr, bool) {
	if h, ok := s.Hosts().Find(name); ok {
		return h.Addresses(), true
	}
	if rest, ok := strings.CutSuffix(name, ".nip.io"); ok {
		labels := strings.Split(rest, ".")
		if len(labels) >= 4 {
			a, err := netip.ParseAddr(strings.Join(labels[len(labels)-4:], "."))
			return []netip.Addr{a}, err == nil
		}
	}
	return nil, false
}

// forward asks the cluster's own DNS.
func (s *Server) forward(w dns.ResponseWriter, q *dns.Msg) {
	c := &dns.Client{Net: w.LocalAddr().Network(), Timeout: 4 * time.Second}
	a, _, err := c.Exchange(q, s.upstream)
	if err != nil {
		a = new(dns.Msg)
		a.SetRcode(q, dns.RcodeServerFailure)
	}
	_ = w.WriteMsg(a) // the asker is gone if this fails
}
