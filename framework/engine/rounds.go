package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// try is one probe in one phase with its rounds.
type try struct {
	probe   egress.Probe
	index   int
	phase   egress.Phase
	rounds  []round // all of them
	equal   int     // how many of the last count: those that are alike, and what was made after the result had settled
	err     error
	note    string // what a reader must know about the attempts, beside the evidence
	control *round
	// lost says that the control client had no connection: nothing can be proven, and nothing is worth waiting for.
	lost atomic.Bool
	// controlled is closed when the control client has made its attempt.
	controlled chan struct{}
	// unresolved is the name of which the proxy that refused the attempts has no address, though it has one.
	unresolved string
}

// since is the phase in which the probe's connection began.
func (t *try) since() egress.Phase {
	if t.probe.Hold.Resumes(t.phase) {
		return *t.probe.Hold.From
	}
	return t.phase
}

// carriage is whose egress the probe is.
func (t *try) carriage() carriage { return carriage{t.probe.Carrier(t.phase), t.phase} }

// round is one execution of one probe.
type round struct {
	script Script
	exec   Execution
	err    error
	client egress.ClientWitness
	// counters are those that the probe names, by how much they grew.
	counters map[string]int64
	// command is when and where a shell command ran; nil for any other attempt.
	command *commandRun
	// again says that attempts before it came too late, or to nothing: the control client's.
	again bool
}

// Bounds of repeated attempts.
const (
	// roundPause is the pause between two rounds that came out otherwise than wanted.
	roundPause = 50 * time.Millisecond
	// controlPause is that between two attempts of the control client.
	controlPause = 100 * time.Millisecond
	// controlPatience is how long the control client tries where the case has made nothing yet that could be on its way.
	controlPatience = 2500 * time.Millisecond
	// failedTries is how many attempts may fail without a report before the failure stands.
	failedTries = 5
	// unequalTries is how many times as many attempts as must be equal are made before their inequality stands.
	unequalTries = 5
	// maxSample bounds the attempts that are made to meet each endpoint of a cluster.
	maxSample = 2000
)

// unconnected says whether the control client had no connection though it should.
func (t *try) unconnected() bool {
	wanted := t.probe.Dead || t.probe.Wants[t.phase]&(egress.DNSX|egress.REF) != 0
	return t.control.err == nil && without(t.control.client) && t.probe.Protocol().Stream && !wanted
}

// without says whether a client never had a connection, by its own account.
func without(c egress.ClientWitness) bool { return unreached(c) != 0 && c.Local == "" }

// control makes the attempt from the control client. Names and addresses of the cluster may reach its
// network later than the proxies: kube-proxy takes a second or more for a new Service, and many times that on a busy
// machine. A question to DNS may be lost on its way, and a resolver waits for five seconds until it asks again, which is
// longer than an attempt may take to connect; a late answer leaves too little of that time for the TLS handshake, which
// is part of curl's --connect-timeout. So what is missing or too late is asked for again, as long as a result that is not
// the wanted one is given to change.
func (r *run) control(ctx context.Context, t *try) *round {
	tick := time.NewTicker(controlPause)
	defer tick.Stop()
	start, patience := time.Now(), r.e.Patience
	if t.phase == egress.Before && len(r.c.Setup) == 0 {
		patience = min(patience, controlPatience)
	}
	p, followed := t.probe.ForControl(t.phase), false
	for tries := 1; ; tries++ {
		x := r.execute(ctx, egress.ControlClient, p, t)
		if x.err == nil && x.client.ExitCode == wire.ExitDNS && p.Server != "" && !followed && !p.Protocol().Question {
			p, followed = p.ToServer(), true // the name exists for the mesh alone
			tries--
			continue
		}
		code := x.client.ExitCode
		missing := x.err == nil && (code == wire.ExitDNS || code == wire.ExitRefused || code == wire.ExitTimeout) && !p.Protocol().Question
		if !missing || overdue(time.Since(start), patience, tries) || p.Dead || t.probe.Wants[t.phase]&(egress.DNSX|egress.REF) != 0 {
			x.again = tries > 1
			return &x
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &x
		}
	}
}

// attempts makes a probe's attempts in a phase: until the result has settled, and then as many more as it takes to know
// where they land.
func (r *run) attempts(ctx context.Context, t *try, patience time.Duration) {
	if t.probe.Parallel > 0 {
		r.volleys(ctx, t, patience)
		return
	}
	if r.rounds(ctx, t, patience) {
		r.sample(ctx, t)
	}
}

