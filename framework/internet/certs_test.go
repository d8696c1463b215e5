package internet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

var lastPort atomic.Uint32

// loopback is an address of this test process's own, from which serve takes ports.
func loopback() netip.Addr {
	return netip.AddrFrom4([4]byte{127, 79, byte(os.Getpid() >> 8), byte(os.Getpid())})
}

// serve runs hosts at loopback addresses, which no file may name; hosts without one have loopback(). Ports of services
// that have none are chosen.
func serve(t *testing.T, h *Hosts) (*Server, *CA) {
	t.Helper()
	for i := range h.Hosts {
		x := &h.Hosts[i]
		if len(x.Address) == 0 {
			x.Address = Addresses{netip.PrefixFrom(loopback(), 32)}
		}
		for j := range x.Services {
			if x.Services[j].Port == 0 {
				x.Services[j].Port = uint16(20000 + lastPort.Add(1))
			}
		}
	}
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, ca)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, ca
}

// pool trusts the CA of a name.
func pool(t *testing.T, ca *CA, name string) *x509.CertPool {
	t.Helper()
	x, err := ca.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return x.Pool()
}

func TestCertificates(t *testing.T) {
	s, ca := serve(t, &Hosts{Hosts: []Host{
		{Name: "good.example", Services: []Service{{Kind: HTTPS}}},
		{Name: "*.s3.example", Services: []Service{{Kind: HTTPS}}},
		{Name: "expired.example", Certificate: Expired, Services: []Service{{Kind: HTTPS}}},
		{Name: "self.example", Certificate: SelfSigned, Services: []Service{{Kind: HTTPS}}},
		{Name: "wrong.example", Certificate: WrongName, Services: []Service{{Kind: HTTPS}}},
		{Name: "other.example", Certificate: OtherCA, Services: []Service{{Kind: HTTPS}}},
		{Name: "partner.example", CA: "partner", Services: []Service{{Kind: HTTPS}}},
	}})
	const unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
	for _, x := range []struct{ host, name, trusts, fails string }{
		{host: "good.example", name: "good.example"},
		{host: "good.example", name: loopback().String()},
		{host: "good.example", name: "evil.example", fails: "tls: failed to verify certificate: x509: certificate is valid for good.example, not evil.example"},
		{host: "*.s3.example", name: "a.s3.example"},
		{host: "*.s3.example", name: "a.b.s3.example"},
		{host: "*.s3.example", name: "evil.example", fails: "x509: certificate is valid for *.s3.example, not evil.example"},
		{host: "expired.example", name: "expired.example", fails: "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time "},
		{host: "self.example", name: "self.example", fails: unknown},
		{host: "wrong.example", name: "wrong.example", fails: "tls: failed to verify certificate: x509: certificate is valid for wrong-name.example, not wrong.example"},
		{host: "other.example", name: "other.example", fails: unknown},
		{host: "other.example", name: "other.example", trusts: "partner", fails: unknown},
		{host: "partner.example", name: "partner.example", fails: unknown},
		{host: "partner.example", name: "partner.example", trusts: "partner"},
		{host: "good.example", name: "good.example", trusts: "partner", fails: unknown},
	} {
		h, _ := s.Hosts().Find(x.host)
		c, err := tls.Dial("tcp", netip.AddrPortFrom(loopback(), h.Services[0].Port).String(), &tls.Config{RootCAs: pool(t, ca, x.trusts), ServerName: x.name})
		if err == nil {
			c.Close()
		}
		if x.fails == "" && err != nil || x.fails != "" && (err == nil || !strings.Contains(err.Error(), x.fails)) {
			t.Errorf("%s called %s, trusting %q: %v, want %q", x.host, x.name, x.trusts, err, x.fails)
		}
	}
}

