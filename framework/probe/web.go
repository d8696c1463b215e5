package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// http makes one GET request as curl does by default: HTTP/2 where TLS negotiates it, certificates
// verified, redirects not followed.
func (a *attempt) http(ctx context.Context) error {
	tr := &http.Transport{ForceAttemptHTTP2: true}
	header := http.Header{"User-Agent": {"egressprobe"}, "Accept": {"*/*"}}
	_, _, err := a.roundTrip(ctx, tr, a.verified, http.MethodGet, a.spec.URL, nil, header)
	return err
}

// verified shakes hands as curl does: with the URL's name, and only with whom the system trusts.
func (a *attempt) verified(ctx context.Context, c net.Conn) (net.Conn, error) {
	t := tls.Client(c, &tls.Config{ServerName: a.url.Hostname(), NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
	if err := shake(ctx, t); err != nil {
		return nil, err
	}
	return t, nil
}

// roundTrip makes one request on a connection of its own and reads the whole answer. It returns the
// answer's headers and trailers.
func (a *attempt) roundTrip(ctx context.Context, tr *http.Transport, secure func(context.Context, net.Conn) (net.Conn, error), method, url string, body io.Reader, header http.Header) (head, trailer http.Header, err error) {
	tr.DisableCompression = true
	// A connection of HTTP/2 may not be idle yet when the answer has been read. Left open, it would end with the attempt's time,
	// and its port be remembered by conntrack for longer than the engine counts on.
	var open connections
	defer open.close()
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := open.add(a.dial(ctx, "tcp4", a.target("80")))
		if err != nil {
			return nil, err
		}
		return newAskingConn(c).wait(), nil
	}
	tr.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := open.add(a.dial(ctx, "tcp4", a.target("443")))
		if err != nil {
			return nil, err
		}
		asking := newAskingConn(c)
		secured, err := secure(ctx, asking)
		asking.wait()
		return secured, err
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, nil, fail(wire.ExitUsage, "%w", err)
	}
	header.Set(wire.ProbeHeader, a.spec.ID)
	req.Header = header
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, nil, httpError(err)
	}
	defer resp.Body.Close()
	a.report.HTTPCode = resp.StatusCode
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, nil, httpError(err)
	}
	return resp.Header, resp.Trailer, nil
}

// connections are those that an attempt has made, all of which end with it.
type connections struct {
	mu   sync.Mutex
	all  []net.Conn
	over bool
}

// add keeps a connection that was made, unless that failed; after close, it closes it.
func (o *connections) add(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		_ = c.Close() // nobody waits for it any more
		return nil, net.ErrClosed
	}
	o.all = append(o.all, c)
	return c, nil
}

func (o *connections) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, c := range o.all {
		_ = c.Close() // most are closed already
	}
}

// grpc makes one unary call with an empty message over HTTP/2: in clear text, or over TLS on port 443
// or with ?tls=1.
func (a *attempt) grpc(ctx context.Context) error {
	secure := a.url.Port() == "443" || a.url.Query().Get("tls") != ""
	protocols := new(http.Protocols)
	protocols.SetHTTP2(secure)
	protocols.SetUnencryptedHTTP2(!secure)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	secured := func(ctx context.Context, c net.Conn) (net.Conn, error) { return a.handshake(ctx, c, []string{"h2"}) }
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	head, trailer, err := a.roundTrip(ctx, &http.Transport{Protocols: protocols}, secured, http.MethodPost, scheme+"://"+a.url.Host+a.url.Path, bytes.NewReader(make([]byte, 5)), header)
	if err != nil {
		a.report.HTTPCode = 0 // a call that broke off has no gRPC status, and HTTP's says nothing
		return err
	}
	status := trailer.Get("Grpc-Status")
	if status == "" {
		status = head.Get("Grpc-Status")
	}
	a.report.GRPC = status
	a.report.Output = fmt.Sprintf("grpc-status %s %s", status, head.Get("Grpc-Message"))
	return nil
}

// httpError gives a connection that was closed under HTTP the code that curl has for it.
func httpError(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	if c := codeOf(err); c != wire.ExitInternal {
		return fail(c, "%w", err)
	}
	return fail(wire.ExitReceive, "%w", err)
}

