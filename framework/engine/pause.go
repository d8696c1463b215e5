package engine

import (
	"context"
	"fmt"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Failing is a phase of a case that does not come out as it claims, by what its clients have seen. What only the other
// witnesses tell, such as the host at which an attempt arrived, is not known yet.
type Failing struct {
	Case   egress.Case
	Phase  egress.Phase
	Probes []FailingProbe
}

// FailingProbe is one probe of such a phase.
type FailingProbe struct {
	Probe   egress.Probe
	Want    egress.Outcome
	Seen    string // by the client, in words
	Carrier string // client whose sidecar carries the egress
}

// span is a part of the arrival log, from its first number to before its last.
type span struct{ from, to int64 }

// pause tells OnFail of a phase in which something failed, while all that the case has applied is still there. What
// arrives meanwhile is whatever somebody tries by hand, and no witness of the case.
func (r *run) pause(ctx context.Context, ph egress.Phase) error {
	if r.e.OnFail == nil {
		return nil
	}
	f := Failing{Case: r.c, Phase: ph}
	for _, t := range r.tries {
		if t.phase == ph && !t.asWanted() {
			f.Probes = append(f.Probes, FailingProbe{Probe: t.probe, Want: t.probe.Wants[ph], Seen: t.seen(), Carrier: t.probe.Carrier(ph)})
		}
	}
	if len(f.Probes) == 0 {
		return nil
	}
	var s span
	var err error
	if _, s.from, err = r.e.arrivals(ctx, noArrivals); err != nil {
		return err
	}
	r.e.OnFail(ctx, f)
	if _, s.to, err = r.e.arrivals(ctx, noArrivals); err != nil {
		return err
	}
	r.pauses = append(r.pauses, s)
	return nil
}

// paused says whether an arrival is of a time at which the case stood still.
func (r *run) paused(a egress.Arrival) bool {
	for _, s := range r.pauses {
		if a.Seq >= s.from && a.Seq < s.to {
			return true
		}
	}
	return false
}

// asWanted says whether the client's last attempt may be what is wanted.
func (t *try) asWanted() bool {
	n := len(t.rounds)
	return t.err == nil && n > 0 && plausible(t.probe, t.probe.Wants[t.phase], t.rounds[n-1])
}

// seen is what the client saw of its last attempt.
func (t *try) seen() string {
	if len(t.rounds) == 0 {
		return "no attempt was made"
	}
	x := t.rounds[len(t.rounds)-1]
	switch c := x.client; {
	case t.err != nil:
		return t.err.Error()
	case x.err != nil:
		return x.err.Error()
	case c.Shell || c.Raw:
		return strings.TrimSpace(fmt.Sprintf("exit %d %s", c.ExitCode, shorten(c.Stderr)))
	default:
		return strings.TrimSpace(fmt.Sprintf("exit %d, status %03d %s", c.ExitCode, c.HTTPCode, shorten(c.Stderr)))
	}
}
