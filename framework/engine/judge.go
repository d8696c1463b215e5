package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// network are outcomes that are never the mesh's doing.
const network = egress.TMO | egress.REF | egress.DNSX | egress.CERT

// judge reads the witnesses of all phases at once and fills in the verdicts.
func (r *run) judge(ctx context.Context, res *egress.Result, phasesErr error) {
	log, err := r.collect(ctx)
	if err = errors.Join(phasesErr, err); err != nil {
		res.Verdict, res.Why = egress.Inconclusive, joinWhy(res.Why, err.Error())
		if log == nil {
			return
		}
	}
	d, joined := newReceived(log), map[int64]bool{}
	results := make([]egress.ProbeResult, len(r.tries))
	for i, t := range r.tries {
		results[i] = r.witness(ctx, t, d, joined)
	}
	broken, strays := brokenOff(r.tries, results), map[carriage][]egress.Arrival{}
	for i, t := range r.tries {
		c := t.carriage()
		if _, known := strays[c]; !known {
			strays[c] = r.strays(c, d, joined, broken)
		}
		r.verdict(&results[i], t, strays[c])
		for k := range res.Phases {
			if res.Phases[k].Phase == t.phase {
				res.Phases[k].Probes = append(res.Phases[k].Probes, results[i])
			}
		}
	}
	r.noteNoEffect(res.Phases)
	if res.Verdict == "" {
		res.Verdict, res.Why = overall(results)
	}
	if len(r.accepted) > 0 && res.Verdict == egress.Conforms {
		res.Verdict, res.Why = egress.Violates, "the API server accepted "+strings.Join(r.accepted, ", ")
	}
	r.checkUnchanged(res)
}

