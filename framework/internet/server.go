package internet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe/wire"
)

// Server runs the hosts on addresses that the caller has given to this network namespace.
type Server struct {
	hosts *Hosts
	ca    *CA
	log   arrivals
	mine  netip.Addr // serve only the hosts at this address; zero: all
	// upstream answers for names in cluster.local; "" for none.
	upstream string

	noNames atomic.Bool                     // sabotage: DNS refuses every question
	foreign atomic.Pointer[tls.Certificate] // sabotage: what every host shows instead of its own certificate

	changing answers

	mu      sync.Mutex
	closers []func() error
}

// NewServer prepares a server; nothing listens yet.
func NewServer(h *Hosts, ca *CA) *Server { return &Server{hosts: h, ca: ca} }

// Start listens on every host's address. On error nothing is left listening.
func (s *Server) Start(ctx context.Context) error {
	var err error
	if !s.mine.IsValid() || s.mine == s.hosts.DNS {
		err = s.startDNS(ctx)
	}
	return errors.Join(err, s.startHosts(ctx))
}

func (s *Server) startHosts(ctx context.Context) error {
	var err error
	for _, h := range s.hosts.Hosts {
		if err != nil {
			break
		}
		if s.mine.IsValid() && s.mine != h.Address {
			continue
		}
		if h.Ping {
			if err = s.logPings(ctx, h); err != nil {
				err = fmt.Errorf("host %s, ICMP: %w", h.Name, err)
				break
			}
		}
		for _, svc := range h.Services {
			if err = s.startService(ctx, h, svc); err != nil {
				err = fmt.Errorf("host %s, port %d (%s): %w", h.Name, svc.Port, svc.Kind, err)
				break
			}
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start the hermetic internet: %w", err), s.Close())
	}
	return nil
}

// Break spoils the internet on purpose: "down" kills every host, "dns" lets no name resolve, "ca" shows
// certificates of a CA that nobody trusts; "mend" undoes all of it.
func (s *Server) Break(ctx context.Context, what string) error {
	switch what {
	case "down":
		return s.Close()
	case "dns":
		s.noNames.Store(true)
	case "ca":
		ca, err := NewCA("a CA that nobody trusts")
		if err != nil {
			return err
		}
		var all []string
		for _, h := range s.hosts.Hosts {
			all = append(all, names(h)...)
		}
		leaf, err := ca.Leaf(all...)
		s.foreign.Store(leaf)
		return err
	case "mend":
		s.noNames.Store(false)
		s.foreign.Store(nil)
		s.mu.Lock()
		down := len(s.closers) == 0
		s.mu.Unlock()
		if down {
			return s.startHosts(ctx)
		}
	default:
		return fmt.Errorf("nothing to break is called %q", what)
	}
	return nil
}

// Close stops every host. DNS goes on: names still resolve while their hosts are dead.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, c := range s.closers {
		err = errors.Join(err, c())
	}
	s.closers = nil
	return err
}

func (s *Server) onClose(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, f)
}

func (s *Server) startService(ctx context.Context, h Host, svc Service) error {
	for _, a := range h.Addresses() {
		if err := s.listen(ctx, h, svc, netip.AddrPortFrom(a, svc.Port).String()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) listen(ctx context.Context, h Host, svc Service, addr string) error {
	if svc.Kind == UDPEcho {
		return s.startUDP(ctx, h, addr)
	}
	var lc net.ListenConfig
	raw, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	ln := &loggedListener{Listener: raw, server: h.Name, log: &s.log}
	switch svc.Kind {
	case HTTP, HTTPS, Either, Redirect, MTLS:
		return s.startWeb(ctx, ln, h, svc)
	case Connect:
		return s.serveHTTP(ln, s.connectProxy())
	case Banner:
		s.serveConns(ln, speakFirst)
	case Echo:
		s.serveConns(ln, echo)
	default:
		return errors.Join(fmt.Errorf("service kind %q is unknown", svc.Kind), raw.Close())
	}
	return nil
}

func (s *Server) startWeb(_ context.Context, ln net.Listener, h Host, svc Service) error {
	handler := site(h)
	if svc.Kind == Redirect {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+hostOnly(r.Host)+r.URL.RequestURI(), http.StatusMovedPermanently)
		})
	}
	if svc.Kind == HTTPS || svc.Kind == MTLS || svc.Kind == Either {
		cfg, err := s.tlsConfig(h, svc)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		if svc.Kind == Either {
			var secure net.Listener
			ln, secure = sniff(ln)
			if err := s.serveHTTP(tls.NewListener(secure, cfg), handler); err != nil {
				return err
			}
		} else {
			ln = tls.NewListener(ln, cfg)
		}
	}
	return s.serveHTTP(ln, handler)
}

