package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// Hold makes an attempt stay connected. Once the first exchange is answered the connection is left idle for the pause,
// and then used again.
type Hold struct {
	// Name under which the connection is kept for later attempts; "" closes it at the end of this one.
	Name string `json:"name,omitempty"`
	// Resume uses the connection of the name in place of a new one.
	Resume bool `json:"resume,omitempty"`
	// Open ends the attempt after the first exchange, as if nothing was to be held, and keeps the connection.
	Open bool `json:"open,omitempty"`
	// Pause in milliseconds.
	Pause int `json:"pause,omitempty"`
	// Then is written after the pause, and at least one byte must come back; "" only looks whether the
	// connection was closed.
	Then string `json:"then,omitempty"`
}

// What Report.Held says of a connection that was answered and then held.
const (
	HeldOpen = "open" // it lived at the end
	HeldCut  = "cut"  // somebody closed it on the client
)

// heldConn is a connection that outlives an attempt.
type heldConn struct {
	c             net.Conn
	local, remote net.Addr
	// end is what a read or a write of it said when it was cut; nil while it lives.
	end error
}

// hold makes the further exchange of an attempt whose connection was answered.
func (a *attempt) hold(ctx context.Context, c net.Conn, local, remote net.Addr) error {
	h := a.spec.Hold
	held := &heldConn{c: c, local: local, remote: remote}
	if h.Open {
		a.conns.keepHeld(h.Name, held)
		return nil
	}
	defer c.Close()
	return a.useHeld(ctx, held)
}

// resume makes the further exchange on a connection that an earlier attempt has left open.
func (a *attempt) resume(ctx context.Context) error {
	held := a.conns.getHeld(a.spec.Hold.Name)
	if held == nil {
		return fail(wire.ExitInternal, "no connection is held under the name %q", a.spec.Hold.Name)
	}
	a.note(held.local, held.remote)
	return a.useHeld(ctx, held)
}

func (a *attempt) useHeld(ctx context.Context, held *heldConn) error {
	if held.end == nil {
		output, err := exchangeHeld(ctx, held.c, time.Duration(a.spec.Hold.Pause)*time.Millisecond, a.spec.Hold.Then)
		if output != "" {
			a.report.Output = output
		}
		switch {
		case err == nil:
			a.report.Held = HeldOpen
			return nil
		case !isCut(err):
			return err
		}
		held.end = err
		_ = held.c.Close() // the other side has closed it already
	}
	a.report.Held = HeldCut
	return fail(cutCode(held.end), "the connection was closed while it was held: %w", held.end)
}

// exchangeHeld leaves a connection idle for a pause, notices its end meanwhile, and then writes and wants an answer.
func exchangeHeld(ctx context.Context, c net.Conn, pause time.Duration, then string) (output string, err error) {
	buf := make([]byte, 1000)
	if err := c.SetReadDeadline(time.Now().Add(max(pause, time.Millisecond))); err != nil {
		return "", err
	}
	for {
		n, err := c.Read(buf)
		output += string(buf[:n])
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			break
		}
		if err != nil {
			return output, err
		}
	}
	if then == "" {
		return output, nil
	}
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(10 * time.Second)
	}
	if err := c.SetDeadline(end); err != nil {
		return output, err
	}
	if _, err := io.WriteString(c, then); err != nil {
		return output, err
	}
	n, err := c.Read(buf)
	if n > 0 {
		return string(buf[:n]), nil
	}
	if err == nil {
		err = io.EOF
	}
	return output, err
}

// isCut says whether an error means that the other side has ended a connection.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func cutCode(err error) int {
	if c := codeOf(err); c != wire.ExitInternal {
		return c
	}
	return wire.ExitReceive
}

func (k *Conns) keepHeld(name string, h *heldConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]*heldConn{}
	}
	if old := k.held[name]; old != nil {
		_ = old.c.Close() // the newest attempt's is the one that counts
	}
	k.held[name] = h
}

func (k *Conns) getHeld(name string) *heldConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[name]
}

// Release closes the connections, held and kept, whose names begin so.
func (k *Conns) Release(prefix string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if prefix == "" {
		return errors.New("the name of what is to be closed is missing")
	}
	for name, h := range k.held {
		if strings.HasPrefix(name, prefix) {
			_ = h.c.Close() // it is gone either way
			delete(k.held, name)
		}
	}
	for name, kept := range k.open {
		if strings.HasPrefix(name, prefix) {
			kept.drop()
			delete(k.open, name)
		}
	}
	return nil
}
