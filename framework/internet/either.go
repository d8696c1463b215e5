package internet

import (
	"errors"
	"io"
	"net"
	"time"
)

// tlsHandshake is the first byte of every TLS connection.
const tlsHandshake = 0x16

// sniff splits a listener into one for plain connections and one for TLS, by their first byte. Closing one of them
// closes the listener.
func sniff(ln net.Listener) (plain, secure net.Listener) {
	shut := func() error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) { // the other one may have closed it
			return err
		}
		return nil
	}
	p, t := newQueue(ln.Addr(), shut), newQueue(ln.Addr(), shut)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				_, _ = p.Close(), t.Close() // the listener is closed already
				return
			}
			go func() {
				x, first, err := peek(c)
				if err != nil {
					c.Close()
					return
				}
				to := p
				if first == tlsHandshake {
					to = t
				}
				if !to.put(x) {
					c.Close()
				}
			}()
		}
	}()
	return p, t
}

// peek waits for the first byte of a connection, which the returned one gives again.
func peek(c net.Conn) (*peekedConn, byte, error) {
	first := make([]byte, 1)
	if err := c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return nil, 0, err
	}
	if _, err := io.ReadFull(c, first); err != nil {
		return nil, 0, err
	}
	return &peekedConn{Conn: c, first: first}, first[0], c.SetReadDeadline(time.Time{})
}

// peekedConn gives back the byte that was read to find out what it is.
type peekedConn struct {
	net.Conn
	first []byte
}

// NetConn is the connection below.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }

func (c *peekedConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
