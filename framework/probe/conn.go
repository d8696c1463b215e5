package probe

import (
	"net"
	"sync"
	"sync/atomic"
)

// askingConn gives an HTTP transport nothing to read before it has written. A server that closes at once would
// otherwise be noticed while the request is not under way yet, and net/http reports that as an idle connection
// that the server closed, and not as the missing answer that it is.
type askingConn struct {
	net.Conn
	waits  atomic.Bool // reads wait for the first write
	asked  chan struct{}
	closed chan struct{}
	write  sync.Once
	close  sync.Once
}

// newAskingConn wraps a connection whose handshake, if it has one, is still to come; wait begins the waiting.
func newAskingConn(c net.Conn) *askingConn {
	return &askingConn{Conn: c, asked: make(chan struct{}), closed: make(chan struct{})}
}

func (c *askingConn) wait() *askingConn {
	c.waits.Store(true)
	return c
}

func (c *askingConn) Read(p []byte) (int, error) {
	if c.waits.Load() {
		select {
		case <-c.asked:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Read(p)
}

func (c *askingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.waits.Load() {
		c.write.Do(func() { close(c.asked) })
	}
	return n, err
}

func (c *askingConn) Close() error {
	c.close.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