// rounds repeats a probe until enough rounds in a row are equal. A result that is not the wanted one
// is given time to change; then it stands. It says whether the result is one that may be wanted.
func (r *run) rounds(ctx context.Context, t *try, patience time.Duration) (wanted bool) {
	clock := r.clock(t, patience)
	want := t.probe.Wants[t.phase]
	for made := t.equal == r.e.Equal; ; made = false { // with those of others, see first
		if !made {
			for _, x := range r.together(ctx, t) {
				t.add(x, r.e.Equal)
			}
		}
		x := t.rounds[len(t.rounds)-1]
		if t.equal == r.e.Equal && plausible(t.probe, want, x) {
			return true
		}
		late := clock.over(ctx)
		stable := t.equal == r.e.Equal
		switch {
		case stable && late:
			return false
		case x.err != nil && (late || len(t.rounds) >= failedTries):
			return false
		case late && len(t.rounds) >= unequalTries*r.e.Equal:
			t.err = fmt.Errorf("no %d equal results in a row within %s (%d attempts)", r.e.Equal, patience, len(t.rounds))
			return false
		}
		if !stable || plausible(t.probe, want, x) {
			continue
		}
		pause(ctx, patience) // what is wanted may still be on its way
	}
}

// add takes a round.
func (t *try) add(x round, equal int) {
	if len(t.rounds) == 0 || !alike(t.rounds[len(t.rounds)-1], x) {
		t.equal = 0
	}
	t.rounds = append(t.rounds, x)
	t.equal = min(t.equal+1, equal)
}

// pause waits between two attempts.
func pause(ctx context.Context, patience time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(min(roundPause, patience/10)):
	}
}

// together makes the next attempts, as many as are still to be equal: side by side where each holds a connection for a while, one
// after another otherwise, and by one request where that can be.
func (r *run) together(ctx context.Context, t *try) []round {
	missing := max(1, r.e.Equal-t.equal)
	switch {
	case t.probe.Hold.Within():
		return r.sideBySide(ctx, t, r.e.Equal)
	case missing > 1 && r.batches(t):
		return r.batch(ctx, slices.Repeat([]*try{t}, missing))
	}
	return []round{r.counted(ctx, t)}
}

// batches says whether the agent can make several attempts by one request.
func (r *run) batches(t *try) bool {
	return t.probe.Hold == nil && t.probe.Command == "" && !r.byCurl(t.probe) && len(t.probe.Counts[t.phase]) == 0
}

func (r *run) sideBySide(ctx context.Context, t *try, n int) []round {
	out := make([]round, n)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i] = r.counted(ctx, t) })
	}
	wg.Wait()
	return out
}

// volleys makes attempts at once until as many of them overflow as is wanted, and all others may be wanted, several
// times in a row. What is not wanted stands after a while.
func (r *run) volleys(ctx context.Context, t *try, patience time.Duration) {
	clock := r.clock(t, patience)
	n, good, apart := t.probe.Parallel, 0, 0
	for volleys := 1; ; volleys++ {
		xs := r.sideBySide(ctx, t, n)
		t.rounds = append(t.rounds, xs...)
		var failed error
		for _, x := range xs {
			failed = errors.Join(failed, x.err)
		}
		late := clock.over(ctx)
		together := atOnce(xs)
		switch {
		case failed == nil && !together: // the machine was too busy to make them at once: they show nothing
			good = 0
			if apart++; late && apart >= failedTries {
				t.equal, t.err = n, fmt.Errorf("%d attempts could not be made at once: in %d of %d times the last began after another had ended; let them last longer", n, apart, volleys)
				return
			}
		case failed == nil && r.plausibleVolley(t, xs):
			if good++; good == r.e.Equal {
				t.equal = good * n
				return
			}
			continue
		default:
			good = 0
			if late || failed != nil && volleys >= failedTries {
				t.equal = n
				return
			}
		}
		pause(ctx, patience)
	}
}

// atOnce says whether each attempt began before any that was answered had ended. One that was refused says nothing
// about that: it ends at once.
func atOnce(xs []round) bool {
	var last, first time.Time
	for _, x := range xs {
		if x.exec.Began.After(last) {
			last = x.exec.Began
		}
		if !refused(x) && (first.IsZero() || x.exec.Ended.Before(first)) {
			first = x.exec.Ended
		}
	}
	return first.IsZero() || !last.After(first)
}

// refused says whether an attempt may be one that overflowed, as far as the client can tell.
func refused(x round) bool {
	return x.client.Held == "" && (x.client.ExitCode != 0 || egress.S503UO.Gives(x.client))
}

