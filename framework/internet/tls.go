package internet

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// optionalTLS speaks TLS from the first byte on where the service says so.
func optionalTLS(ln net.Listener, svc Service, cfg *tls.Config) net.Listener {
	if svc.TLS {
		return overTLS(ln, cfg, svc.Kind == Connect)
	}
	return ln
}

// overTLS is a listener of TLS connections. Their entries in the log say where a client speaks TLS once more within the TLS, as it
// does when its proxy originates TLS for a call that is TLS already: the server cannot understand it, and no other witness can tell it
// from a handshake that failed. A client that speaks HTTP instead of TLS is told so by web servers.
func overTLS(ln net.Listener, cfg *tls.Config, web bool) net.Listener {
	return tlsListener{ln, cfg, web}
}

type tlsListener struct {
	net.Listener
	cfg *tls.Config
	web bool
}

// Accept waits for a connection and not for its handshake, which comes with what is read first.
func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tlsConn{Conn: c, tls: tls.Server(c, l.cfg), web: l.web}, nil
}

// tlsConn looks at the first bytes within a TLS connection. It is read by one goroutine at a time. It does not say what TLS has come to,
// as tls.Conn does: net/http would ask before the handshake, and would not look for HTTP/2.
type tlsConn struct {
	net.Conn    // the one below
	tls         *tls.Conn
	web, looked bool
}

// NetConn is the connection below.
func (c *tlsConn) NetConn() net.Conn { return c.Conn }

func (c *tlsConn) Write(b []byte) (int, error) { return c.tls.Write(b) }

// CloseWrite ends what is said, so that the other side reads all of it.
func (c *tlsConn) CloseWrite() error { return c.tls.CloseWrite() }

func (c *tlsConn) Close() error { return c.tls.Close() }

func (c *tlsConn) Read(b []byte) (int, error) {
	n, err := c.tls.Read(b)
	if c.looked {
		return n, err
	}
	var plain tls.RecordHeaderError
	switch {
	case n > 0:
		c.looked = true
		if log := loggedOf(c); log != nil && bytes.HasPrefix(b[:n], clientHello) {
			log.amend(func(a *egress.Arrival) { a.DoubleTLS = true })
		}
	case c.web && errors.As(err, &plain) && plain.Conn != nil && slices.Contains(requests, string(plain.RecordHeader[:])):
		c.looked = true
		_, _ = plain.Conn.Write([]byte(plainToTLS)) // the client is gone if this fails
	}
	return n, err
}

// clientHello is how a client begins TLS: a record of a handshake, and the version of every record since TLS 1.0.
var clientHello = []byte{tlsHandshake, 3}

// requests are the beginnings of HTTP requests, as long as the header of a TLS record.
var requests = []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"}

// plainToTLS is what net/http answers to a request without TLS where it makes TLS itself.
const plainToTLS = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

// tlsConfig serves the host's own certificate whatever name the client asks for, as a real server does: a client that
// was led to the wrong host must notice. Only a name below the host's own wildcard, and an address in its own
// range, come into the certificate by being asked for.
func (s *Server) tlsConfig(h Host, svc Service) *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case kinds[svc.Kind].web && svc.HTTP2:
		base.NextProtos = []string{"h2", "http/1.1"}
	case kinds[svc.Kind].web || svc.Kind == Connect:
		base.NextProtos = []string{"http/1.1"}
	case svc.Kind == Postgres:
		base.NextProtos = []string{"postgresql"} // a client of version 17 that begins with TLS insists on it
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := loggedOf(hello.Conn)
		if c != nil {
			c.amend(func(a *egress.Arrival) { a.TLS, a.Kind, a.SNI = true, "tls", hello.ServerName })
		}
		cfg := base.Clone()
		if err := s.certify(cfg, h, svc, hello); err != nil {
			return nil, err
		}
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if c == nil {
				return nil
			}
			c.amend(func(a *egress.Arrival) {
				a.ALPN = state.NegotiatedProtocol
				if len(state.PeerCertificates) > 0 {
					a.ClientCert = state.PeerCertificates[0].Subject.CommonName
				}
			})
			return nil
		}
		return cfg, nil
	}}
}

// certify gives the configuration the host's certificate, and the authority of its clients where it asks for them.
func (s *Server) certify(cfg *tls.Config, h Host, svc Service, hello *tls.ClientHelloInfo) error {
	by, err := s.ca.Named(h.CA)
	flaw := h.Certificate
	if x := s.foreign.Load(); x != nil {
		by, flaw, err = x, Sound, nil
	}
	if err != nil {
		return err
	}
	leaf, err := by.Leaf(flaw, certified(h, hello.ServerName, hello.Conn.LocalAddr())...)
	if err != nil {
		return err
	}
	cfg.Certificates = []tls.Certificate{*leaf}
	if svc.Kind == MTLS || svc.TLS && h.ClientCA != "" {
		clients, err := s.ca.Named(h.ClientCA)
		if err != nil {
			return err
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	return nil
}

// certified are the names and addresses in a host's certificate.
func certified(h Host, asked string, local net.Addr) []string {
	out := append(h.Names(), h.CertificateNames...)
	for _, p := range h.Address {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		}
	}
	if len(h.Ranges()) > 0 && local != nil {
		if at, err := netip.ParseAddrPort(local.String()); err == nil {
			out = append(out, at.Addr().Unmap().String())
		}
	}
	asked = strings.ToLower(asked)
	for _, n := range h.Names() { // a wildcard in a certificate stands for one label alone
		if below(n, asked) && strings.Count(asked, ".") > strings.Count(n, ".") && nameFault(asked) == "" {
			return append(out, asked)
		}
	}
	return out
}

// Certifies says whether the certificate that a host shows to whoever asks for a name is valid for it, as far as names go.
func (h Host) Certifies(name string) bool {
	return slices.ContainsFunc(certified(h, name, nil), func(n string) bool {
		wildcard, rest, _ := strings.Cut(n, ".")
		_, tail, _ := strings.Cut(name, ".")
		return strings.EqualFold(n, name) || wildcard == "*" && tail != "" && strings.EqualFold(rest, tail)
	})
}

// loggedOf finds the logged connection below others; nil if there is none.
func loggedOf(c net.Conn) *loggedConn {
	for {
		switch x := c.(type) {
		case *loggedConn:
			return x
		case interface{ NetConn() net.Conn }: // tls.Conn, peekedConn, idleConn
			c = x.NetConn()
		default:
			return nil
		}
	}
}

// errEarly is what a client says that sends more before TLS has begun.
var errEarly = errors.New("the client sent plain bytes where TLS must begin")
