package internet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

func ask(s *Server, name string, typ uint16) *dns.Msg {
	r := &recorder{}
	s.ServeDNS(r, new(dns.Msg).SetQuestion(name, typ))
	return r.msg
}

func TestDNSOfOwnHosts(t *testing.T) {
	s := NewServer(add(t, ownHosts), nil)
	for _, x := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"orders.rds.example.", dns.TypeA, "10.20.30.40"},
		{"orders.rds.example.", dns.TypeAAAA, "2001:db8:1::5"},
		{"dc.example.", dns.TypeA, "10.20.0.1"},
		{"dc.example.", dns.TypeAAAA, ""},
		{"other.dc.", dns.TypeAAAA, "2001:db8:99::1"},
		{"httpbin.org.", dns.TypeAAAA, ""},
		{"stripe.com.", dns.TypeA, "NXDOMAIN"},
	} {
		m := ask(s, x.name, x.typ)
		var got []string
		if m.Rcode != dns.RcodeSuccess {
			got = append(got, dns.RcodeToString[m.Rcode])
		}
		for _, a := range m.Answer {
			switch a := a.(type) {
			case *dns.A:
				got = append(got, a.A.String())
			case *dns.AAAA:
				got = append(got, a.AAAA.String())
			}
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s, type %d: %v, want %s", x.name, x.typ, got, x.want)
		}
	}
	bucket, _ := s.Hosts().Find("*.s3.eu-west-1.amazonaws.com")
	for _, n := range []string{"a.s3.eu-west-1.amazonaws.com.", "A.b.s3.eu-west-1.amazonaws.com.", "s3.eu-west-1.amazonaws.com."} {
		m := ask(s, n, dns.TypeA)
		if len(m.Answer) != 1 || m.Answer[0].Header().Name != n || m.Answer[0].(*dns.A).A.String() != bucket.Addresses()[0].String() {
			t.Errorf("%s: %v", n, m)
		}
	}
}

// Every address of a range is served, and arrivals say which one it was; what another host owns in it is that one's.
func TestRanges(t *testing.T) {
	b := loopback().As4()
	in := func(n byte) netip.Addr { b[1], b[3] = 80, n; return netip.AddrFrom4(b) }
	wide := netip.PrefixFrom(in(0), 24)
	s, ca := serve(t, &Hosts{Hosts: []Host{
		{Name: "dc.example", Address: Addresses{wide}, Services: []Service{{Kind: HTTP}, {Kind: UDPEcho}, {Kind: Redis, TLS: true}}},
		{Name: "one.example", Address: Addresses{netip.PrefixFrom(in(9), 32)}, Services: []Service{{Kind: Banner}}},
		{Name: "six.example", Address: at("::/127"), Services: []Service{{Kind: Banner}}},
	}})
	dc, _ := s.Hosts().Find("dc.example")
	web, udp, secure := dc.Services[0].Port, dc.Services[1].Port, dc.Services[2].Port
	for _, n := range []byte{1, 200} {
		addr := netip.AddrPortFrom(in(n), web).String()
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + addr + "/headers")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if a := last(t, s, "dc.example"); a.Local != addr || a.Kind != "http" {
			t.Errorf("arrival %+v, wanted at %s", a, addr)
		}
		c, err := net.Dial("udp", netip.AddrPortFrom(in(n), udp).String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "ping")
		buf := make([]byte, 4)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "ping" { // a connected socket takes answers from there alone
			t.Errorf("%q %v", buf, err)
		}
		if a := last(t, s, "dc.example"); a.Local != c.RemoteAddr().String() || a.Peer != c.LocalAddr().String() {
			t.Errorf("arrival %+v", a)
		}
		c.Close()
		cfg := clientConfig(ca, in(n).String())
		if got := converse(t, netip.AddrPortFrom(in(n), secure).String(), cfg, "PING\r\n", 7); got != "+PONG\r\n" {
			t.Errorf("%q", got)
		}
	}
	before := len(s.log.since(0).Arrivals)
	c, err := net.Dial("tcp", netip.AddrPortFrom(in(9), web).String()) // of another host, which serves nothing there
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that the narrower host does not serve: %v", err)
	}
	if n := len(s.log.since(0).Arrivals); n != before {
		t.Errorf("%d arrivals more", n-before)
	}
	six, _ := s.Hosts().Find("six.example")
	c, err = net.Dial("tcp", netip.AddrPortFrom(netip.IPv6Loopback(), six.Services[0].Port).String())
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	defer c.Close()
	if got := make([]byte, len(banner)); true {
		if _, err := io.ReadFull(c, got); err != nil || string(got) != banner {
			t.Errorf("%q %v", got, err)
		}
	}
	if a := last(t, s, "six.example"); a.Local != c.RemoteAddr().String() {
		t.Errorf("arrival %+v", a)
	}
}

