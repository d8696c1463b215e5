package harness

import (
	"context"
	"sync"
	"time"
)

// gate lets changes of several lanes reach istiod together, and none while it computes a push.
//
// Istio 1.31 loses the deletion of a ServiceEntry that happens while a push for something else is being
// computed (docs/findings.md): the proxy's scope no longer has the service by the time that the deletion's
// own push asks who depends on it, so nobody is told. Changes that fall into one debounce window are one
// push and cannot do that to each other.
type gate struct {
	mu     sync.Mutex
	inside int
	opened time.Time
	wrote  time.Time     // when the last of them had written; at first, when the first came
	torn   bool          // a push may have begun before the last of them had written
	empty  chan struct{} // closed when the last one leaves
}

// istiod pushes when it has heard of nothing new for 100 ms (PILOT_DEBOUNCE_AFTER). A write takes about
// 15, so who comes within joining of the last write is in time for the same push; longest bounds how
// long the first one's push is put off by that.
const (
	joining = 50 * time.Millisecond
	longest = 150 * time.Millisecond
	late    = 80 * time.Millisecond // after this long without a write, a push may begin
)

// computed is how long after istiod has seen a change its push has been computed, acknowledged or not.
const computed = 400 * time.Millisecond

// enter waits until a change may be made. written must be called when it has been made; it says whether
// an earlier push may be under way that has only a part of it. leave must be called once its push has
// been computed; it may be called more than once.
func (g *gate) enter(ctx context.Context) (written func() (torn bool), leave func(), err error) {
	for {
		g.mu.Lock()
		now := time.Now()
		if g.inside == 0 {
			g.opened, g.wrote, g.torn, g.empty = now, now, false, make(chan struct{})
		}
		if now.Sub(g.wrote) < joining && now.Sub(g.opened) < longest {
			g.inside++
			g.mu.Unlock()
			return g.written, sync.OnceFunc(g.leave), nil
		}
		empty := g.empty
		g.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (g *gate) written() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.torn = g.torn || now.Sub(g.wrote) > late
	g.wrote = now
	return g.torn
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		close(g.empty)
	}
}
