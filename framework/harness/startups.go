package harness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// startup is something that is started once and waited for by many.
type startup struct {
	done chan struct{}
	err  error
}

func (u *startup) wait(ctx context.Context) error {
	select {
	case <-u.done:
		return u.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *startup) over() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// startups are what was started in the background, once for all who need it.
type startups struct {
	// alive returns a context that ends with the cluster too.
	alive func(context.Context) (context.Context, context.CancelFunc)
	// life ends when the session is closed; what runs in the background ends with it.
	life context.Context //nolint:containedctx // the lifetime of all of them
	end  context.CancelFunc

	mu   sync.Mutex
	once map[string]*startup
	ends []chan struct{} // of what ends again before the session does: each is closed when it has
}

func newStartups(alive func(context.Context) (context.Context, context.CancelFunc)) *startups {
	life, end := context.WithCancel(context.Background())
	return &startups{alive: alive, life: life, end: end, once: map[string]*startup{}}
}

// startOnce starts something in the background unless that was done already.
func (s *startups) startOnce(name string, f func(context.Context) error) *startup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.once[name]; have != nil {
		return have
	}
	u := &startup{done: make(chan struct{})}
	s.once[name] = u
	go func() {
		defer close(u.done)
		// What is started for one case serves the others too, so it must outlive that case.
		ctx, stop := s.alive(s.life)
		defer stop()
		u.err = f(ctx)
	}()
	return u
}

// lookup finds what was started; where it was not, waiting for it is an error.
func (s *startups) lookup(name string) *startup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.once[name]; u != nil {
		return u
	}
	u := &startup{done: make(chan struct{}), err: fmt.Errorf("%q was never started", name)}
	close(u.done)
	return u
}

// begun says whether something was started, whatever came of it.
func (s *startups) begun(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.once[name] != nil
}

// haveStarted says whether all of them are over, well or not.
func (s *startups) haveStarted(names []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(names, func(n string) bool {
		u := s.once[n]
		return u == nil || !u.over()
	})
}

// forget lets something be started anew, and returns what it was; nil where it never was started.
func (s *startups) forget(name string) *startup {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.once[name]
	delete(s.once, name)
	return u
}

// retire ends in the background those that have started, and lets them be started anew. ending takes one out of what runs, and
// returns what ends it; failed hears why that went wrong.
func (s *startups) retire(names []string, ending func(name string) (func(context.Context) error, error), failed func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if started := s.once[name]; started == nil || !started.over() {
			continue
		}
		delete(s.once, name)
		end, err := ending(name) // of one that did not start well, there is none
		if err != nil {
			continue
		}
		ended := make(chan struct{})
		s.ends = append(s.ends, ended)
		go func() {
			defer close(ended)
			ctx, stop := s.alive(s.life)
			defer stop()
			if err := end(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}()
	}
}

// released waits until those have ended that were retired.
func (s *startups) released(ctx context.Context) error {
	s.mu.Lock()
	ends := s.ends
	s.mu.Unlock()
	for _, e := range ends {
		select {
		case <-e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// await waits for those that are meant of what was started.
func (s *startups) await(ctx context.Context, meant func(name string) bool) error {
	s.mu.Lock()
	all := maps.Clone(s.once)
	s.mu.Unlock()
	for name, u := range all {
		if !meant(name) {
			continue
		}
		select {
		case <-u.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