// Parts of an internet in several processes have the CA alone in common.
func TestNamedAuthorities(t *testing.T) {
	one, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	two := &CA{CertPEM: one.CertPEM, KeyPEM: one.KeyPEM}
	a, err := one.Named("partner")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Leaf(Sound, "x.example")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, trusted := range map[string]bool{"partner": true, "": false, "partner2": false} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(t, two, name), DNSName: "x.example"}); (err == nil) != trusted {
			t.Errorf("authority %q of the other process: %v", name, err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	s, ca := serve(t, &Hosts{
		Hosts: []Host{
			{Name: "own.example", Services: []Service{{Kind: MTLS}}},
			{Name: "partner.example", ClientCA: "partner", Services: []Service{{Kind: MTLS}}},
			{Name: "db.example", ClientCA: "partner", Services: []Service{{Kind: Echo, TLS: true}}},
		},
		ClientCertificates: []ClientCertificate{
			{Name: "team-a.example"},
			{Name: "team-b.example", CA: "partner"},
			{Name: "late.example", CA: "partner", Certificate: Expired},
			{Name: "lone.example", CA: "partner", Certificate: SelfSigned},
			{Name: "stray.example", CA: "partner", Certificate: OtherCA},
		},
	})
	secrets, err := ca.Secrets(s.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		host, cert string
		accepted   bool
	}{
		{"own.example", "", false},
		{"own.example", "${CLIENT_CERT}", true},
		{"own.example", "${CLIENT_CERT:team-a.example}", true},
		{"own.example", "${CLIENT_CERT:team-b.example}", false},
		{"partner.example", "${CLIENT_CERT}", false},
		{"partner.example", "${CLIENT_CERT:team-b.example}", true},
		{"partner.example", "${CLIENT_CERT:late.example}", false},
		{"partner.example", "${CLIENT_CERT:lone.example}", false},
		{"partner.example", "${CLIENT_CERT:stray.example}", false},
		{"db.example", "${CLIENT_CERT:team-b.example}", true},
		{"db.example", "", false},
	} {
		cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: x.host}
		if x.cert != "" {
			pair, err := tls.X509KeyPair([]byte(secrets[x.cert]), []byte(secrets[strings.Replace(x.cert, "CERT", "KEY", 1)]))
			if err != nil {
				t.Fatal(err)
			}
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		h, _ := s.Hosts().Find(x.host)
		err := useTLS(netip.AddrPortFrom(loopback(), h.Services[0].Port).String(), cfg, h.Services[0].Kind)
		if (err == nil) != x.accepted {
			t.Errorf("%s shown %q: %v", x.host, x.cert, err)
		}
		if name := strings.TrimSuffix(strings.TrimPrefix(x.cert, "${CLIENT_CERT:"), "}"); x.accepted && x.cert != "${CLIENT_CERT}" {
			if a := last(t, s, x.host); a.ClientCert != name || !a.TLS || a.SNI != x.host {
				t.Errorf("%s shown %q: arrival %+v", x.host, x.cert, a)
			}
		}
	}
}

// TLS within TLS, as a proxy makes it of a call that is TLS already, stands in the log; what is no TLS within, or no TLS at all, does not.
func TestDoubleTLS(t *testing.T) {
	s, ca := serve(t, &Hosts{Hosts: []Host{
		{Name: "web.example", Services: []Service{{Kind: HTTPS, HTTP2: true}}},
		{Name: "old.example", Services: []Service{{Kind: HTTPS}}},
		{Name: "either.example", Services: []Service{{Kind: Either}}},
		{Name: "echo.example", Services: []Service{{Kind: Echo, TLS: true}}},
		{Name: "banner.example", Services: []Service{{Kind: Banner, TLS: true}}},
	}})
	for _, name := range []string{"web.example", "old.example", "either.example", "echo.example", "banner.example"} {
		h, _ := s.Hosts().Find(name)
		addr := netip.AddrPortFrom(loopback(), h.Services[0].Port).String()
		cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: name}
		outer, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			t.Fatal(name, err)
		}
		inner := tls.Client(outer, cfg)
		if err := inner.Handshake(); err == nil {
			t.Errorf("%s understands TLS within TLS", name)
		}
		if name == "banner.example" { // it spoke first: what the client says may be on its way still
			_ = outer.CloseWrite()
			_, _ = io.Copy(io.Discard, outer)
		}
		outer.Close()
		if a := last(t, s, name); !a.DoubleTLS || !a.TLS || a.Kind != "tls" {
			t.Errorf("%s, TLS within TLS: %+v", name, a)
		}
		if name == "banner.example" {
			continue
		}
		if err := useTLS(addr, cfg, h.Services[0].Kind); err != nil {
			t.Error(name, err)
		}
		if a := last(t, s, name); a.DoubleTLS || !a.TLS || a.SNI != name {
			t.Errorf("%s, TLS: %+v", name, a)
		}
	}
}

// Who speaks HTTP to a port of HTTPS is told so, as servers do.
func TestPlainToHTTPS(t *testing.T) {
	s, _ := serve(t, &Hosts{Hosts: []Host{{Name: "web.example", Services: []Service{{Kind: HTTPS}}}}})
	h, _ := s.Hosts().Find("web.example")
	c, err := net.Dial("tcp", netip.AddrPortFrom(loopback(), h.Services[0].Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); string(b) != plainToTLS {
		t.Errorf("%q", b)
	}
	if a := last(t, s, "web.example"); a.TLS || a.DoubleTLS {
		t.Errorf("%+v", a)
	}
}

// useTLS makes one exchange: a server of TLS 1.3 refuses a certificate only after the client's handshake.
func useTLS(addr string, cfg *tls.Config, k Kind) error {
	if k == Echo {
		c, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "x"); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	resp, err := c.Get("https://" + cfg.ServerName + "/")
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// What Certifies says is what a client finds that verifies.
func TestCertifies(t *testing.T) {
	for _, x := range []struct {
		host Host
		name string
		want bool
	}{
		{Host{Name: "good.example"}, "good.example", true},
		{Host{Name: "good.example"}, "GOOD.example", true},
		{Host{Name: "good.example"}, "evil.example", false},
		{Host{Name: "good.example", Aliases: []string{"b.example"}}, "b.example", true},
		{Host{Name: "good.example", CertificateNames: []string{"*.shop.example"}}, "a.shop.example", true},
		{Host{Name: "good.example", CertificateNames: []string{"*.shop.example"}}, "a.b.shop.example", false},
		{Host{Name: "good.example", CertificateNames: []string{"*.shop.example"}}, "shop.example", false},
		{Host{Name: "*.s3.example"}, "a.b.s3.example", true},
		{Host{Name: "*.s3.example"}, "s3.example", false},
		{Host{Name: "range.example", Address: Addresses{netip.MustParsePrefix("10.20.0.0/16")}}, "other.example", false},
	} {
		if got := x.host.Certifies(x.name); got != x.want {
			t.Errorf("%s for %s: %v", x.host.Name, x.name, got)
		}
		ca, err := NewCA("test")
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := ca.Leaf(Sound, certified(x.host, x.name, nil)...)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.VerifyHostname(x.name); (err == nil) != x.want {
			t.Errorf("%s called %s: %v", x.host.Name, x.name, err)
		}
	}
}
