package internet

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// tlsHandshake is the first byte of every TLS connection.
const tlsHandshake = 0x16

// sniff splits a listener into one for plain connections and one for TLS, by their first byte.
func sniff(ln net.Listener) (plain, secure net.Listener) {
	p := &half{Listener: ln, conns: make(chan net.Conn), closed: make(chan struct{})}
	t := &half{Listener: ln, conns: make(chan net.Conn), closed: make(chan struct{})}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				_, _ = p.Close(), t.Close() // the listener is closed already
				return
			}
			go func() {
				first := make([]byte, 1)
				if c.SetReadDeadline(time.Now().Add(connTimeout)) != nil {
					return
				}
				if _, err := io.ReadFull(c, first); err != nil || c.SetReadDeadline(time.Time{}) != nil {
					c.Close()
					return
				}
				to := p
				if first[0] == tlsHandshake {
					to = t
				}
				select {
				case to.conns <- &peekedConn{Conn: c, first: first}:
				case <-to.closed:
					c.Close()
				}
			}()
		}
	}()
	return p, t
}

// half is a listener for one of two kinds of connections.
type half struct {
	net.Listener
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *half) Close() error {
	h.once.Do(func() { close(h.closed) })
	if err := h.Listener.Close(); !errors.Is(err, net.ErrClosed) { // the other half may have closed it
		return err
	}
	return nil
}

// peekedConn gives back the byte that was read to find out what it is.
type peekedConn struct {
	net.Conn
	first []byte
}

func (c *peekedConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
