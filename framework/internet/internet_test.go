package internet

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe/wire"
)

// start runs the internet on loopback addresses with unprivileged ports.
func start(t *testing.T) (*Server, *Hosts, *CA) {
	t.Helper()
	// An address of this process's own: on 127.0.0.1 somebody else may take a port between its choice
	// and its use.
	lo := netip.AddrFrom4([4]byte{127, 77, byte(os.Getpid() >> 8), byte(os.Getpid())})
	port := func(network string) uint16 {
		if network == "udp" {
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(lo, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			return uint16(c.LocalAddr().(*net.UDPAddr).Port)
		}
		l, err := net.Listen("tcp", netip.AddrPortFrom(lo, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return uint16(l.Addr().(*net.TCPAddr).Port)
	}
	taken := map[uint16]bool{}
	tcp := func(k Kind, h2 bool) []Service {
		p := port("tcp")
		for taken[p] {
			p = port("tcp")
		}
		taken[p] = true
		return []Service{{Port: p, Kind: k, HTTP2: h2}}
	}
	h := &Hosts{DNS: lo, Hosts: []Host{
		{Name: "httpbin.org", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(HTTP, false)},
		{Name: "www.wikipedia.org", Aliases: []string{"en.wikipedia.org"}, Address: Addresses{netip.PrefixFrom(lo, 32)}, Site: "wikipedia", Services: tcp(HTTPS, true)},
		{Name: "redirect.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(Redirect, false)},
		{Name: "mtls.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(MTLS, false)},
		{Name: "banner.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(Banner, false)},
		{Name: "echo.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(Echo, false)},
		{Name: "udp.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: []Service{{Port: port("udp"), Kind: UDPEcho}}},
		{Name: "proxy.example", Address: Addresses{netip.PrefixFrom(lo, 32)}, Services: tcp(Connect, false)},
		{Name: "dead.example", Address: at("203.0.113.99"), Dead: true},
	}}
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, ca)
	if err := s.startHosts(t.Context(), h.Hosts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, h, ca
}

func addrOf(t *testing.T, h *Hosts, name string) string {
	t.Helper()
	x, ok := h.Find(name)
	if !ok {
		t.Fatalf("no host %s", name)
	}
	return netip.AddrPortFrom(x.Addresses()[0], x.Services[0].Port).String()
}

// last is the newest entry of a host in the arrival log.
func last(t *testing.T, s *Server, server string) egress.Arrival {
	t.Helper()
	all := s.log.since(0).Arrivals
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Server == server {
			return all[i]
		}
	}
	t.Fatalf("nothing arrived at %s: %+v", server, all)
	return egress.Arrival{}
}

func TestHTTP(t *testing.T) {
	s, h, _ := start(t)
	addr := addrOf(t, h, "httpbin.org")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/headers", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(wire.ProbeHeader, "p-1")
	c := &http.Client{Transport: &http.Transport{}}
	for range 2 { // the second request of a connection has an entry of its own
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
	}
	a := last(t, s, "httpbin.org")
	if a.Kind != "http" || a.Path != "/headers" || a.ProbeID != "p-1" || a.Local != addr || a.Peer == "" {
		t.Errorf("%+v", a)
	}
	if n := len(s.log.since(0).Arrivals); n != 2 {
		t.Errorf("%d entries for two requests", n)
	}
}

func TestTLS(t *testing.T) {
	s, h, ca := start(t)
	addr := addrOf(t, h, "en.wikipedia.org")
	get := func(cfg *tls.Config) (*http.Response, error) {
		c := &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: cfg,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			},
		}}
		return c.Get("https://en.wikipedia.org/wiki/Main_Page")
	}
	resp, err := get(&tls.Config{RootCAs: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(body), "articlecount") || resp.ProtoMajor != 2 {
		t.Errorf("%s %s", resp.Proto, body)
	}
	if a := last(t, s, "www.wikipedia.org"); !a.TLS || a.SNI != "en.wikipedia.org" || a.ALPN != "h2" {
		t.Errorf("%+v", a)
	}
	// A client that does not trust the CA is seen all the same.
	if _, err := get(&tls.Config{}); err == nil {
		t.Fatal("an unknown CA is trusted")
	}
	if a := last(t, s, "www.wikipedia.org"); a.Kind != "tls" || a.SNI != "en.wikipedia.org" {
		t.Errorf("%+v", a)
	}
}

func TestMTLS(t *testing.T) {
	s, h, ca := start(t)
	secrets, err := ca.Secrets(h)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := tls.X509KeyPair([]byte(secrets["${CLIENT_CERT}"]), []byte(secrets["${CLIENT_KEY}"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, certs := range [][]tls.Certificate{nil, {leaf}} {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "mtls.example", Certificates: certs}}}
		resp, err := c.Get("https://" + addrOf(t, h, "mtls.example") + "/")
		if (err == nil) != (certs != nil) {
			t.Errorf("with %d certificates: %v", len(certs), err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if a := last(t, s, "mtls.example"); a.ClientCert != "client.example" {
		t.Errorf("%+v", a)
	}
}

func TestRawHosts(t *testing.T) {
	s, h, _ := start(t)
	c, err := net.Dial("tcp", addrOf(t, h, "banner.example"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != banner {
		t.Errorf("%q %v", got, err)
	}
	for _, x := range []struct{ network, host string }{{"tcp", "echo.example"}, {"udp", "udp.example"}} {
		c, err := net.Dial(x.network, addrOf(t, h, x.host))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "ping")
		buf := make([]byte, 4)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "ping" {
			t.Errorf("%s: %q %v", x.host, buf, err)
		}
		if a := last(t, s, x.host); a.Kind != x.network || a.Peer != c.LocalAddr().String() {
			t.Errorf("%+v", a)
		}
	}
}

func TestRedirectAndProxy(t *testing.T) {
	_, h, _ := start(t)
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get("http://" + addrOf(t, h, "redirect.example") + "/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Location"); got != "https://"+h.DNS.String()+"/a?b=c" {
		t.Error(got)
	}
	proxy, err := net.Dial("tcp", addrOf(t, h, "proxy.example"))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	fmt.Fprintf(proxy, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", addrOf(t, h, "banner.example"))
	r := bufio.NewReader(proxy)
	for _, want := range []string{"HTTP/1.1 200", "", "220 "} {
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%q %v, want %q", line, err, want)
		}
	}
}

// at makes addresses and ranges of texts.
func at(texts ...string) Addresses {
	var out Addresses
	for _, t := range texts {
		p, err := parseRange(t)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

// recorder catches a DNS answer.
type recorder struct {
	dns.ResponseWriter
	msg *dns.Msg
}

func (r *recorder) WriteMsg(m *dns.Msg) error { r.msg = m; return nil }

func TestDNS(t *testing.T) {
	h, err := DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, nil)
	for name, want := range map[string]string{
		"httpbin.org.": "198.51.100.10", "EN.Wikipedia.org.": "91.198.174.192", "de.wikipedia.org.": "208.80.154.224",
		"app.10.96.1.2.nip.io.": "10.96.1.2", "dead.example.": "203.0.113.99",
		"unknown.example.": "NXDOMAIN", "nip.io.": "NXDOMAIN", "x.nip.io.": "NXDOMAIN", "a.999.1.1.1.nip.io.": "NXDOMAIN",
	} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		r := &recorder{}
		s.ServeDNS(r, q)
		got := dns.RcodeToString[r.msg.Rcode]
		if len(r.msg.Answer) == 1 {
			got = r.msg.Answer[0].(*dns.A).A.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	q := new(dns.Msg)
	q.SetQuestion("httpbin.org.", dns.TypeAAAA)
	r := &recorder{}
	s.ServeDNS(r, q)
	if r.msg.Rcode != dns.RcodeSuccess || len(r.msg.Answer) != 0 {
		t.Error("a known name without an address of the kind must exist and be empty")
	}
	s.ServeDNS(r, new(dns.Msg))
	if r.msg.Rcode != dns.RcodeFormatError {
		t.Error("a query without question")
	}
}

func TestControl(t *testing.T) {
	s, h, _ := start(t)
	ctl := httptest.NewServer(s.ControlHandler())
	defer ctl.Close()
	u, err := url.Parse(ctl.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{base: "http://internet", http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	}}}}
	_, next, err := c.Arrivals(t.Context(), 0)
	if err != nil || next != 1 {
		t.Fatal(next, err)
	}
	resp, err := http.Get("http://" + addrOf(t, h, "httpbin.org") + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got, _, err := c.Arrivals(t.Context(), next)
	if err != nil || len(got) != 1 || got[0].Server != "httpbin.org" {
		t.Errorf("%+v %v", got, err)
	}
	if err := c.Break(t.Context(), "down"); err != nil {
		t.Fatal(err)
	}
	if _, err := net.DialTimeout("tcp", addrOf(t, h, "httpbin.org"), time.Second); err == nil {
		t.Error("a host still listens")
	}
	if resp, err := http.Get(ctl.URL + "/arrivals?since=x"); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Error(resp, err)
	}
}

func TestLogLosesNothingSilently(t *testing.T) {
	l := &arrivals{}
	for range maxArrivals + 10 {
		l.add(egress.Arrival{})
	}
	p := l.since(0)
	if p.First == 1 || p.Next != maxArrivals+11 || int64(len(p.Arrivals)) != p.Next-p.First || p.Arrivals[0].Seq != p.First {
		t.Errorf("first %d, next %d, %d entries", p.First, p.Next, len(p.Arrivals))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(page{First: 10, Next: 20}) }))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	c := &Client{base: "http://internet", http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	}}}}
	if _, _, err := c.Arrivals(t.Context(), 5); err == nil {
		t.Error("a gap in the log goes unnoticed")
	}
}

// Every host of the built-in internet must be reachable by an address of its own, inside the
// documentation ranges or Wikipedia's published ones: nothing else may ever be a target.
func TestDefaultHosts(t *testing.T) {
	h, err := DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]string{}
	for _, x := range h.Hosts {
		for _, a := range x.Addresses() {
			if other := seen[a]; other != "" {
				t.Errorf("%s and %s share %s", x.Name, other, a)
			}
			seen[a] = x.Name
			ok := false
			for _, p := range []string{"198.51.100.0/24", "203.0.113.0/24", "91.198.174.192/27", "103.102.166.224/27", "198.35.26.96/27", "208.80.153.224/27", "208.80.154.224/27", "2001:db8::/32"} {
				ok = ok || netip.MustParsePrefix(p).Contains(a)
			}
			if !ok {
				t.Errorf("%s has the address %s outside the known ranges", x.Name, a)
			}
		}
	}
}