// listening says that somebody listens at an address, be it on a link or not.
func listening(t *testing.T, addr string) bool {
	t.Helper()
	var lc net.ListenConfig
	lc.Control = freeBindAlone
	ln, err := lc.Listen(t.Context(), "tcp", addr)
	if err == nil {
		ln.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

func TestAddToRunning(t *testing.T) {
	base := &Hosts{Hosts: []Host{{Name: "base.example", Services: []Service{{Kind: HTTP}}}}}
	s, _ := serve(t, base)
	ctl := httptest.NewServer(s.ControlHandler())
	defer ctl.Close()
	u, err := url.Parse(ctl.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := NewTCPClient(u.Host, "", 5*time.Second)
	addr := netip.AddrPortFrom(loopback(), base.Hosts[0].Services[0].Port).String()
	var wg sync.WaitGroup
	for i := range 8 { // while it is used
		wg.Go(func() {
			name := fmt.Sprintf("h%d.example", i)
			more := &Hosts{
				Hosts:              []Host{{Name: name, Address: at(fmt.Sprintf("10.77.0.%d", i+1)), Services: []Service{{Port: 5432, Kind: Postgres}}}, {Name: "*." + name}},
				ClientCertificates: []ClientCertificate{{Name: "c." + name, CA: "partner"}},
			}
			for range 2 { // the second time nothing changes
				if err := c.Add(t.Context(), more); err != nil {
					t.Error(err)
				}
			}
			if m := ask(s, "x."+name+".", dns.TypeA); len(m.Answer) != 1 {
				t.Errorf("%v", m)
			}
		})
		wg.Go(func() {
			resp, err := http.Get("http://" + addr + "/")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if _, _, err := c.Arrivals(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h, err := c.Hosts(t.Context())
	if err != nil || len(h.Hosts) != 17 {
		t.Fatalf("%d hosts, %v", len(h.Hosts), err)
	}
	if !listening(t, "10.77.0.3:5432") || listening(t, "10.77.0.3:5433") {
		t.Error("a host that was added does not listen")
	}
	secrets, err := c.Secrets(t.Context())
	if err != nil || secrets["${CLIENT_KEY:c.h3.example}"] == "" || secrets["${CA:partner}"] == "" {
		t.Errorf("%v", err)
	}
	for _, x := range []struct {
		more *Hosts
		want string
	}{
		{&Hosts{Hosts: []Host{{Name: "new.example"}, {Name: "h1.example"}}}, "the name h1.example is that of another host already"},
		{&Hosts{Hosts: []Host{{Name: "new.example", Address: at("10.77.0.1")}}}, "10.77.0.1 belongs to h0.example already"},
		{&Hosts{Hosts: []Host{{Name: "new.example", Address: at("127.0.0.1")}}}, "is loopback"},
	} {
		if err := c.Add(t.Context(), x.more); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %q", err, x.want)
		}
	}
	if _, ok := s.Hosts().Find("new.example"); ok {
		t.Error("a host of a refused list is there")
	}
	// What is added while the internet is down listens when it is mended.
	if err := c.Break(t.Context(), "down"); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(t.Context(), &Hosts{Hosts: []Host{{Name: "late.example", Address: at("10.77.1.1"), Services: []Service{{Port: 5432, Kind: Postgres}}}}}); err != nil {
		t.Fatal(err)
	}
	if listening(t, "10.77.1.1:5432") || listening(t, "10.77.0.3:5432") {
		t.Error("the internet is down and listens")
	}
	if err := c.Break(t.Context(), "mend"); err != nil {
		t.Fatal(err)
	}
	if !listening(t, "10.77.1.1:5432") || !listening(t, "10.77.0.3:5432") {
		t.Error("the internet is mended and does not listen")
	}
	if err := c.Answer(t.Context(), "moving.example", "h1.example"); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(t.Context(), &Hosts{Hosts: []Host{{Name: "moving.example"}}}); err == nil {
		t.Error("a name whose answer a case has changed became a host's")
	}
}

// freeBindAlone does not let others listen at the same address.
func freeBindAlone(_, _ string, c syscall.RawConn) error {
	var err error
	if ctl := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) }); ctl != nil {
		return ctl
	}
	return err
}
