package harness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Changes that come within the window go together; a later one waits until all of them have left.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		enter := func() func() {
			written, leave, err := g.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			written()
			return leave
		}
		first := enter()
		<-time.After(joining * 3 / 4)
		second := enter()
		<-time.After(joining * 3 / 4) // since the second's write: that is what counts
		third := enter()
		<-time.After(joining)
		late := make(chan time.Time)
		start := time.Now()
		go func() {
			leave := enter()
			late <- time.Now()
			leave()
		}()
		<-time.After(time.Second)
		first()
		first() // leaving twice counts once
		<-time.After(time.Second)
		second()
		third()
		if waited := (<-late).Sub(start); waited != 2*time.Second {
			t.Fatalf("the late change waited %s, wanted until all others had left", waited)
		}
	})
}

// A write that took so long that a push may have begun is told so, and everyone after it.
func TestGateTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		first, leave, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second, leave2, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first() {
			t.Error("a quick write counts as torn")
		}
		<-time.After(2 * late)
		if !second() {
			t.Error("a slow write does not count as torn")
		}
		leave()
		leave2()
		if again, _, err := g.enter(t.Context()); err != nil || again() {
			t.Errorf("the next change is torn as well: %v", err)
		}
	})
}

func TestGateInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		if _, _, err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * joining)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, wanted the context's end", err)
		}
	})
}
