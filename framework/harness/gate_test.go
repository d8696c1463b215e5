package harness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func enter(t *testing.T, g *gate) (written func() bool, leave func()) {
	t.Helper()
	written, leave, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return written, leave
}

// Changes that come while a wave gathers are written together; a later one waits until all have left.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.staff(3)
		start := time.Now()
		type entry struct {
			at    time.Duration
			leave func()
		}
		entries := make(chan entry, 3)
		come := func(after time.Duration) {
			go func() {
				<-time.After(after)
				_, leave := enter(t, g)
				entries <- entry{time.Since(start), leave}
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

// Nobody waits for lanes that are not there.
func TestGateFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		start := time.Now()
		_, leave := enter(t, g)
		leave()
		g.staff(2)
		done := make(chan struct{})
		go func() {
			_, leave := enter(t, g)
			leave()
			close(done)
		}()
		synctest.Wait()
		g.staff(-1) // the other lane has nothing left to do
		<-done
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s for nobody", waited)
		}
	})
}

// A write that took so long that a push may have begun is told so, and everyone after it.
func TestGateTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.staff(2)
		written := make(chan func() bool, 2)
		for range 2 {
			go func() {
				w, leave := enter(t, g)
				written <- w
				defer leave()
				<-time.After(3 * late)
			}()
		}
		first, second := <-written, <-written
		if first() {
			t.Error("a quick write counts as torn")
		}
		<-time.After(2 * late)
		if !second() {
			t.Error("a slow write does not count as torn")
		}
		<-time.After(2 * late)
		g.staff(-1)
		if again, _ := enter(t, g); again() {
			t.Error("the next change is torn as well")
		}
	})
}

func TestGateInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		_, leave := enter(t, g)
		for _, leaves := range []bool{false, true} { // beside a wave under way, and while gathering
			if leaves {
				leave()
				g.staff(2)
			}
			ctx, cancel := context.WithTimeout(t.Context(), gathering/2)
			if _, _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, wanted the context's end", err)
			}
			cancel()
		}
	})
}
