package internet

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestAnswer(t *testing.T) {
	s := NewServer(&Hosts{Hosts: []Host{
		{Name: "a.example", Address: at("198.51.100.1", "198.51.100.2")},
		{Name: "b.example", Address: at("198.51.100.3")},
	}}, nil)
	srv := httptest.NewServer(s.ControlHandler())
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := NewTCPClient(u.Host, "", 5*time.Second)
	for _, x := range []struct {
		host  string
		rcode int
		addrs int
		fails bool
	}{
		{host: "a.example", addrs: 2},
		{host: "b.example", addrs: 1},
		{host: "NXDOMAIN", rcode: dns.RcodeNameError},
		{host: "SERVFAIL", rcode: dns.RcodeServerFailure},
		{host: "c.example", fails: true, rcode: dns.RcodeServerFailure}, // the answer stays
		{host: "", rcode: dns.RcodeNameError},
	} {
		if err := c.Answer(t.Context(), "Moving.example", x.host); (err != nil) != x.fails {
			t.Fatalf("%q: %v", x.host, err)
		}
		before, err := c.Asked(t.Context(), "moving.example")
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []uint16{dns.TypeA, dns.TypeAAAA} {
			w := &recorder{}
			s.ServeDNS(w, new(dns.Msg).SetQuestion("moving.EXAMPLE.", q))
			if n := len(w.msg.Answer); w.msg.Rcode != x.rcode || q == dns.TypeA && n != x.addrs || q != dns.TypeA && n != 0 {
				t.Errorf("%q, type %d: %v", x.host, q, w.msg)
			}
			for _, a := range w.msg.Answer {
				if a.Header().Ttl != changingTTL {
					t.Errorf("%q: %v may be kept too long", x.host, a)
				}
			}
		}
		after, err := c.Asked(t.Context(), "moving.example")
		if want := before + 1; err != nil || x.host != "" && after != want || x.host == "" && after != 0 {
			t.Errorf("%q: asked %d times, then %d: %v", x.host, before, after, err)
		}
		if before != 0 && !x.fails {
			t.Errorf("%q: the count does not begin anew: %d", x.host, before)
		}
	}
	if err := c.Answer(t.Context(), "a.example", "b.example"); err == nil {
		t.Error("a host's own name was given away")
	}
}
