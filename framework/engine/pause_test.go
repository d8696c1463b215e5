package engine

import (
	"context"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func TestOnFail(t *testing.T) {
	for name, x := range map[string]struct {
		w      *world
		phases []egress.Phase // in which it fails
	}{
		"conforms":                   {&world{}, nil},
		"the rule has no effect":     {&world{deaf: true}, []egress.Phase{egress.Applied}},
		"the rule stays":             {&world{stubborn: true}, []egress.Phase{egress.Removed}},
		"everything is open":         {&world{allowAny: true}, []egress.Phase{egress.Before, egress.Removed}},
		"only the destination knows": {&world{wrongServer: true}, nil},
	} {
		var phases []egress.Phase
		e := engineOf(x.w)
		e.OnFail = func(_ context.Context, f Failing) {
			phases = append(phases, f.Phase)
			if x.w.open != (f.Phase == egress.Applied || x.w.stubborn && f.Phase == egress.Removed) {
				t.Errorf("%s: phase %s does not stand as it was", name, f.Phase)
			}
			if len(f.Probes) != 1 || f.Probes[0].Want == 0 || f.Probes[0].Seen == "" || f.Case.Name != "http-open" {
				t.Errorf("%s: %+v", name, f)
			}
		}
		e.Run(t.Context(), theCase())
		if len(phases) != len(x.phases) {
			t.Errorf("%s: paused in %v, wanted %v", name, phases, x.phases)
		}
	}
}

// What somebody tries by hand in the client's pod, while the case stands still, is no witness of the case.
func TestPausedArrivalsDoNotCount(t *testing.T) {
	for byHand, want := range map[bool]egress.Verdict{true: egress.Violates, false: egress.Inconclusive} {
		w := &world{deaf: true}
		e := engineOf(w)
		call := func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.arrive("", clientIP+":50000")
		}
		e.OnFail = func(_ context.Context, f Failing) {
			if byHand {
				call()
			}
		}
		c := theCase()
		if !byHand { // in the phase itself, it spoils the proof
			w.stray = true
		}
		if r := e.Run(t.Context(), c); r.Verdict != want {
			t.Errorf("by hand: %t: %s (%s)", byHand, r.Verdict, r.Why)
		}
	}
}
