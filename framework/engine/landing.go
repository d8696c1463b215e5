package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// sampled says whether attempts were made after the result had settled: to know where they land, or because the case
// says how often. Of those each one counts by itself.
func (r *run) sampled(t *try) bool { return t.probe.Parallel == 0 && t.equal > r.e.Equal }

// outcome makes one outcome of the rounds that count, and notes where they arrived. Rounds that must be equal have to
// agree. Of those that were made after the result had settled, one that is proven to be another one than wanted is the
// outcome, whatever there was before and after it. decisive is the observation that it rests on.
func (r *run) outcome(p *egress.ProbeResult, t *try) (decisive int, err error) {
	if t.probe.Parallel > 0 {
		return r.volleyOutcome(p, t)
	}
	var unproven, early error
	last, right := len(p.Observations)-1, false
	decisive = last
	for i, o := range p.Observations {
		got, err := egress.Classify(o)
		if errors.Is(err, egress.ErrUnseen) && i < last {
			continue // the listener was being replaced; a later round decides
		}
		if err == nil && r.sampled(t) && !p.Want.Has(got) && network.Has(got) {
			err = fmt.Errorf("%w: attempt %d of %d: %s, wanted %s", egress.ErrDisagree, i+1, last+1, got, p.Want)
		}
		if err != nil {
			if !r.sampled(t) {
				return i, err
			}
			unproven = errors.Join(unproven, err) // another one may be proven
			continue
		}
		before, wanted := p.Got, p.Want.Has(got)
		differs := before != 0 && before != got
		switch {
		case differs && right && !wanted && (r.sampled(t) || got == egress.Led):
			// One that is proven is enough, whatever else there was before: the landing is random.
			note(p, o, got)
			return i, nil
		case differs && !right && wanted && r.sampled(t):
			// What was not wanted before the others may be the last of an old configuration, unless it comes again.
			early = fmt.Errorf("%w: rounds differ: %s, then %s", egress.ErrDisagree, before, got)
		case differs && (!r.sampled(t) || !right || !wanted):
			return i, fmt.Errorf("%w: rounds differ: %s, then %s", egress.ErrDisagree, before, got)
		}
		right = right || wanted
		note(p, o, got)
	}
	return decisive, errors.Join(unproven, early)
}

// note is what a probe came to, and where.
func note(p *egress.ProbeResult, o egress.Observation, got egress.Outcome) {
	p.Got = got
	if a := o.Reception(); a != nil {
		p.Server = a.Server
	}
}

// volleyOutcome is that of attempts at once: those that overflowed are counted, and all others must agree.
func (r *run) volleyOutcome(p *egress.ProbeResult, t *try) (decisive int, err error) {
	limit, limited := t.probe.Overflow[t.phase]
	n := t.probe.Parallel
	for i := 0; i < len(p.Observations); i += n {
		volley := p.Observations[i:min(i+n, len(p.Observations))]
		overflows := 0
		for k, o := range volley {
			got, err := egress.Classify(o)
			switch {
			case err != nil:
				return i + k, err
			case limited && got == egress.S503UO:
				overflows++
			case !p.Want.Has(got):
				note(p, o, got)
				return i + k, nil
			case p.Got == 0 || p.Got == got:
				note(p, o, got)
				decisive = i + k
			default:
				return i + k, fmt.Errorf("%w: of attempts at once, one came out as %s and another as %s", egress.ErrDisagree, p.Got, got)
			}
		}
		p.Overflows = append(p.Overflows, overflows)
		if limited && !limit.Has(overflows) {
			if p.Got == 0 {
				p.Got = egress.S503UO
			}
			return decisive, nil
		}
		if p.Got == 0 { // all of them overflowed, as they should
			p.Got = egress.S503UO
		}
	}
	return decisive, nil
}

// overflowed says how many of the attempts at once overflowed where that is not as wanted; "" where it is.
func overflowed(p *egress.ProbeResult, t *try) string {
	limit, limited := t.probe.Overflow[t.phase]
	for _, n := range p.Overflows {
		if limited && !limit.Has(n) {
			return fmt.Sprintf("%d of %d attempts at once overflowed (503UO), wanted %s", n, t.probe.Parallel, limit)
		}
	}
	return ""
}

// misspread says which share of a probe's attempts is not as wanted; "" for none. It notes where all of them landed.
func (r *run) misspread(p *egress.ProbeResult, t *try) string {
	spread := t.probe.Spread[t.phase]
	all := len(p.Observations)
	for _, o := range p.Observations {
		if a := o.Reception(); a != nil {
			if p.Landings == nil {
				p.Landings = map[string]int{}
			}
			p.Landings[a.Server]++
		}
	}
	if len(spread) == 0 || r.e.blind() {
		return ""
	}
	named := map[string]bool{}
	for _, host := range spread.Hosts() {
		name := r.e.Canonical(host)
		named[name] = true
		if n := p.Landings[name]; spread[host].Contradicts(n, all) {
			return fmt.Sprintf("%d of %d attempts arrived at %s, wanted %s (%s)", n, all, host, spread[host], landings(p))
		}
	}
	for _, host := range slices.Sorted(maps.Keys(p.Landings)) {
		if !named[host] {
			return fmt.Sprintf("%d of %d attempts arrived at %s, which the spread does not name (%s)", p.Landings[host], all, host, landings(p))
		}
	}
	return ""
}

// landings puts into words where attempts arrived.
func landings(p *egress.ProbeResult) string {
	var out []string
	for _, host := range slices.Sorted(maps.Keys(p.Landings)) {
		out = append(out, fmt.Sprintf("%s %d", host, p.Landings[host]))
	}
	return strings.Join(out, ", ")
}

// maxKept bounds the observations of one probe that a report has.
const maxKept = 24

// keepFew leaves the first observations and the decisive one of many.
func keepFew(p *egress.ProbeResult, decisive int) {
	if len(p.Observations) <= maxKept {
		return
	}
	kept := slices.Clone(p.Observations[:maxKept])
	if decisive >= maxKept {
		kept[maxKept-1] = p.Observations[decisive]
	}
	p.Observations = kept
}
