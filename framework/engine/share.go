package engine

import (
	"context"
	"fmt"
	"sync"

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
