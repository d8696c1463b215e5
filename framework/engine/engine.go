// Package engine runs a case: before, applied, removed. It makes verdicts out of three witnesses and
// knows neither Ginkgo nor Kubernetes; what it needs of the world are the small interfaces below.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/probe"
)

// Script is a request to a client's probe agent, with what is needed to find its connections again.
type Script struct {
	probe.Request
	ID string
	// Ports are the first and the last client port that the command may use.
	Ports [2]int
}

// Execution is what a command left behind.
type Execution struct {
	ExitCode       int
	Stdout, Stderr string
	// Began and Ended are by the clock of the client's node, which its sidecar has too; zero where they are not known.
	Began, Ended time.Time
}

// Clients runs commands in client pods.
type Clients interface {
	// Do makes a request of a client's probe agent; an error means that nothing is known about its effect.
	Do(ctx context.Context, client string, q probe.Request) (Execution, error)
	// Describe says who a client is.
	Describe(client string) (ClientInfo, error)
	// Identity changes when the client's pod or image does.
	Identity(ctx context.Context, client string) (string, error)
}

// ClientInfo is a client as the network sees it.
type ClientInfo struct {
	IP string
	// Also are further addresses of its pod: that of the other family, where it has both.
	Also []string
	// Pod tells the client's pod from those of all clusters that the process uses, which may have the same addresses;
	// left out, the address does.
	Pod      string
	Captured bool // it has a sidecar
}

// owns says whether an address, without port, is the client's.
func (i ClientInfo) owns(host string) bool { return host == i.IP || slices.Contains(i.Also, host) }

// toward is the client's address at its end of a connection to another address: the one of its family.
func (i ClientInfo) toward(remote string) string {
	six := func(a string) bool { return strings.Contains(a, ":") }
	for _, a := range append([]string{i.IP}, i.Also...) {
		if six(a) == six(remote) {
			return a
		}
	}
	return i.IP
}

// pod names the client's pod for what is kept by pod: ports that were handed out, commands that ran.
func (i ClientInfo) pod() string { return cmp.Or(i.Pod, i.IP) }

// Rules applies and removes what a case is about, and waits until the proxies of the case's clients
// have it.
type Rules interface {
	// Ready makes sure that the case's proxies have nothing of what other cases have changed.
	Ready(ctx context.Context, c egress.Case) error
	// Setup applies what a case presupposes; Clean removes it.
	// An error of Clean that is ErrUntold says that all of it is removed.
	Setup(ctx context.Context, c egress.Case) error
	Clean(ctx context.Context, c egress.Case) error
	Apply(ctx context.Context, c egress.Case) (Change, error)
	// Change makes the case's change while it is applied.
	Change(ctx context.Context, c egress.Case) (Change, error)
	Remove(ctx context.Context, c egress.Case) (Change, error)
}

// ErrUntold says that a change was made of which proxies may not know, and that nothing could be done about it. Ready frees other cases of
// that doubt.
var ErrUntold = errors.New("carry a change to the proxies that istiod may have lost")

// Change says how a change reached the proxies.
type Change struct {
	Acknowledged bool
	Notes        []string
	Took         time.Duration
	Applied      []string // YAML of the resources
	// Accepted are objects that the API server should have refused and took.
	Accepted []string
}

// Mesh is the second witness.
type Mesh interface {
	// Flush returns when every line that a client's proxy wrote before the call can be read.
	Flush(ctx context.Context, client string) error
	// Mark is how many lines of a client's proxy, or of a gateway, have been read so far.
	Mark(proxy string) int
	// Lines returns those lines of a client's proxy, or of a gateway, that came after a mark. A gateway cannot be flushed, so
	// there it waits for one.
	Lines(ctx context.Context, proxy string, mark int, q egress.Lines) ([]egress.AccessLog, error)
	// Gateways are the router proxies whose logs can be read, whoever made them, those that have ended too; the
	// youngest is the last.
	Gateways(ctx context.Context) ([]Gateway, error)
}

// Gateway is a proxy through which others send their traffic. What it is is known by its own configuration, and that
// a connection leads to it by the addresses of its pod, not by anybody's name.
type Gateway struct {
	Name      string   // under which Mark and Lines know it
	Addresses []string // of its pod, without port
}

