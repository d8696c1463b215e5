package mesh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func enter(t *testing.T, b *batcher) place {
	t.Helper()
	e, err := b.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// gathering is how long batches wait for others in these tests.
const gathering = 40 * time.Millisecond

func uncounted(context.Context) (tally, error) { return nil, nil }

// Changes that come while a batch gathers are written together; a later one waits until all have left.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{count: uncounted, gathering: gathering}
		b.add(3)
		start := time.Now()
		type coming struct {
			at    time.Duration
			leave func()
		}
		entries := make(chan coming, 3)
		come := func(after time.Duration) {
			go func() {
				<-time.After(after)
				e := enter(t, b)
				entries <- coming{e.began.Sub(start), e.leave}
			}()
		}
		come(0)
		come(gathering / 2)
		come(2 * gathering)
		first, second := <-entries, <-entries
		if first.at != gathering || second.at != gathering {
			t.Errorf("the first two wrote after %s and %s, wanted %s", first.at, second.at, gathering)
		}
		<-time.After(time.Second)
		first.leave()
		first.leave() // leaving twice counts once
		<-time.After(time.Second)
		second.leave()
		if late := <-entries; late.at < 2*time.Second {
			t.Errorf("the late change did not wait until both had left: %s", late.at)
		}
	})
}

// Nobody waits for workers that are not there.
func TestBatchComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{count: uncounted, gathering: gathering}
		start := time.Now()
		enter(t, b).leave()
		b.add(2)
		done := make(chan struct{})
		go func() {
			enter(t, b).leave()
			close(done)
		}()
		synctest.Wait()
		b.add(-1) // the other worker has nothing left to do
		<-done
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s for nobody", waited)
		}
	})
}

// The pushes from before are counted while the batch gathers, before anybody writes; without the count nobody does.
func TestBatchCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{gathering: gathering, count: func(context.Context) (tally, error) {
			<-time.After(2 * gathering)
			return tally{DefaultRevision: {pushes: counts{"istiod": 7}}}, nil
		}}
		b.add(2)
		start := time.Now()
		e := enter(t, b)
		if e.before[DefaultRevision].pushes["istiod"] != 7 || e.began.Sub(start) != 2*gathering {
			t.Errorf("before %v, began after %s", e.before, e.began.Sub(start))
		}
		e.leave()
		b.count = func(context.Context) (tally, error) { return nil, errors.New("istiod is away") }
		if _, err := b.enter(t.Context()); err == nil {
			t.Error("a change is made though istiod does not answer")
		}
		b.count = uncounted
		enter(t, b).leave() // the batch that failed is over
	})
}

func TestBatchInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{count: uncounted, gathering: gathering}
		leave := enter(t, b).leave
		for _, leaves := range []bool{false, true} { // beside a batch under way, and while gathering
			if leaves {
				leave()
				b.add(2)
			}
			ctx, cancel := context.WithTimeout(t.Context(), gathering/2)
			if _, err := b.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, wanted the context's end", err)
			}
			cancel()
		}
	})
}
