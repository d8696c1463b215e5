package internet

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"mesh-egress-conformance/framework/egress"
)

type loggedListener struct {
	net.Listener
	server string
	log    *arrivals
}

// amend completes the connection's entry in the log.
func (c *loggedConn) amend(f func(*egress.Arrival)) { c.log.amend(c.seq, f) }

type loggedConn struct {
	net.Conn
	server string
	seq    int64
	log    *arrivals
	used   atomic.Bool
}

func (l *loggedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	seq := l.log.add(egress.Arrival{Server: l.server, Peer: c.RemoteAddr().String(), Local: c.LocalAddr().String(), Kind: "tcp"})
	return &loggedConn{Conn: c, server: l.server, seq: seq, log: l.log}, nil
}

// connectProxy is a forward proxy for CONNECT and for absolute URLs. It runs inside the internet's
// namespace, so it can reach nothing but other hosts of the internet.
func (s *Server) connectProxy() http.Handler {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Resolver: s.resolver()}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {},
		Transport: &http.Transport{DialContext: dialer.DialContext},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			if !r.URL.IsAbs() {
				http.Error(w, "this is a proxy", http.StatusBadRequest)
				return
			}
			forward.ServeHTTP(w, r)
			return
		}
		up, err := dialer.DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer down.Close()
		if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		done := make(chan struct{}, 2)
		go func() { _, _ = io.Copy(up, rw); done <- struct{}{} }()
		go func() { _, _ = io.Copy(down, up); done <- struct{}{} }()
		<-done
	})
}

func (s *Server) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(s.Hosts().DNS.String(), "53"))
	}}
}
