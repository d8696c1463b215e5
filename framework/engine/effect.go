package engine

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// Whoever writes an object that does nothing (a host misspelled, a selector that selects nobody) gets the outcomes of
// before, and looks for the reason in the wrong place. So where a phase has not come out as wanted, its sidecars are
// asked when they last changed anything.

// dumpURL is where a sidecar shows its configuration to the pod that it is in. Envoy notes for each listener, cluster
// and route when it was last changed, and leaves the time alone where an update says what is there already.
const dumpURL = "http://127.0.0.1:15000/config_dump"

// askUpdates asks for these times alone: a whole dump may have more bytes than the probe agent hands on.
const askUpdates = `curl -sS -f -m 5 ` + dumpURL + ` | grep -o '"last_updated": *"[^"]*"'`

var updatedRE = regexp.MustCompile(`"last_updated":\s*"([^"]+)"`)

// lastUpdate is the latest change that a dump tells of; the zero time where it tells of none.
func lastUpdate(dump string) time.Time {
	var last time.Time
	for _, m := range updatedRE.FindAllStringSubmatch(dump, -1) {
		if t, err := time.Parse(time.RFC3339Nano, m[1]); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// noteUpdates notes when the sidecars of a phase's probes last changed anything, where a probe cannot have come out as
// wanted. A sidecar that does not tell is left out: it is for a note, and not for the verdict.
func (r *run) noteUpdates(ctx context.Context, ph egress.Phase) {
	for _, t := range r.tries {
		if ph == egress.Before || t.phase != ph || len(t.rounds) == 0 || plausible(t.probe, t.probe.Wants[ph], t.rounds[len(t.rounds)-1]) {
			continue
		}
		name := t.probe.Carrier(ph)
		if info, err := r.e.Clients.Describe(name); err != nil || !info.Captured || !r.updates[ph][name].IsZero() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, r.e.ProbeTimeout)
		out, err := r.e.Clients.Do(ctx, name, probe.Request{Argv: []string{"sh", "-c", askUpdates}})
		cancel()
		if err != nil || out.ExitCode != 0 {
			continue
		}
		if r.updates[ph] == nil {
			r.updates[ph] = map[string]time.Time{}
		}
		r.updates[ph][name] = lastUpdate(out.Stdout)
	}
}

// noteNoEffect adds a note to each phase in which sidecars have changed nothing since the phase before: their last
// change is older than an attempt of that phase, both by the proxy's clock.
func (r *run) noteNoEffect(phases []egress.PhaseResult) {
	for i := 1; i < len(phases); i++ {
		ph := &phases[i]
		var names []string
		for name, last := range r.updates[ph.Phase] {
			attempt := latestLine(phases[i-1].Probes, name)
			if !last.IsZero() && !attempt.IsZero() && last.Before(attempt) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			ph.Notes = append(ph.Notes, fmt.Sprintf("the sidecar of %s has changed no listener, route or cluster since phase %s: what phase %s did to objects means nothing to it (host, exportTo, selector, namespace?)", name, phases[i-1].Phase, ph.Phase))
		}
	}
}

// latestLine is when the last attempt began of which a client's sidecar has written a line.
func latestLine(probes []egress.ProbeResult, client string) time.Time {
	var last time.Time
	for _, p := range probes {
		if p.From != client {
			continue
		}
		for _, o := range p.Observations {
			for _, l := range o.Mesh {
				if t := l.Start(); t.After(last) {
					last = t
				}
			}
		}
	}
	return last
}