func joinWhy(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// collect makes sure that both logs are complete up to now, and reads the destination's.
func (r *run) collect(ctx context.Context) ([]egress.Arrival, error) {
	if err := r.completeAll(ctx); err != nil {
		return nil, err
	}
	var err error
	if r.gateways, err = r.e.Mesh.Gateways(ctx); err != nil {
		return nil, fmt.Errorf("find the gateways of the mesh: %w", err)
	}
	log, _, err := r.e.arrivals(ctx, r.since)
	return log, err
}

// completeAll makes sure that the access logs of all clients have everything up to now. What is wrong with one client's is the
// business of its probes.
func (r *run) completeAll(ctx context.Context) error {
	names := r.c.Clients()
	infos := make([]ClientInfo, len(names))
	for i, name := range names {
		var err error
		if infos[i], err = r.e.Clients.Describe(name); err != nil {
			return err
		}
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		if infos[i].Captured {
			wg.Go(func() { errs[i] = r.complete(ctx, name, infos[i]) })
		}
	}
	wg.Wait()
	for i, name := range names {
		for _, t := range r.tries {
			if errs[i] != nil && (t.probe.From == name || t.probe.Carrier(t.phase) == name) {
				t.err = errors.Join(t.err, errs[i])
			}
		}
	}
	return nil
}

// complete makes sure that a client's access log has everything up to now.
func (r *run) complete(ctx context.Context, name string, info ClientInfo) error {
	err := r.e.Mesh.Flush(ctx, name)
	// A connection's line is written when it has closed, by the proxy's worker that had it; another
	// worker may have been quicker with the line that ends the flush.
	if err == nil && r.unlogged(ctx, name, info) {
		err = r.e.Mesh.Flush(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("the access log of client %q is not complete: %w", name, err)
	}
	return nil
}

// target is the host at which a probe must arrive, by the name that the destination's log has.
func (r *run) target(t *try) string {
	target := t.probe.Target(t.phase)
	if target == "" || target == egress.Anywhere {
		return target
	}
	return r.e.Canonical(target)
}

// answered says whether the control client got an answer to what went over a connection. Only then is a timeout of
// another client the mesh's doing.
func (t *try) answered() bool {
	return t.control != nil && t.control.err == nil && (t.probe.Protocol().Stream || t.probe.Command != "") && gotAnswer(t.control.client)
}

// gotAnswer says whether a client without a sidecar was answered, and not with a server's trouble.
func gotAnswer(c egress.ClientWitness) bool {
	return c.ExitCode == 0 && (c.Shell || c.Raw || c.HTTPCode > 0 && c.HTTPCode < 500)
}

// unlogged says whether a client's sidecar has no line of one of its rounds.
func (r *run) unlogged(ctx context.Context, client string, info ClientInfo) bool {
	for _, t := range r.tries {
		if t.probe.From != client || t.probe.Through[t.phase] != "" || t.probe.Protocol().Question {
			continue
		}
		for _, x := range t.rounds {
			if x.err != nil {
				continue
			}
			if found, err := r.lines(ctx, t.probe, t.phase, x, info); err != nil || len(found) == 0 {
				return true
			}
		}
	}
	return false
}

// witness joins the three witnesses of each round by connection.
func (r *run) witness(ctx context.Context, t *try, d *received, joined map[int64]bool) egress.ProbeResult {
	p := egress.ProbeResult{Probe: t.probe.String(), From: t.probe.From, Phase: t.phase, Want: t.probe.Wants[t.phase], Rounds: len(t.rounds)}
	carrier, err := r.e.Clients.Describe(t.probe.Carrier(t.phase))
	if err != nil {
		t.err = errors.Join(t.err, err)
		return p
	}
	for i, x := range t.rounds {
		last := i >= len(t.rounds)-t.equal
		if x.err != nil {
			if last {
				t.err = errors.Join(t.err, x.err)
			}
			continue
		}
		o := egress.Observation{ID: x.script.ID, Client: x.client, Captured: carrier.Captured, Target: r.target(t), Answered: t.answered(), DNS: t.probe.Protocol().Question, Blind: r.e.blind(), Counters: x.counters}
		if carrier.Captured {
			if o.Mesh, err = r.lines(ctx, t.probe, t.phase, x, carrier); err != nil && last {
				t.err = errors.Join(t.err, err)
			}
		}
		since := r.starts[t.since()]
		if o.Hops, err = r.hops(ctx, o.Line(), d.carrying(x.script.ID, since)); err != nil && last {
			t.err = errors.Join(t.err, err)
		}
		if o.Client.Local == "" && x.command != nil {
			sidecar, err := r.upstreams(ctx, t.probe.Carrier(t.phase), carrier)
			if err != nil && last {
				t.err = errors.Join(t.err, err)
			}
			o.Client.Local = foundLocal(o, x, carrier, sidecar, d.from(since))
		}
		o.Arrivals = d.of(o, since, joined) // earlier rounds too: their arrivals are explained
		if last {
			p.Observations = append(p.Observations, o)
		}
	}
	if t.probe.Command != "" {
		if l, err := r.unexplained(ctx, t.probe.Carrier(t.phase), carrier); err != nil || l != nil {
			if err == nil {
				err = fmt.Errorf("%w: the pod of client %q makes connections of its own (%s to %s at %s), from which those of a command cannot be told", egress.ErrDisagree, t.probe.Carrier(t.phase), l.DownstreamRemote, l.DownstreamLocal, l.StartTime)
			}
			t.err = errors.Join(t.err, err)
		}
	}
	p.Control = r.controlWitness(t, d, joined)
	return p
}

// controlWitness asks the destination's log whether the control client got through.
func (r *run) controlWitness(t *try, d *received, joined map[int64]bool) *egress.Control {
	c := &egress.Control{}
	x := t.control
	if x == nil || x.err != nil {
		c.Detail = "the control client's command failed"
		if x != nil {
			c.Detail += ": " + x.err.Error()
		}
		return c
	}
	info, err := r.e.Clients.Describe(egress.ControlClient)
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	c.Client = x.client
	if r.e.blind() {
		c.Reached = gotAnswer(x.client)
		c.Detail = fmt.Sprintf("exit %d, status %d at %s", x.client.ExitCode, x.client.HTTPCode, x.client.Remote)
		return c
	}
	since := r.starts[t.since()]
	candidates := d.about(since, x.script.ID, x.client.Local)
	if x.command != nil {
		candidates = nil
		for _, a := range d.from(since) {
			candidates = append(candidates, &a)
		}
	}
	for _, a := range candidates {
		byCommand := x.command.received(a.Seq) && x.command.mayHave(a.Peer, info)
		// Its own end is enough: a Service may have changed the other, no sidecar shares the pod, and a port is not given to another
		// attempt for long after.
		mine := fromRound(a.Peer, x.client.Remote, *x, info)
		if !byCommand && !mine && a.ProbeID != x.script.ID {
			continue
		}
		joined[a.Seq] = true
		if a.Server == r.e.Canonical(t.probe.Destination()) {
			c.Reached, c.Arrival = true, a
		}
	}
	switch {
	case c.Reached:
		c.Detail = fmt.Sprintf("arrived at %s from %s", c.Arrival.Server, c.Arrival.Peer)
	default:
		c.Detail = fmt.Sprintf("exit %d, status %d, no arrival at %s", c.Client.ExitCode, c.Client.HTTPCode, t.probe.Destination())
	}
	return c
}

// verdict compares what the witnesses prove with what the case wants.
func (r *run) verdict(p *egress.ProbeResult, t *try, strays []egress.Arrival) {
	fail := func(v egress.Verdict, format string, a ...any) {
		p.Verdict, p.Why, p.Unexplained = v, fmt.Sprintf(format, a...), strays
	}
	p.Evidence = evidence(p.Observations, strays)
	if t.err != nil {
		fail(egress.Inconclusive, "%v", t.err)
		return
	}
	decisive, err := r.outcome(p, t)
	defer func() { keepFew(p, decisive) }()
	if err != nil {
		if len(strays) > 0 {
			err = fmt.Errorf("%w; %s", err, unexplained(strays))
		}
		fail(egress.Inconclusive, "%v", err)
		return
	}
	if n := len(p.Observations); n > 0 {
		p.Evidence = evidence(p.Observations[:decisive+1], strays) + t.note + grown(p.Observations[n-1].Counters)
	}
	if p.Got == egress.Cut && p.Control.Client.Held == probe.HeldCut {
		fail(egress.Inconclusive, "the connection was cut, and so was that of the control client: it is not the mesh that cuts it")
		return
	}
	// A name that does not exist yet exists for nobody.
	unknown := p.Got == egress.DNSX && p.Control.Client.ExitCode == wire.ExitDNS
	if p.Control.Reached == t.probe.Dead && !t.probe.Protocol().Question && !unknown {
		if t.probe.Dead {
			fail(egress.Inconclusive, "the target is said to be unreachable, but the control client reached it")
		} else {
			fail(egress.Inconclusive, "the control client could not reach the target (%s): nothing is proven about the mesh", p.Control.Detail)
		}
		return
	}
	if (egress.Blocked | egress.Stall).Has(p.Got) && len(strays) > 0 {
		fail(egress.Inconclusive, "%s, but %s", p.Got, unexplained(strays))
		return
	}
	switch {
	case overflowed(p, t) != "":
		fail(egress.Violates, "%s", overflowed(p, t))
	case t.probe.Parallel > 0 && p.Got == egress.S503UO && len(t.probe.Overflow) > 0:
		p.Verdict = egress.Conforms // all of them overflowed, as they should
	case p.Want.Has(p.Got):
		p.Verdict = egress.Conforms
		r.details(p, t, fail)
	case p.Got == egress.Direct && r.e.blind() && p.Observations[0].Captured:
		// The lack of a line is no proof that the sidecar was passed by, where the destination does not tell.
		fail(egress.Inconclusive, "answered, and the sidecar's log has no line of it: traffic is not captured, or the log lost it; wanted %s", p.Want)
	case (egress.S503UH | egress.S503DF).Has(p.Got) && t.unresolved != "":
		fail(egress.Inconclusive, "%s, wanted %s: the proxy has no address of %s, which the control client resolves, so its question to DNS was not answered; Envoy asks again after a minute (dnsRefreshRate of the mesh)", p.Got, p.Want, t.unresolved)
	case network.Has(p.Got):
		fail(egress.Inconclusive, "%s, wanted %s: %s", p.Got, p.Want, p.Got.Meaning())
	case p.Got == egress.Led:
		fail(egress.Violates, "LED, wanted %s: it arrived at %s, and is meant for %s", p.Want, p.Server, t.probe.Target(t.phase))
	case p.Got == egress.Stall:
		fail(egress.Violates, "STALL, wanted %s: the client timed out, and the control client was answered (%s)", p.Want, p.Evidence)
	default:
		fail(egress.Violates, "%s, wanted %s", p.Got, p.Want)
	}
}

// details are the further demands of a probe: the right network, encryption, the right output.
func (r *run) details(p *egress.ProbeResult, t *try, fail func(egress.Verdict, string, ...any)) {
	reached := egress.Arrived.Has(p.Got)
	within, output := t.probe.Within[t.phase], t.probe.Output[t.phase]
	if why := r.misspread(p, t); why != "" {
		fail(egress.Violates, "%s", why)
		return
	}
	for _, o := range p.Observations {
		a := o.Reception()
		if t.probe.Parallel > 0 || r.sampled(t) { // they may differ among what is wanted
			if got, err := egress.Classify(o); err != nil || got != p.Got {
				continue
			}
		}
		if reached && within != "" && !egress.AddrIn(o.Reached(), within) {
			fail(egress.Violates, "arrived at an address outside %s", within)
			return
		}
		if reached && t.probe.Encrypted[t.phase] && !o.Encrypted() {
			fail(egress.Violates, "arrived in plain text, wanted TLS")
			return
		}
		if output != "" && regexp.MustCompile(output).MatchString(o.Client.Stdout) != (egress.Arrived|egress.Named).Has(p.Got) {
			fail(egress.Violates, "%s, but the output is %.100q", p.Got, o.Client.Stdout)
			return
		}
		if why := unlike("the sidecar's line", o.Line(), t.probe.AccessLog[t.phase]); why != "" {
			fail(egress.Violates, "%s", why)
			return
		}
		if why := unlike("the gateway's line", o.GatewayLine(), t.probe.GatewayLog[t.phase]); why != "" {
			fail(egress.Violates, "%s", why)
			return
		}
		if why := unlike("the arrival", a, t.probe.Arrival[t.phase]); why != "" {
			fail(egress.Violates, "%s", why)
			return
		}
		if why := miscounted(o, t.probe.Counts[t.phase]); why != "" {
			fail(egress.Violates, "%s", why)
			return
		}
		if n, ok := t.probe.Arrivals[t.phase]; ok && o.Caused() != n {
			fail(egress.Violates, "%d arrivals, wanted %d", o.Caused(), n)
			return
		}
	}
}

// overall is the case's verdict: a proven violation outweighs what could not be proven.
func overall(ps []egress.ProbeResult) (egress.Verdict, string) {
	for _, v := range []egress.Verdict{egress.Violates, egress.Inconclusive} {
		for _, p := range ps {
			if p.Verdict == v {
				return v, fmt.Sprintf("phase %s, %s: %s", p.Phase, p.Probe, p.Why)
			}
		}
	}
	return egress.Conforms, ""
}

// checkUnchanged demands that the named clients are the same pods in all phases.
func (r *run) checkUnchanged(res *egress.Result) {
	r.checkSteady(res)
	for name, ids := range r.idents {
		for _, id := range ids {
			if id != ids[0] && res.Verdict == egress.Conforms {
				res.Verdict = egress.Violates
				res.Why = fmt.Sprintf("client %q changed while the case ran: %s, then %s", name, ids[0], id)
			}
		}
	}
}

// checkSteady demands that a steady probe's answer is the same in all phases.
func (r *run) checkSteady(res *egress.Result) {
	first := map[int]string{}
	for _, t := range r.tries {
		if !t.probe.SameOutput || len(t.rounds) == 0 || res.Verdict != egress.Conforms {
			continue
		}
		now := t.rounds[len(t.rounds)-1].client.Stdout
		before, seen := first[t.index]
		if !seen {
			first[t.index] = now
		} else if now != before {
			res.Verdict = egress.Violates
			res.Why = fmt.Sprintf("%s: the answer was %.100q and is %.100q in phase %s", t.probe, before, now, t.phase)
		}
	}
}
