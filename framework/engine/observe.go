package engine

import (
	"context"
	"slices"

	"mesh-egress-conformance/framework/egress"
)

// Observe makes one probe now, changes nothing, and returns it with all witnesses. Any outcome is
// accepted.
func (e *Engine) Observe(ctx context.Context, p egress.Probe) egress.ProbeResult {
	return e.observe(ctx, egress.Case{Name: "probe", Curl: true, Probes: []egress.Probe{p}}, anything)()[0]
}

// passing are failures that a busy machine has for a moment, whatever the mesh does: a name that is not resolved in time,
// a connection that is not made.
const passing = egress.TMO | egress.REF | egress.DNSX | egress.Stall

// Ask makes many probes of what stands and changes nothing. The returned function reads the witnesses, as that of Begin does, and returns
// each probe with them, in their order; what stood must stand until then. Any
// outcome is accepted that is not passing: one that may be is given time to pass, and is not called proven to be the mesh's
// where it stays. Attempts of which curl need not be asked are made by the agents.
func (e *Engine) Ask(ctx context.Context, probes []egress.Probe) (judge func() []egress.ProbeResult) {
	want := anything &^ passing
	if e.blind() { // the lack of a line is no proof of a way around the sidecar
		want &^= egress.Direct
	}
	return e.observe(ctx, egress.Case{Name: "probes", Probes: probes}, want)
}

func (e *Engine) observe(ctx context.Context, c egress.Case, want egress.Outcome) (judge func() []egress.ProbeResult) {
	e.defaults()
	c.Probes = slices.Clone(c.Probes)
	for i := range c.Probes {
		if c.Probes[i].Wants == (egress.Wants{}) {
			want := want
			if c.Probes[i].Server != "" { // a name that the mesh alone may know
				want |= egress.DNSX
			}
			c.Probes[i].Wants = egress.Wants{want, want, want, want}
		}
	}
	r := e.newRun(c)
	err := r.begin(ctx)
	if err == nil {
		err = r.probe(ctx, egress.Before, true)
	}
	return func() []egress.ProbeResult {
		res := egress.Result{Phases: []egress.PhaseResult{{Phase: egress.Before}}}
		r.judge(ctx, &res, err)
		if got := res.Phases[0].Probes; len(got) == len(c.Probes) && len(got) > 0 {
			return got
		}
		out := make([]egress.ProbeResult, len(c.Probes)) // nothing was heard of any
		for i, p := range c.Probes {
			out[i] = egress.ProbeResult{Probe: p.String(), From: p.From, Verdict: egress.Inconclusive, Why: res.Why}
		}
		return out
	}
}
