// Package probe is what runs in the client pods beside curl: a small static program that makes the
// attempts that curl cannot make (raw TCP, TLS with any or no server name, UDP, ICMP, DNS, gRPC,
// WebSocket, one connection kept over several requests or held open) and that starts programs for all others.
//
// It uses the standard library alone, because it is built from this source on the user's machine
// (see framework/components) and copied into the pods' image.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// Spec is one attempt.
type Spec struct {
	// URL names tool, target and path: http, https, tcp, tls, udp, icmp, dns, grpc, ws, wss or keep (HTTP/1.1 on a
	// connection that stays open for the next attempt with the same Keep).
	URL string `json:"url"`
	// Connect is the host:port to dial instead of the URL's.
	Connect string `json:"connect,omitempty"`
	// SNI is the server name that is sent; "-" sends none; "" sends the URL's host.
	SNI string `json:"sni,omitempty"`
	// Send is what is written first; "" lets the server speak first.
	Send string `json:"send,omitempty"`
	// Bare makes a tcp attempt content with a connection that nobody closes for a moment: it sends nothing and wants nothing.
	Bare bool `json:"bare,omitempty"`
	// ID goes into the X-Egress-Probe header where the protocol has headers.
	ID string `json:"id,omitempty"`
	// Ports are the first and last local port that may be used; zeros leave it to the kernel.
	Ports [2]int `json:"ports"`
	// Timeout bounds the whole attempt, in milliseconds.
	Timeout int `json:"timeout"`
	// Hold keeps a tcp or tls connection after its first exchange; nil closes it then.
	Hold *Hold `json:"hold,omitempty"`
}

// Report is what an attempt came to. Field names and exit codes are those of curl's --write-out
// '%{json}' and its manual page, so that both kinds of probe are read alike.
type Report struct {
	ExitCode   int     `json:"exitcode"`
	HTTPCode   int     `json:"http_code"`
	GRPC       string  `json:"grpc_status,omitempty"` // the gRPC status of a grpc attempt's answer, such as "14"
	LocalIP    string  `json:"local_ip,omitempty"`
	LocalPort  int     `json:"local_port,omitempty"`
	RemoteIP   string  `json:"remote_ip,omitempty"`
	RemotePort int     `json:"remote_port,omitempty"`
	Total      float64 `json:"time_total"`
	Output     string  `json:"output,omitempty"` // what the other side said, shortened
	Error      string  `json:"errormsg,omitempty"`
	// Held is what became of a connection that was to be held, HeldOpen or HeldCut; "" where it was not answered.
	Held string `json:"held,omitempty"`
}

// failure is an error with the exit code that it stands for.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, a ...any) error { return &failure{code, fmt.Errorf(format, a...)} }

// attempt is a running Spec.
type attempt struct {
	spec   Spec
	url    *url.URL
	report *Report
	conns  *Conns
}

// Run makes an attempt. What goes wrong is in the report.
func Run(ctx context.Context, s Spec, conns *Conns) Report {
	start := time.Now()
	r := Report{}
	timeout := time.Duration(s.Timeout) * time.Millisecond
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	if s.Hold != nil {
		timeout += time.Duration(s.Hold.Pause) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := run(ctx, &attempt{spec: s, report: &r, conns: conns})
	var f *failure
	switch {
	case err == nil:
	case errors.As(err, &f):
		r.ExitCode, r.Error = f.code, err.Error()
	default:
		r.ExitCode, r.Error = codeOf(err), err.Error()
	}
	if len(r.Output) > 1000 {
		r.Output = r.Output[:1000]
	}
	r.Total = time.Since(start).Seconds()
	return r
}

func run(ctx context.Context, a *attempt) error {
	u, err := url.Parse(a.spec.URL)
	if err != nil {
		return fail(wire.ExitUsage, "read the URL: %w", err)
	}
	a.url = u
	tools := map[string]func(context.Context) error{
		"http": a.http, "https": a.http,
		"tcp": a.tcp, "tls": a.tls, "udp": a.udp, "icmp": a.icmp, "dns": a.dns,
		"grpc": a.grpc, "ws": a.websocket, "wss": a.websocket, "keep": a.keep,
	}
	t := tools[u.Scheme]
	if t == nil {
		return fail(wire.ExitUsage, "scheme %q is unknown", u.Scheme)
	}
	if a.spec.Hold != nil && u.Scheme != "tcp" && u.Scheme != "tls" {
		return fail(wire.ExitUsage, "only tcp and tls connections can be held, not %s", u.Scheme)
	}
	if a.spec.Hold != nil && a.spec.Hold.Resume {
		return a.resume(ctx)
	}
	return t(ctx)
}

// codeOf finds the exit code for an error of the network.
func codeOf(err error) int {
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.As(err, &dns):
		return wire.ExitDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return wire.ExitRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return wire.ExitTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return wire.ExitEmpty
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return wire.ExitReceive
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return wire.ExitRefused
	}
	return wire.ExitInternal
}

// target is the address to dial.
func (a *attempt) target(defaultPort string) string {
	if a.spec.Connect != "" {
		return a.spec.Connect
	}
	if a.url.Port() == "" {
		return net.JoinHostPort(a.url.Hostname(), defaultPort)
	}
	return a.url.Host
}

// dial connects from one of the allowed local ports and notes both ends.
func (a *attempt) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fail(wire.ExitUsage, "address %q: %w", address, err)
	}
	network, ips, err := lookup(ctx, network, host)
	if err != nil {
		return nil, err
	}
	address = net.JoinHostPort(ips[0].String(), port)
	for p := a.spec.Ports[0]; ; p++ {
		d := net.Dialer{LocalAddr: localAddr(network, p)}
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			if errors.Is(err, syscall.EADDRINUSE) && p < a.spec.Ports[1] {
				continue
			}
			return nil, err
		}
		a.note(c.LocalAddr(), c.RemoteAddr())
		if deadline, ok := ctx.Deadline(); ok {
			if err := c.SetDeadline(deadline); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
}

