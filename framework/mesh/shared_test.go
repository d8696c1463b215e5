package mesh

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Everybody who asks gets an answer to a request that began after the question, and many questions make
// few requests.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		s := newShared(10*time.Millisecond, func(context.Context) (time.Time, error) {
			requests++
			began := time.Now()
			<-time.After(5 * time.Millisecond)
			return began, nil
		})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * time.Millisecond)
				asked := time.Now()
				began, err := s.ask(t.Context())
				if err != nil || began.Before(asked) {
					t.Errorf("asked at %s, answered by a request of %s: %v", asked, began, err)
				}
			})
		}
		wg.Wait()
		if requests > 6 {
			t.Errorf("%d requests for 40 questions in 40 ms, wanted one each 10 ms", requests)
		}
	})
}

func TestSharedInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(0, func(context.Context) (int, error) { <-time.After(time.Second); return 1, nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, wanted the context's end", err)
		}
		if v, err := s.ask(t.Context()); v != 1 || err != nil {
			t.Errorf("the next asker got %d, %v", v, err)
		}
	})
}
