package mesh

import (
	"context"
	"sync"
	"time"
)

// batcher lets changes of several workers reach istiod together, and none while it computes a push.
//
// Istio 1.31 loses the deletion of a ServiceEntry that happens while a push for something else is being
// computed (docs/findings.md): the proxy's scope no longer has the service by the time that the deletion's
// own push asks who depends on it, so nobody is told. Changes that fall into one debounce window are one
// push and cannot do that to each other.
type batcher struct {
	// count is how many pushes each istiod has computed.
	count     func(context.Context) (tally, error)
	gathering time.Duration // how long a batch waits for workers to join it

	mu      sync.Mutex
	workers int // that make changes; 0 stands for one
	current *batch
}

// batch is the changes that istiod gets together: they are gathered first and written at once.
type batch struct {
	members int
	full    chan struct{} // closed when nobody joins any more
	counted chan struct{} // closed when before and err are known
	began   time.Time     // when the writing began, after both
	before  tally         // the pushes that had been computed before the writing began
	err     error
	empty   chan struct{} // closed when the last one leaves
}

// add says that so many workers more, or fewer, make changes.
func (b *batcher) add(workers int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.workers += workers
	if b.current != nil {
		b.closeIfComplete(b.current)
	}
}

// closeIfComplete closes a batch that nobody else can join. The caller holds the lock.
func (b *batcher) closeIfComplete(x *batch) {
	if x.members >= b.workers {
		x.close()
	}
}

// close lets nobody join any more. The caller holds the batcher's lock.
func (x *batch) close() {
	select {
	case <-x.full:
	default:
		close(x.full)
	}
}

// join makes the caller a member of the batch that gathers; where one is being written or computed, it is no member.
func (b *batcher) join(ctx context.Context) (x *batch, member bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == nil {
		x := &batch{full: make(chan struct{}), counted: make(chan struct{}), empty: make(chan struct{})}
		b.current = x
		go func() { // while the others gather
			defer close(x.counted)
			x.before, x.err = b.count(ctx)
		}()
		time.AfterFunc(b.gathering, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			x.close()
		})
	}
	x = b.current
	select {
	case <-x.full:
		return x, false
	default:
		x.members++
		b.closeIfComplete(x)
		return x, true
	}
}

// place is a change's place in a batch.
type place struct {
	began  time.Time // when the writing of the batch began
	before tally     // the pushes that each istiod had computed before that
	// leave must be called once the change's push has been computed; it may be called more than once.
	leave func()
}

// enter waits until a change may be made.
func (b *batcher) enter(ctx context.Context) (place, error) {
	for {
		x, member := b.join(context.WithoutCancel(ctx))
		if !member {
			select {
			case <-x.empty:
				continue
			case <-ctx.Done():
				return place{}, ctx.Err()
			}
		}
		p := place{leave: sync.OnceFunc(func() { b.leave(x) })}
		for _, wait := range []<-chan struct{}{x.full, x.counted} {
			select {
			case <-wait:
			case <-ctx.Done():
				p.leave()
				return place{}, ctx.Err()
			}
		}
		if x.err != nil {
			p.leave()
			return place{}, x.err
		}
		p.began, p.before = b.began(x), x.before
		return p, nil
	}
}

// began is when the first member of a batch came to write.
func (b *batcher) began(x *batch) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x.began.IsZero() {
		x.began = time.Now()
	}
	return x.began
}

func (b *batcher) leave(x *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x.members--; x.members == 0 {
		x.close()
		close(x.empty)
		b.current = nil
	}
}
