package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// underWay is how many probes of one client are under way at the same time. Each has its own connections, so there is no limit to what
// can be told apart; it is for the processor, on which attempts that wait for each other time out.
const underWay = 24

// turns are, by client, those that its probes wait for.
type turns map[string]chan struct{}

// of returns what waits for a turn of the client and returns what ends it.
func (t turns) of(client string) (take func() (end func())) {
	c := t[client]
	if c == nil {
		c = make(chan struct{}, underWay)
		t[client] = c
	}
	return func() func() {
		c <- struct{}{}
		return func() { <-c }
	}
}

// maxFirst bounds of how many probes one request makes the first attempts. Those of one that is slow keep the others waiting.
const maxFirst = 8

// shares are a client's tries, those together whose first attempts are made by one request: where there are more than can be under way
// at once, a request for each would cost the processor more than the attempts.
func (r *run) shares(tries []*try) [][]*try {
	var out [][]*try
	var some []*try
	size := max(1, min(maxFirst, len(tries)/underWay))
	for _, t := range tries {
		if t.probe.Parallel > 0 || t.probe.Dead || !r.batches(t) {
			out = append(out, []*try{t})
			continue
		}
		if some = append(some, t); len(some) == size {
			out, some = append(out, some), nil
		}
	}
	if len(some) > 0 {
		out = append(out, some)
	}
	return out
}

// attemptsOf makes the attempts of a share. Each that is made waits for a turn.
func (r *run) attemptsOf(ctx context.Context, share []*try, turn func() (end func()), patience time.Duration) {
	if len(share) > 1 {
		end := turn()
		r.first(ctx, share)
		end()
	}
	var wg sync.WaitGroup
	for _, t := range share {
		wg.Go(func() {
			defer turn()()
			r.attempts(ctx, t, patience)
		})
	}
	wg.Wait()
}

// first makes the first attempts of a share. What is not made, or goes wrong, is left to each of them.
func (r *run) first(ctx context.Context, share []*try) {
	var each []*try
	for _, t := range share {
		each = append(each, slices.Repeat([]*try{t}, r.e.Equal)...)
	}
	for i, x := range r.batch(ctx, each) {
		if x.err != nil {
			return
		}
		each[i].add(x, r.e.Equal)
	}
}

// controls are the control client's attempts of one phase. Probes of several clients that call the same share one: it is
// made in the same window as all of them.
type controls struct {
	turns turns
	made  map[string]func() *round
}

// of returns what makes the control client's attempt for a probe, or waits for the one that is made for another.
func (c *controls) of(ctx context.Context, r *run, t *try) func() *round {
	turn := c.turns.of(egress.ControlClient)
	attempt := sync.OnceValue(func() *round {
		defer turn()()
		return r.control(ctx, t)
	})
	p := t.probe
	if p.Command != "" || p.Hold != nil || p.Protocol().Keeps || p.Through[t.phase] != "" {
		return attempt // it is that probe's own
	}
	key := fmt.Sprintf("%q", []any{p.URL, p.Args, p.Connect, p.SNI, p.Send, p.Bare, p.Server, p.Dead, p.Wants[t.phase]&(egress.DNSX|egress.REF) != 0})
	if c.made == nil {
		c.made = map[string]func() *round{}
	}
	if have := c.made[key]; have != nil {
		return have
	}
	c.made[key] = attempt
	return attempt
}