// websocket upgrades a connection, sends one text message and wants it back.
func (a *attempt) websocket(ctx context.Context) error {
	port := "80"
	if a.url.Scheme == "wss" {
		port = "443"
	}
	c, err := a.dial(ctx, "tcp4", a.target(port))
	if err != nil {
		return err
	}
	defer c.Close()
	if a.url.Scheme == "wss" {
		if c, err = a.handshake(ctx, c, []string{"http/1.1"}); err != nil {
			return err
		}
	}
	req := "GET " + a.url.RequestURI() + " HTTP/1.1\r\nHost: " + a.url.Host + "\r\n" + wire.ProbeHeader + ": " + a.spec.ID +
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bWVzaC1lZ3Jlc3MtdGVzdA==\r\n\r\n"
	if _, err := io.WriteString(c, req); err != nil {
		return err
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.report.HTTPCode = resp.StatusCode
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	const text = "egress"
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked with zeros
	if _, err := c.Write(frame); err != nil {
		return err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(br, head); err != nil {
		return err
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(br, body); err != nil {
		return err
	}
	a.report.Output = string(body)
	if a.report.Output != text {
		return fail(wire.ExitReceive, "the echo was %q", body)
	}
	a.report.HTTPCode = http.StatusOK
	return nil
}

// Conns are connections that outlive one attempt.
type Conns struct {
	mu   sync.Mutex
	open map[string]*kept
	held map[string]*heldConn
}

type kept struct {
	mu sync.Mutex
	c  net.Conn // nil when the next request needs a new one
	br *bufio.Reader
}

// drop closes the connection; the next request opens another.
func (k *kept) drop() {
	if k.c != nil {
		_ = k.c.Close() // it is of no use any more
	}
	k.c, k.br = nil, nil
}

// keep makes an HTTP/1.1 request on the connection of the URL's ?conn= name, opening it if need be.
// ?tls=1 makes it HTTPS.
func (a *attempt) keep(ctx context.Context) error {
	q := a.url.Query()
	name := q.Get("conn")
	q.Del("conn")
	secure := q.Get("tls") != ""
	q.Del("tls")
	a.conns.mu.Lock()
	if a.conns.open == nil {
		a.conns.open = map[string]*kept{}
	}
	k := a.conns.open[name]
	if k == nil {
		k = &kept{}
		a.conns.open[name] = k
	}
	a.conns.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.c == nil {
		c, err := a.dial(ctx, "tcp4", a.target(map[bool]string{false: "80", true: "443"}[secure]))
		if err != nil {
			return err
		}
		if secure {
			if c, err = a.handshake(ctx, c, []string{"http/1.1"}); err != nil {
				return err
			}
		}
		k.c, k.br = c, bufio.NewReader(c)
	}
	raw := k.c
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	a.note(raw.LocalAddr(), raw.RemoteAddr())
	code, last, err := k.request(ctx, a.url.Host, a.url.Path, q.Encode(), a.spec.ID)
	a.report.HTTPCode = code
	if err != nil || last {
		k.drop()
	}
	return err
}

// request makes one request. last says that the server closes the connection after its answer.
func (k *kept) request(ctx context.Context, host, path, query, id string) (code int, last bool, err error) {
	if end, ok := ctx.Deadline(); ok {
		if err := k.c.SetDeadline(end); err != nil {
			return 0, false, err
		}
	}
	if query != "" {
		path += "?" + query
	}
	if path == "" {
		path = "/"
	}
	_, err = fmt.Fprintf(k.c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nX-Request-Id: %s\r\n\r\n", path, strings.TrimSuffix(host, ":80"), wire.ProbeHeader, id, id)
	if err != nil {
		return 0, false, err
	}
	resp, err := http.ReadResponse(k.br, nil)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, false, err
	}
	return resp.StatusCode, resp.Close, k.c.SetDeadline(time.Time{})
}

// frameSize guards against reading something that is no frame.
const frameSize = 64 << 20

// ReadFrame reads one length-prefixed message of the agent's protocol.
func ReadFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameSize {
		return nil, fmt.Errorf("frame of %d bytes: this is not the probe agent's protocol", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// WriteFrame writes one.
func WriteFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}