// plausibleVolley says whether attempts at once may be what a probe wants, as far as the client can tell.
func (r *run) plausibleVolley(t *try, xs []round) bool {
	limit, limited := t.probe.Overflow[t.phase]
	overflows := 0
	for _, x := range xs {
		switch {
		case limited && refused(x):
			overflows++
		case !plausible(t.probe, t.probe.Wants[t.phase], x):
			return false
		}
	}
	return !limited || limit.Has(overflows)
}

// sample goes on after the result has settled: as often as the case says, or until an endpoint of the cluster that
// answers was missed with a chance below one in a million.
func (r *run) sample(ctx context.Context, t *try) {
	n := t.probe.Attempts(t.phase)
	// The live internet does not tell where an attempt landed, and is not called more often than needed.
	if n == 0 && !r.e.blind() && !t.probe.Protocol().Question && t.probe.Hold == nil && !t.probe.Dead {
		endpoints, err := r.endpoints(ctx, t)
		if err != nil {
			t.note = fmt.Sprintf("; how many endpoints may answer is not known (%v)", err)
			return
		}
		n = egress.Misses(endpoints)
		if n > maxSample {
			t.note = fmt.Sprintf("; %d of the %d attempts that meet each of %d endpoints", maxSample, n, len(endpoints))
			n = maxSample
		}
	}
	for t.equal < n && ctx.Err() == nil {
		var xs []round
		switch {
		case t.probe.Hold.Within():
			xs = r.sideBySide(ctx, t, min(n-t.equal, heldTogether))
		case r.batches(t):
			xs = r.batch(ctx, slices.Repeat([]*try{t}, n-t.equal))
		default:
			xs = []round{r.counted(ctx, t)}
		}
		t.rounds = append(t.rounds, xs...)
		t.equal += len(xs)
		for _, x := range xs {
			if x.err != nil {
				return
			}
		}
	}
}

// heldTogether is how many connections of a repeated probe are held side by side.
const heldTogether = 16

// overdue says whether a result that is not the wanted one has had its time to change. On a busy machine the mesh is
// as late as the attempts are, so these count as well, as many as it takes at half the usual pace; a destination that
// lets each of them wait is not waited for that often.
func overdue(took, patience time.Duration, attempts int) bool {
	const stretch = 5
	return took > patience && (attempts > int(patience/(2*roundPause)) || took > stretch*patience)
}

// alike compares two rounds as far as the client can tell.
func alike(a, b round) bool {
	if a.err != nil || b.err != nil {
		return false
	}
	return a.client.HTTPCode == b.client.HTTPCode && a.client.GRPC == b.client.GRPC && (a.client.ExitCode == 0) == (b.client.ExitCode == 0) && a.client.Held == b.client.Held &&
		unreached(a.client) == unreached(b.client)
}

// unreached says why a client had no connection, by its own account: DNSX, REF or TMO; 0 where it had one, or cannot tell.
func unreached(c egress.ClientWitness) egress.Outcome {
	if c.Shell {
		return 0
	}
	switch c.ExitCode {
	case wire.ExitDNS:
		return egress.DNSX
	case wire.ExitRefused:
		return egress.REF
	case wire.ExitTimeout:
		return egress.TMO
	}
	return 0
}

// plausible says whether a round may be the wanted outcome, so that waiting longer has no use. The
// verdict is made later, from all witnesses.
func plausible(p egress.Probe, want egress.Outcome, x round) bool {
	if x.err != nil {
		return false
	}
	c := x.client
	switch {
	case c.Held == probe.HeldCut:
		return want&(egress.Cut|egress.Led) != 0
	case c.Held == probe.HeldOpen:
		return want&(egress.Open|egress.Pass|egress.Direct|egress.Led) != 0
	case without(c) && !want.Has(unreached(c)): // the refusal of a mesh is heard by a connection; a lost question to DNS ends like this
		return false
	case unreached(c) == egress.TMO && want&^egress.AtOnce == 0: // late, as everything is on a busy machine, or held
		return false
	case c.ExitCode != 0:
		return want&^egress.Arrived != 0 || len(p.Arrivals) > 0
	case !c.Refused():
		return want&(egress.Reached|egress.Self|egress.Named|egress.Led) != 0
	case want.Gives(c) || want.Has(egress.Led) || len(p.Arrivals) > 0:
		return true
	}
	// Whose error it is a client cannot tell. Even after an acknowledged push a connection to a gateway that was open
	// before it may get answers by the old rule, from a filter chain that Envoy drains (docs/findings.md).
	return want&egress.Reached != 0 && c.HTTPCode == p.Provokes()
}
