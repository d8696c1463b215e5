package internet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// listeners are the open ones, by host.
type listeners struct {
	mu     sync.Mutex
	byHost map[string][]func() error
	shared map[wildcard]*sharedListener
	udp    map[wildcard]*packets
}

// add notes how something of a host is closed.
func (l *listeners) add(host string, f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byHost == nil {
		l.byHost = map[string][]func() error{}
	}
	l.byHost[host] = append(l.byHost[host], f)
}

// closeHost closes what a host has open.
func (l *listeners) closeHost(name string) error {
	l.mu.Lock()
	fs := l.byHost[name]
	delete(l.byHost, name)
	l.mu.Unlock()
	var err error
	for _, f := range fs {
		err = errors.Join(err, f())
	}
	return err
}

func (l *listeners) close() error {
	l.mu.Lock()
	var fs []func() error
	for _, x := range l.byHost {
		fs = append(fs, x...)
	}
	for _, x := range l.shared {
		fs = append(fs, x.ln.Close)
	}
	for _, x := range l.udp {
		fs = append(fs, x.Close)
	}
	l.byHost, l.shared, l.udp = nil, nil, nil
	l.mu.Unlock()
	var err error
	for _, f := range fs {
		if e := f(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// wildcard is a port at all addresses of a family.
type wildcard struct {
	udp, six bool
	port     uint16
}

// any is what such a listener listens at.
func (w wildcard) any() (suffix, addr string) {
	if w.six {
		return "6", netip.AddrPortFrom(netip.IPv6Unspecified(), w.port).String()
	}
	return "4", netip.AddrPortFrom(netip.IPv4Unspecified(), w.port).String()
}

// sharedListener accepts connections to a port at every address that is local, and hands them to the hosts that own the
// addresses. It serves ranges, whose addresses are too many for a listener each. Where another host has a listener at an
// address of its own, the kernel prefers that.
type sharedListener struct {
	ln net.Listener
	mu sync.Mutex
	to map[string]*queue // by host
}

// listenConfig lets listeners be there before their address is (the kernel's free bind), and at one address beside one at
// all of them (port reuse, which it allows to one user alone).
func listenConfig() *net.ListenConfig { return &net.ListenConfig{Control: freeBind} }

// listen opens a port of a host at an address or a range.
func (s *Server) listen(ctx context.Context, h Host, port uint16, at netip.Prefix) (net.Listener, error) {
	if at.IsSingleIP() {
		return listenConfig().Listen(ctx, "tcp", netip.AddrPortFrom(at.Addr(), port).String())
	}
	w := wildcard{six: at.Addr().Is6(), port: port}
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	x := s.open.shared[w]
	if x == nil {
		suffix, addr := w.any()
		ln, err := listenConfig().Listen(ctx, "tcp"+suffix, addr)
		if err != nil {
			return nil, fmt.Errorf("listen for the range %s: %w", at, err)
		}
		x = &sharedListener{ln: ln, to: map[string]*queue{}}
		if s.open.shared == nil {
			s.open.shared = map[wildcard]*sharedListener{}
		}
		s.open.shared[w] = x
		go s.share(x)
	}
	return x.queue(h.key()), nil
}

// queue returns the host's listener; several ranges of one host have one between them.
func (x *sharedListener) queue(host string) *queue {
	x.mu.Lock()
	defer x.mu.Unlock()
	if q := x.to[host]; q != nil {
		return q
	}
	q := newQueue(x.ln.Addr(), func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.to, host)
		return nil
	})
	x.to[host] = q
	return q
}

// share hands connections to the hosts that own their local address.
func (s *Server) share(x *sharedListener) {
	for {
		c, err := x.ln.Accept()
		if err != nil {
			return
		}
		var to *queue
		if at, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
			if h, _, ours := s.Hosts().owner(at.Addr()); ours {
				x.mu.Lock()
				to = x.to[h.key()]
				x.mu.Unlock()
			}
		}
		if to == nil || !to.put(c) {
			refuse(c)
		}
	}
}

// refuse ends a connection to an address that serves nothing at the port, as the kernel would have done.
func refuse(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a reset; without, the close is an orderly one
	}
	c.Close()
}

// queue is a listener for connections that somebody else has accepted.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
	after  func() error
}

func newQueue(addr net.Addr, after func() error) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn, 128), closed: make(chan struct{}), after: after}
}

// put hands a connection over; false if the listener is closed.
func (q *queue) put(c net.Conn) bool {
	select {
	case <-q.closed:
		return false
	default:
	}
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
		return false
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Addr() net.Addr { return q.addr }

func (q *queue) Close() error {
	var err error
	q.once.Do(func() {
		close(q.closed)
		if q.after != nil {
			err = q.after()
		}
		for {
			select {
			case c := <-q.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return err
}
