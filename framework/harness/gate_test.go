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
			leave, err := g.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return leave
		}
		first := enter()
		<-time.After(joining / 2)
		second := enter()
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
		if waited := (<-late).Sub(start); waited != 2*time.Second {
			t.Fatalf("the late change waited %s, wanted until both others had left", waited)
		}
	})
}

func TestGateInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		if _, err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * joining)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, wanted the context's end", err)
		}
	})
}
