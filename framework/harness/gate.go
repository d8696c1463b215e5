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
	// count is how many pushes istiod has computed.
	count func(context.Context) (int64, error)

	mu   sync.Mutex
	crew int // lanes at work; 0 stands for one
	wave *wave
}

// wave is the changes that go to istiod together: they are gathered first and written at once.
type wave struct {
	inside  int
	begun   chan struct{} // closed when nobody joins any more
	counted chan struct{} // closed when before and err are known
	began   time.Time     // when the writing began, after both
	before  int64         // the pushes that had been computed before the writing began
	err     error
	empty   chan struct{} // closed when the last one leaves
}

// gathering is how long a wave waits for lanes to join it.
const gathering = 40 * time.Millisecond

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
		close(w.begun)
	}
}

// join makes the caller a member of the wave that gathers; where one is under way, it is no member.
func (g *gate) join(ctx context.Context) (w *wave, member bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wave == nil {
		w := &wave{begun: make(chan struct{}), counted: make(chan struct{}), empty: make(chan struct{})}
		g.wave = w
		go func() { // while the others gather
			defer close(w.counted)
			w.before, w.err = g.count(ctx)
		}()
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

// entry is a change's place in a wave.
type entry struct {
	began  time.Time // when the writing of the wave began
	before int64     // the pushes that istiod had computed before that
	// leave must be called once the change's push has been computed; it may be called more than once.
	leave func()
}

// enter waits until a change may be made.
func (g *gate) enter(ctx context.Context) (entry, error) {
	for {
		w, member := g.join(context.WithoutCancel(ctx))
		if !member {
			select {
			case <-w.empty:
				continue
			case <-ctx.Done():
				return entry{}, ctx.Err()
			}
		}
		e := entry{leave: sync.OnceFunc(func() { g.leave(w) })}
		for _, wait := range []<-chan struct{}{w.begun, w.counted} {
			select {
			case <-wait:
			case <-ctx.Done():
				e.leave()
				return entry{}, ctx.Err()
			}
		}
		if w.err != nil {
			e.leave()
			return entry{}, w.err
		}
		e.began, e.before = g.began(w), w.before
		return e, nil
	}
}

// began is when the first member of a wave came to write.
func (g *gate) began(w *wave) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.began.IsZero() {
		w.began = time.Now()
	}
	return w.began
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
