package internet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// banner is what a server-first host says.
const banner = "220 mesh-egress-conformance ready\r\n"

// idleTimeout ends raw connections on which nothing was said for so long, that a client that forgets one cannot keep it.
const idleTimeout = 10 * time.Minute

// talk is a raw connection to a host, with what the protocols need of it.
type talk struct {
	host Host
	svc  Service
	conn net.Conn // the logged connection, or TLS above it
	r    *bufio.Reader
	tls  *tls.Config // for those that begin TLS inside the protocol; nil where the service has none
}

// talks are the protocols that are no HTTP, each from the first byte to the last. An error ends the connection, and
// is the client's fault.
var talks = map[Kind]func(*talk) error{
	AMQP: amqp,
	Banner: func(t *talk) error {
		if err := t.say([]byte(banner)); err != nil {
			return err
		}
		return t.echo()
	},
	Echo:     (*talk).echo,
	Kafka:    kafka,
	MongoDB:  mongodb,
	MySQL:    mysql,
	Postgres: postgres,
	Redis:    redis,
	SMTP:     smtp,
}

func (s *Server) serveTalk(h Host, svc Service, ln net.Listener, cfg *tls.Config, f func(*talk) error) {
	s.open.add(h.key(), ln.Close)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c = &idleConn{c}
				t := &talk{host: h, svc: svc, conn: c, r: bufio.NewReader(c), tls: cfg}
				if err := f(t); err != nil && !ended(err) {
					t.note("error", err.Error())
				}
			}()
		}
	}()
}

// ended says that the client, or the server when it was told so, has closed the connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// idleConn has a new deadline for each read and write.
type idleConn struct{ net.Conn }

// NetConn is the connection below.
func (c *idleConn) NetConn() net.Conn { return c.Conn }

func (c *idleConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *idleConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (t *talk) say(b []byte) error {
	_, err := t.conn.Write(b)
	return err
}

func (t *talk) echo() error {
	_, _ = io.Copy(t.conn, t.r) // the peer decides when it ends
	return nil
}

// secure begins TLS on the connection. What the client has sent before is not carried over: it was not protected.
func (t *talk) secure() error {
	if t.r.Buffered() > 0 {
		return errEarly
	}
	c := tls.Server(t.conn, t.tls)
	if err := c.HandshakeContext(context.Background()); err != nil {
		return err
	}
	t.conn, t.r = c, bufio.NewReader(c)
	return nil
}

// secureBuffered begins TLS with the bytes that were looked at already.
func (t *talk) secureBuffered() error {
	b, err := t.r.Peek(t.r.Buffered())
	if err != nil {
		return err
	}
	c := tls.Server(&peekedConn{Conn: t.conn, first: append([]byte(nil), b...)}, t.tls)
	if err := c.HandshakeContext(context.Background()); err != nil {
		return err
	}
	t.conn, t.r = c, bufio.NewReader(c)
	return nil
}

// maxLine bounds a line of a protocol that has lines, in bytes.
const maxLine = 4096

// line reads one without its end.
func (t *talk) line() (string, error) {
	var out []byte
	for {
		b, err := t.r.ReadSlice('\n')
		out = append(out, b...)
		switch {
		case len(out) > maxLine:
			return "", fmt.Errorf("a line of more than %d bytes", maxLine)
		case err == nil:
			return strings.TrimRight(string(out), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// name is what the host calls itself: below a wildcard that is the address at which the client has found it.
func (t *talk) name() string {
	if !strings.HasPrefix(t.host.Name, "*") {
		return t.host.Name
	}
	local, _, err := net.SplitHostPort(t.conn.LocalAddr().String())
	if err != nil {
		return "host.example"
	}
	return local
}

// spoke notes in the log that the client speaks the service's protocol.
func (t *talk) spoke() {
	t.amend(func(a *egress.Arrival) { a.Proto = string(t.svc.Kind) })
}

// note writes something that the client said into the connection's entry in the log.
func (t *talk) note(what, said string) {
	if said == "" {
		return
	}
	t.amend(func(a *egress.Arrival) {
		extra := map[string]string{what: said} // a new map: readers have the old one
		for k, v := range a.Extra {
			if k != what {
				extra[k] = v
			}
		}
		a.Extra = extra
	})
}

func (t *talk) amend(f func(*egress.Arrival)) {
	if c := loggedOf(t.conn); c != nil {
		c.amend(f)
	}
}
