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
	empty  chan struct{} // closed when the last one leaves
}

// joining is how long after the first change others may come along. istiod's debounce is 100 ms since
// the last event, and a write takes about 15.
const joining = 40 * time.Millisecond

// computed is how long after istiod has seen a change its push has been computed, acknowledged or not.
const computed = 400 * time.Millisecond

// enter waits until a change may be made. leave must be called once its push has been computed; it may
// be called more than once.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	for {
		g.mu.Lock()
		if g.inside == 0 {
			g.opened, g.empty = time.Now(), make(chan struct{})
		}
		if time.Since(g.opened) < joining {
			g.inside++
			g.mu.Unlock()
			return sync.OnceFunc(g.leave), nil
		}
		empty := g.empty
		g.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		close(g.empty)
	}
}
