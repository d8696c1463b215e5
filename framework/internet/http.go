package internet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe/wire"
)

func (s *Server) startWeb(ln net.Listener, h Host, svc Service, cfg *tls.Config) error {
	handler := site(h)
	if svc.Kind == Redirect {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+hostOnly(r.Host)+r.URL.RequestURI(), http.StatusMovedPermanently)
		})
	}
	switch svc.Kind {
	case Either:
		plain, secure := sniff(ln)
		if err := s.serveHTTP(h.key(), overTLS(secure, cfg, true), handler); err != nil {
			return err
		}
		ln = plain
	case HTTPS, MTLS:
		ln = overTLS(ln, cfg, true)
	default: // plain
	}
	return s.serveHTTP(h.key(), ln, handler)
}

type connKey struct{}

func (s *Server) serveHTTP(host string, ln net.Listener, h http.Handler) error {
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
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	s.open.add(host, srv.Close)
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.add(egress.Arrival{Kind: "fault", Local: ln.Addr().String(), Extra: map[string]string{"error": err.Error()}})
		}
	}()
	return nil
}

// logged writes one entry for each request. That of the first request of a connection replaces the
// connection's own entry, so that one curl call is one line.
func (s *Server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below, _ := r.Context().Value(connKey{}).(net.Conn)
		if x, ok := below.(*tlsConn); ok {
			state := x.tls.ConnectionState()
			r.TLS = &state
		}
		c := loggedOf(below)
		if c == nil {
			h.ServeHTTP(w, r)
			return
		}
		a := egress.Arrival{
			Server: c.server, Peer: c.RemoteAddr().String(), Local: c.LocalAddr().String(),
			Kind: "http", Proto: r.Proto, Method: r.Method, Host: r.Host, Path: r.URL.Path,
			ProbeID: r.Header.Get(wire.ProbeHeader), RequestID: r.Header.Get("X-Request-Id"),
			Attempt: r.Header.Get("X-Envoy-Attempt-Count"), Extra: meshHeaders(r.Header),
		}
		if r.TLS != nil {
			a.TLS, a.SNI, a.ALPN = true, r.TLS.ServerName, r.TLS.NegotiatedProtocol
			if len(r.TLS.PeerCertificates) > 0 {
				a.ClientCert = r.TLS.PeerCertificates[0].Subject.CommonName
			}
		}
		var seq int64
		if c.used.Swap(true) {
			seq = s.log.add(a)
		} else {
			seq = s.log.replace(c.seq, a)
		}
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

func hostOnly(h string) string {
	if host, _, err := net.SplitHostPort(h); err == nil {
		return host
	}
	return h
}