// Proxies are asked what they know.
type Proxies interface {
	// Page fetches lines of a page, such as "/clusters", of the administration interface of a client's proxy, or of a
	// gateway's.
	Page(ctx context.Context, proxy string, page probe.Page) (string, error)
}

// Internet is the third witness. The live internet has none, see Engine.
type Internet interface {
	Arrivals(ctx context.Context, since int64) (log []egress.Arrival, next int64, err error)
}

// Engine runs cases in one world.
type Engine struct {
	Clients Clients
	Rules   Rules
	Mesh    Mesh
	// Proxies is nil where only the clients' own sidecars can be asked, through Clients.
	Proxies Proxies
	// Internet is nil where the internet is the live one, which tells nobody what arrived: two witnesses and
	// the control client must do then.
	Internet Internet

	// Version of Istio, such as "1.31".
	Version string
	// Features that the world has.
	Features []egress.Feature
	// Canonical turns any name of a host into the one under which the destination's log knows it.
	Canonical func(string) string
	// Expand replaces placeholders such as ${INGRESS_IP} in URLs.
	Expand func(string) string
	// Rerun names the command that runs a case again.
	Rerun func(egress.Case) string

	// OnFail hears of a phase that does not come out as claimed, while the case still stands as it is; the case goes on when
	// it returns. nil hears nothing.
	OnFail func(ctx context.Context, f Failing)

	// Limits are the time limits; left out, those of a machine of usual speed.
	Limits limits.Limits
	// Equal is how many equal rounds in a row make a result; 0 means 2.
	Equal int
	// Patience bounds the rounds of a phase whose result is not the wanted one; 0 means Limits.Probe.Phase. After an
	// acknowledged push two thirds of it are enough: istiod may have pushed for another reason just before
	// it had worked out the change.
	Patience time.Duration
	// ProbeTimeout bounds one command; 0 means Limits.Probe.Command.
	ProbeTimeout time.Duration

	once sync.Once
}

func (e *Engine) defaults() {
	e.once.Do(func() {
		e.Limits = e.Limits.OrDefault()
		if e.Equal == 0 {
			e.Equal = 2
		}
		if e.Patience == 0 {
			e.Patience = e.Limits.Probe.Phase
		}
		if e.ProbeTimeout == 0 {
			e.ProbeTimeout = e.Limits.Probe.Command
		}
		if e.Expand == nil {
			e.Expand = func(s string) string { return s }
		}
		if e.Canonical == nil {
			e.Canonical = func(s string) string { return s }
		}
	})
}

// Applicable says whether a case can run here, and if not, with which verdict and why.
func (e *Engine) Applicable(c egress.Case) (egress.Verdict, string) {
	if ok, why := c.AppliesTo(e.Version); !ok {
		return egress.NotApplicable, why
	}
	for _, need := range c.Needs {
		found := false
		for _, have := range e.Features {
			found = found || have == need
		}
		if !found {
			return egress.Skipped, fmt.Sprintf("needs %s: %s", need, need.Meaning())
		}
	}
	return "", ""
}

// NotRun is egress.NotRun with the command that runs the case again.
func (e *Engine) NotRun(c egress.Case, v egress.Verdict, why string) egress.Result {
	r := egress.NotRun(c, v, why)
	if e.Rerun != nil {
		r.Rerun = e.Rerun(c)
	}
	return r
}

// Run runs one case, if it can run here, and returns its verdict with everything that it rests on. It never fails: what
// goes wrong is part of the result. The case's resources are removed even if ctx ends.
func (e *Engine) Run(ctx context.Context, c egress.Case) egress.Result {
	if v, why := e.Applicable(c); v != "" {
		return e.NotRun(c, v, why)
	}
	return e.Begin(ctx, c)()
}

// Begin is Run of a case that can run here, up to the verdict, which the returned function makes: it only reads what the
// witnesses have written, so the next case may already run, in the same pods too.
func (e *Engine) Begin(ctx context.Context, c egress.Case) (judge func() egress.Result) {
	e.defaults()
	res := e.NotRun(c, "", "")
	r := e.newRun(c.On(e.Version))
	err := r.phases(ctx, &res)
	res.Took = time.Since(res.Started)
	return func() egress.Result {
		r.judge(ctx, &res, err)
		return res
	}
}

