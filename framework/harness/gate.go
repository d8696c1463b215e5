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
	mu   sync.Mutex
	crew int // lanes at work; 0 stands for one
	wave *wave
}

// wave is the changes that go to istiod together: they are gathered first and written at once.
type wave struct {
	inside int
	begun  chan struct{} // closed when the writing begins; nobody joins then
	wrote  time.Time     // when one of them had last written; at first, when the writing began
	torn   bool          // a push may have begun before the last of them had written
	empty  chan struct{} // closed when the last one leaves
}

// istiod pushes when it has heard of nothing new for 100 ms (PILOT_DEBOUNCE_AFTER).
const (
	gathering = 40 * time.Millisecond
	late      = 80 * time.Millisecond // after this long without a write, a push may begin
)

// computed is how long after istiod has seen a change its push has been computed, acknowledged or not.
const computed = 400 * time.Millisecond

// staff says that so many lanes more, or fewer, are at work.
func (g *gate) staff(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.crew += n
	if g.wave != nil {
		g.full(g.wave)
	}
}

// full begins a wave to which nobody else can come. The caller holds the lock.
func (g *gate) full(w *wave) {
	if w.inside >= g.crew {
		g.begin(w)
	}
}

func (g *gate) begin(w *wave) {
	select {
	case <-w.begun:
	default:
		w.wrote = time.Now()
		close(w.begun)
	}
}

// join makes the caller a member of the wave that gathers; where one is under way, it is no member.
func (g *gate) join() (w *wave, member bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wave == nil {
		w := &wave{begun: make(chan struct{}), empty: make(chan struct{})}
		g.wave = w
		time.AfterFunc(gathering, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.begin(w)
		})
	}
	w = g.wave
	select {
	case <-w.begun:
		return w, false
	default:
		w.inside++
		g.full(w)
		return w, true
	}
}

// enter waits until a change may be made. written must be called when it has been made; it says whether
// an earlier push may be under way that has only a part of it. leave must be called once its push has
// been computed; it may be called more than once.
func (g *gate) enter(ctx context.Context) (written func() (torn bool), leave func(), err error) {
	for {
		w, member := g.join()
		wait := w.empty
		leave := sync.OnceFunc(func() { g.leave(w) })
		if member {
			wait = w.begun
		}
		select {
		case <-wait:
			if member {
				return func() bool { return g.written(w) }, leave, nil
			}
		case <-ctx.Done():
			if member {
				leave()
			}
			return nil, nil, ctx.Err()
		}
	}
}

func (g *gate) written(w *wave) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	w.torn = w.torn || now.Sub(w.wrote) > late
	w.wrote = now
	return w.torn
}

func (g *gate) leave(w *wave) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.inside--; w.inside == 0 {
		g.begin(w)
		close(w.empty)
		g.wave = nil
	}
}
