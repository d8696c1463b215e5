package engine

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// busy is a world in which the first attempts of a client fail as they do on a busy machine.
type busy struct {
	*world
	left int
	exit int
}

func (b *busy) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if client != egress.ControlClient && b.left > 0 {
		b.left--
		return Execution{ExitCode: b.exit, Stdout: `{"exitcode": ` + string(rune('0'+b.exit%10)) + `}`}, nil
	}
	return b.world.Do(ctx, client, q)
}

// Describe says that it is a pod of its own: others have not used its ports.
func (b *busy) Describe(client string) (ClientInfo, error) {
	i, err := b.world.Describe(client)
	i.Pod = fmt.Sprintf("%s of %p", client, b)
	return i, err
}

// The lack of a line is no proof of a way around the sidecar where nobody tells what arrived; a client that has none needs no line.
func TestExamineBlind(t *testing.T) {
	for name, x := range map[string]struct {
		w       *world
		from    string
		verdict egress.Verdict
		got     egress.Outcome
	}{
		"a sound mesh":   {&world{}, "client", egress.Conforms, egress.B502},
		"past a sidecar": {&world{allowAny: true, noLines: true}, "client", egress.Inconclusive, egress.Direct},
		"no sidecar":     {&world{}, egress.ControlClient, egress.Violates, egress.Direct},
	} {
		e := engineOf(x.w)
		e.Internet = nil
		bubble(t, func(t *testing.T) {
			if r := e.Ask(t.Context(), []egress.Probe{egress.GET(x.from, "http://httpbin.org/", "-s")})()[0]; r.Verdict != x.verdict || r.Got != x.got {
				t.Errorf("%s: %s %s (%s)", name, r.Got, r.Verdict, r.Why)
			}
		})
	}
}

// What fails for a moment is asked again until it is over; where it stays, nothing is proven.
func TestPassing(t *testing.T) {
	for name, x := range map[string]struct {
		failures int
		got      egress.Outcome
		verdict  egress.Verdict
	}{
		"never":   {0, egress.B502, egress.Conforms},
		"twice":   {2, egress.B502, egress.Conforms},
		"a while": {15, egress.B502, egress.Conforms},
		"always":  {1 << 20, egress.DNSX, egress.Inconclusive},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &busy{world: &world{}, left: x.failures, exit: 6}
			e := engineOf(w.world)
			e.Clients, e.Patience = w, 3*time.Second
			if r := e.Ask(t.Context(), []egress.Probe{egress.GET("client", "http://httpbin.org/", "-s")})()[0]; r.Got != x.got || r.Verdict != x.verdict {
				t.Errorf("%s: %s %s (%s)", name, r.Got, r.Verdict, r.Why)
			}
		})
	}
}