// run is the state of one case that is running.
type run struct {
	e      *Engine
	c      egress.Case
	id     string                 // names the connections that are kept from probe to probe
	since  int64                  // first arrival that may belong to this case
	until  int64                  // first one that belongs to whatever runs in its pods next
	starts map[egress.Phase]int64 // first arrival that may belong to a phase
	marks  map[string]int         // by proxy: its lines before the case began
	tries  []*try
	// gateways of the mesh when the witnesses are read.
	gateways []Gateway
	idents   map[string][]string
	// updates are when sidecars last changed anything, by phase and client, where that may explain an outcome.
	updates map[egress.Phase]map[string]time.Time
	// accepted are objects that should have been refused.
	accepted []string
	// clusters are those of each proxy in each phase, asked for once.
	clusters clusterPages
	// pauses are the parts of the arrival log that were written while the case stood still.
	pauses []span
	// released says that the connections that probes have left open are closed.
	released bool
}

// noArrivals asks for nothing but the next number.
const noArrivals = 1 << 62

func (e *Engine) newRun(c egress.Case) *run {
	return &run{e: e, c: c, id: ids.id(), until: noArrivals, starts: map[egress.Phase]int64{}, marks: map[string]int{}, idents: map[string][]string{}, updates: map[egress.Phase]map[string]time.Time{}}
}

// blind says whether the internet does not tell what arrived.
func (e *Engine) blind() bool { return e.Internet == nil }

// arrivals asks the destination's log; on the live internet there is none, and so nothing in it.
func (e *Engine) arrivals(ctx context.Context, since int64) ([]egress.Arrival, int64, error) {
	if e.blind() {
		return []egress.Arrival{}, 0, nil
	}
	log, next, err := e.Internet.Arrivals(ctx, since)
	if err != nil {
		return nil, next, fmt.Errorf("the destination's log cannot be read: %w", err)
	}
	if log == nil {
		log = []egress.Arrival{}
	}
	return log, next, nil
}

// begin notes where the logs of all witnesses stand, so that nothing from before counts.
func (r *run) begin(ctx context.Context) error {
	if err := r.mark(ctx); err != nil {
		return err
	}
	_, next, err := r.e.arrivals(ctx, noArrivals)
	if err != nil {
		return err
	}
	r.since = next
	return nil
}

