package mesh

import (
	"context"
	"sync"
	"time"
)

// shared answers the same question of many askers with one request: each gets the answer to the first
// request that began after it had asked. Lanes ask istiod side by side, and every answer costs istiod a
// walk over all that it holds.
type shared[T any] struct {
	fetch func(context.Context) (T, error)
	pause time.Duration // between the beginnings of two requests

	mu   sync.Mutex
	next *answer[T]    // gathers who asks until its request begins
	turn chan struct{} // holds one while a request is under way
	last time.Time
}

type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newShared[T any](pause time.Duration, fetch func(context.Context) (T, error)) *shared[T] {
	return &shared[T]{fetch: fetch, pause: pause, turn: make(chan struct{}, 1)}
}

func (s *shared[T]) ask(ctx context.Context) (T, error) {
	s.mu.Lock()
	a := s.next
	if a == nil {
		a = &answer[T]{done: make(chan struct{})}
		s.next = a
		// Others may wait for the answer when this asker does not any more; the request has a time limit.
		go s.serve(context.WithoutCancel(ctx), a)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (s *shared[T]) serve(ctx context.Context, a *answer[T]) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if early := s.pause - time.Since(s.last); early > 0 {
		<-time.After(early)
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	s.last = time.Now()
	a.value, a.err = s.fetch(ctx)
	close(a.done)
}