// lookup finds the addresses of a host, and the network of their family: IPv4, or, of a host that has none, IPv6 where this pod
// has that.
func lookup(ctx context.Context, network, host string) (string, []net.IP, error) {
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
	if err == nil || !haveIPv6() {
		return network, ips, err
	}
	six, err6 := net.DefaultResolver.LookupIP(ctx, "ip6", host)
	if err6 != nil {
		return network, nil, err
	}
	return strings.TrimSuffix(network, "4") + "6", six, nil
}

// haveIPv6 says whether this pod has an IPv6 address by which it reaches others.
var haveIPv6 = sync.OnceValue(func() bool {
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.To4() == nil && n.IP.IsGlobalUnicast()
	})
})

func localAddr(network string, port int) net.Addr {
	if strings.HasPrefix(network, "udp") {
		return &net.UDPAddr{Port: port}
	}
	return &net.TCPAddr{Port: port}
}

func (a *attempt) note(local, remote net.Addr) {
	switch l := local.(type) {
	case *net.TCPAddr:
		a.report.LocalIP, a.report.LocalPort = l.IP.String(), l.Port
	case *net.UDPAddr:
		a.report.LocalIP, a.report.LocalPort = l.IP.String(), l.Port
	}
	switch r := remote.(type) {
	case *net.TCPAddr:
		a.report.RemoteIP, a.report.RemotePort = r.IP.String(), r.Port
	case *net.UDPAddr:
		a.report.RemoteIP, a.report.RemotePort = r.IP.String(), r.Port
	}
}

// tcp connects, writes what there is to write, and wants at least one byte back.
func (a *attempt) tcp(ctx context.Context) error {
	c, err := a.dial(ctx, "tcp4", a.target("80"))
	if err != nil {
		return err
	}
	if a.spec.Bare {
		return errors.Join(a.stays(c), c.Close())
	}
	return a.converseAndHold(ctx, c, c)
}

// bareTime is how long a bare connection must stay: a proxy that refuses it has accepted it first, and closes it at once.
const bareTime = time.Second

// stays fails where the other side closes a connection. What it may say first is read and is as good.
func (a *attempt) stays(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(bareTime)); err != nil {
		return err
	}
	err := a.converse(c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return nil
	}
	return err
}

// converseAndHold makes the first exchange on a connection, raw or with TLS over it, and closes it unless it is to be held.
func (a *attempt) converseAndHold(ctx context.Context, raw, c net.Conn) error {
	if a.spec.Hold == nil {
		defer c.Close()
		return a.converse(c)
	}
	if err := a.converse(c); err != nil {
		return errors.Join(err, c.Close())
	}
	return a.hold(ctx, c, raw.LocalAddr(), raw.RemoteAddr())
}

func (a *attempt) converse(c net.Conn) error {
	if a.spec.Send != "" {
		if _, err := io.WriteString(c, a.spec.Send); err != nil {
			return err
		}
	}
	buf := make([]byte, 1000)
	n, err := c.Read(buf)
	a.report.Output = string(buf[:n])
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// tls shakes hands with the given server name, or with none, and reports whose certificate came. It
// verifies nothing: which server answered is the question, and the destination's log settles it.
func (a *attempt) tls(ctx context.Context) error {
	c, err := a.dial(ctx, "tcp4", a.target("443"))
	if err != nil {
		return err
	}
	t, err := a.handshake(ctx, c, nil)
	if err != nil {
		return err
	}
	a.report.Output = "certificate of " + leafName(t.ConnectionState().PeerCertificates)
	if a.spec.Send != "" {
		return a.converseAndHold(ctx, c, t)
	}
	if a.spec.Hold != nil { // the handshake was the first exchange
		return a.hold(ctx, t, c.LocalAddr(), c.RemoteAddr())
	}
	return t.Close()
}

// handshake speaks TLS over a connection, which it closes when that fails: a proxy on the way writes its log when it
// ends.
func (a *attempt) handshake(ctx context.Context, c net.Conn, alpn []string) (*tls.Conn, error) {
	name := a.spec.SNI
	switch name {
	case "":
		name = a.url.Hostname()
	case "-":
		name = ""
	}
	t := tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: alpn, MinVersion: tls.VersionTLS12}) //nolint:gosec // see tls
	if err := shake(ctx, t); err != nil {
		return nil, err
	}
	return t, nil
}

// shake makes the handshake of a connection and closes the connection when that fails.
func shake(ctx context.Context, t *tls.Conn) error {
	err := t.HandshakeContext(ctx)
	if err == nil {
		return nil
	}
	_ = t.NetConn().Close() // the failed handshake is what is worth telling
	var bad *tls.CertificateVerificationError
	switch {
	case errors.As(err, &bad):
		return fail(wire.ExitCert, "%w", err)
	case codeOf(err) == wire.ExitTimeout:
		return err
	}
	return fail(wire.ExitTLS, "TLS handshake: %w", err)
}

func leafName(certs []*x509.Certificate) string {
	if len(certs) == 0 {
		return "nobody"
	}
	if len(certs[0].DNSNames) > 0 {
		return certs[0].DNSNames[0]
	}
	return certs[0].Subject.CommonName
}

// udp sends a datagram and wants one back.
func (a *attempt) udp(ctx context.Context) error {
	c, err := a.dial(ctx, "udp4", a.target("7"))
	if err != nil {
		return err
	}
	defer c.Close()
	if a.spec.Send == "" {
		a.spec.Send = "ping"
	}
	return a.converse(c)
}