func (r *run) phases(ctx context.Context, res *egress.Result) error {
	err := r.begin(ctx)
	if err != nil {
		return err
	}
	applied := false
	defer func() {
		// Restore what was before, whatever has happened, also when the case was cut short.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.e.Limits.Probe.Restore)
		defer cancel()
		err := r.release(ctx) // again, where a phase failed
		if applied {
			_, err = r.e.Rules.Remove(ctx, r.c)
		}
		if len(r.c.Setup) > 0 {
			// No phase is to come that could be spoiled by proxies that do not know of it.
			if there := r.e.Rules.Clean(ctx, r.c); !errors.Is(there, ErrUntold) {
				err = errors.Join(err, there)
			}
		}
		if err != nil {
			res.Why = "its resources could not be removed: " + err.Error()
			res.Verdict = egress.Inconclusive
		}
	}()
	if err := r.e.Rules.Ready(ctx, r.c); err != nil {
		return fmt.Errorf("make ready: %w", err)
	}
	if len(r.c.Setup) > 0 {
		if err := r.e.Rules.Setup(ctx, r.c); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	for _, ph := range r.c.Phases() {
		start := time.Now()
		out := egress.PhaseResult{Phase: ph, Acknowledged: true}
		var ch Change
		switch ph {
		case egress.Before:
		case egress.Applied:
			applied = true // also when it fails half-way
			ch, err = r.e.Rules.Apply(ctx, r.c)
			res.Applied, r.accepted = ch.Applied, ch.Accepted
		case egress.Changed:
			ch, err = r.e.Rules.Change(ctx, r.c)
			res.Applied = append(res.Applied, ch.Applied...)
		case egress.Removed:
			ch, err = r.e.Rules.Remove(ctx, r.c)
			applied = err != nil
		}
		if err != nil {
			return fmt.Errorf("phase %s: %w", ph, err)
		}
		if ph != egress.Before {
			out.Acknowledged, out.Notes, out.Settle = ch.Acknowledged, ch.Notes, ch.Took
		}
		if _, r.starts[ph], err = r.e.arrivals(ctx, noArrivals); err != nil {
			return err
		}
		if err := r.probe(ctx, ph, out.Acknowledged); err != nil {
			return fmt.Errorf("phase %s: %w", ph, err)
		}
		r.noteUpdates(ctx, ph)
		out.Took = time.Since(start)
		res.Phases = append(res.Phases, out)
		if err := r.pause(ctx, ph); err != nil {
			return fmt.Errorf("phase %s: %w", ph, err)
		}
	}
	// A held connection's line is written when it closes.
	if err := r.release(ctx); err != nil {
		return err
	}
	_, r.until, err = r.e.arrivals(ctx, noArrivals)
	return err
}

// release closes the connections that the case's probes have left open in their clients.
func (r *run) release(ctx context.Context) error {
	if r.released {
		return nil
	}
	r.released = true
	clients := map[string]bool{}
	for _, t := range r.tries {
		if t.probe.Hold != nil && t.probe.Hold.From != nil || t.probe.Protocol().Keeps {
			clients[t.probe.From], clients[egress.ControlClient] = true, true
		}
	}
	var errs error
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		if _, err := r.e.Clients.Do(ctx, name, probe.Request{Release: r.id + "-"}); err != nil {
			errs = errors.Join(errs, fmt.Errorf("close the connections that client %q holds: %w", name, err))
		}
	}
	return errs
}

// probe runs every probe of a phase side by side, the control client beside them.
func (r *run) probe(ctx context.Context, ph egress.Phase, acknowledged bool) error {
	patience := r.e.Patience
	if acknowledged {
		patience = patience * 2 / 3
	}
	var wg sync.WaitGroup
	turns, controls := turns{}, controls{turns: turns{}}
	tries := map[string][]*try{} // by client
	for i, p := range r.c.Probes {
		for _, text := range []*string{&p.URL, &p.Connect, &p.Command} {
			*text = r.e.Expand(*text)
		}
		t := &try{probe: p, index: i, phase: ph, controlled: make(chan struct{})}
		r.tries = append(r.tries, t)
		tries[p.From] = append(tries[p.From], t)
		control := controls.of(ctx, r, t)
		wg.Go(func() {
			defer close(t.controlled)
			t.control = control()
			t.lost.Store(t.unconnected())
		})
	}
	for client, all := range tries {
		turn := turns.of(client)
		for _, share := range r.shares(all) {
			wg.Go(func() { r.attemptsOf(ctx, share, turn, patience) })
		}
	}
	var errs error
	for _, name := range r.c.Unchanged {
		id, err := r.e.Clients.Identity(ctx, name)
		errs = errors.Join(errs, err)
		r.idents[name] = append(r.idents[name], id)
	}
	wg.Wait()
	if err := errors.Join(errs, ctx.Err()); err != nil {
		return err
	}
	if len(r.c.Probes) > 0 && !slices.ContainsFunc(r.tries, func(t *try) bool { return t.phase == ph && !t.lost.Load() }) {
		return r.lost(ph)
	}
	return nil
}

// lost ends a case whose further phases could prove nothing.
func (r *run) lost(ph egress.Phase) error {
	var heard []string
	for _, t := range r.tries {
		if t.phase != ph || t.control == nil {
			continue
		}
		c := t.control.client
		heard = append(heard, strings.TrimSpace(fmt.Sprintf("exit %d of %s %s", c.ExitCode, c.Command, c.Stderr)))
	}
	slices.Sort(heard)
	return fmt.Errorf("the control client could not reach any target of the case: nothing is proven about the mesh (%s)", strings.Join(slices.Compact(heard), "; "))
}

// anything are all outcomes.
const anything = ^egress.Outcome(0)