// tlsConfig serves the host's own certificate whatever name the client asks for, as a real server
// does: a client that was led to the wrong host must notice.
func (s *Server) tlsConfig(h Host, svc Service) (*tls.Config, error) {
	leaf, err := s.ca.Leaf(names(h)...)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{*leaf}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	if svc.HTTP2 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	if svc.Kind == MTLS {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool()
	}
	base := cfg.Clone()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		conn := hello.Conn
		if p, ok := conn.(*peekedConn); ok {
			conn = p.Conn
		}
		if c, ok := conn.(*loggedConn); ok {
			c.log.amend(c.seq, func(a *egress.Arrival) { a.TLS, a.Kind, a.SNI = true, "tls", hello.ServerName })
		}
		if leaf := s.foreign.Load(); leaf != nil {
			bad := base.Clone()
			bad.Certificates = []tls.Certificate{*leaf}
			return bad, nil
		}
		return base, nil
	}
	return cfg, nil
}

func names(h Host) []string {
	out := append([]string{h.Name, h.Address.String()}, h.Aliases...)
	for _, a := range h.More {
		out = append(out, a.String())
	}
	return out
}

type connKey struct{}

func (s *Server) serveHTTP(ln net.Listener, h http.Handler) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:           s.logged(answerGRPC(h)),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          nil,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			if p, ok := c.(*peekedConn); ok {
				c = p.Conn
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	s.onClose(srv.Close)
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.add(egress.Arrival{Kind: "fault", Local: ln.Addr().String(), Extra: map[string]string{"error": err.Error()}})
		}
	}()
	return nil
}

// logged writes one entry for each request. The first request of a connection completes the
// connection's own entry, so that one curl call is one line.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*loggedConn)
		if c == nil {
			h.ServeHTTP(w, r)
			return
		}
		fill := func(a *egress.Arrival) {
			a.Kind, a.Proto, a.Method, a.Host, a.Path = "http", r.Proto, r.Method, r.Host, r.URL.Path
			a.ProbeID, a.RequestID = r.Header.Get(wire.ProbeHeader), r.Header.Get("X-Request-Id")
			a.Attempt = r.Header.Get("X-Envoy-Attempt-Count")
			a.Extra = meshHeaders(r.Header)
			if r.TLS != nil {
				a.TLS, a.SNI, a.ALPN = true, r.TLS.ServerName, r.TLS.NegotiatedProtocol
				if len(r.TLS.PeerCertificates) > 0 {
					a.ClientCert = r.TLS.PeerCertificates[0].Subject.CommonName
				}
			}
		}
		seq := c.seq
		if c.used.Swap(true) {
			seq = s.log.add(egress.Arrival{Server: c.server, Peer: c.RemoteAddr().String(), Local: c.LocalAddr().String()})
		}
		s.log.amend(seq, fill)
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(sw, r)
		s.log.amend(seq, func(a *egress.Arrival) { a.Status = sw.status })
	})
}

// meshHeaders are the request's headers that a mesh or a case may have added, under "header <name>".
func meshHeaders(h http.Header) map[string]string {
	var out map[string]string
	for name, v := range h {
		n := strings.ToLower(name)
		if !strings.HasPrefix(n, "x-") && n != "traceparent" && n != "via" {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out["header "+n] = strings.Join(v, ",")
	}
	return out
}

// answerGRPC answers every gRPC call with an empty message and status 0.
func answerGRPC(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(make([]byte, 5)) // the client is gone if this fails
		w.Header().Set("Grpc-Status", "0")
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) { w.status = code; w.ResponseWriter.WriteHeader(code) }

// Unwrap lets http.ResponseController reach flushing and hijacking.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack serves handlers that upgrade the connection.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.status = http.StatusSwitchingProtocols
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Flush serves handlers that stream.
func (w *statusWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (s *Server) serveConns(ln net.Listener, f func(net.Conn)) {
	s.onClose(ln.Close)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
}

func hostOnly(h string) string {
	if host, _, err := net.SplitHostPort(h); err == nil {
		return host
	}
	return h
}

// clientName is the name in the client certificate that the hosts know.
const clientName = "client.example"

// ControlHandler is the API by which the harness reads the arrival log and breaks the internet on
// purpose. It is served on a unix socket that no pod can reach.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
		if err != nil {
			http.Error(w, "since must be a sequence number", http.StatusBadRequest)
			return
		}
		writeJSON(w, s.log.since(since))
	})
	mux.HandleFunc("GET /credential", func(w http.ResponseWriter, _ *http.Request) {
		c, err := s.ca.Credential(clientName)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, c)
	})
	mux.HandleFunc("POST /answer", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Answer(r.URL.Query().Get("name"), r.URL.Query().Get("host")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.Asked(r.URL.Query().Get("name"))) })
	mux.HandleFunc("POST /break/{what}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Break(context.WithoutCancel(r.Context()), r.PathValue("what")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}
