package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A case may change its rule while it is applied.
func TestChanged(t *testing.T) {
	c := theCase()
	c.Delete = []string{"ServiceEntry/x"}
	c.Probes[0].Wants[egress.Changed] = egress.Blocked
	for _, deaf := range []bool{false, true} {
		w := &world{}
		if deaf {
			c.Probes[0].Wants[egress.Changed] = egress.OK
		}
		e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
		r := e.Run(t.Context(), c)
		if len(r.Phases) != 4 || (r.Verdict == egress.Violates) != deaf {
			t.Errorf("%d phases, %s %s", len(r.Phases), r.Verdict, r.Why)
		}
	}
}

func (w *world) Setup(context.Context, egress.Case) error { return w.applyErr }

func (w *world) Clean(context.Context, egress.Case) error {
	w.cleaned++
	return errors.Join(w.removeErr, w.cleanErr)
}

// What a case presupposes is removed however the case ends.
func TestSetup(t *testing.T) {
	c := theCase()
	c.Setup = []egress.Object{{"kind": "ServiceEntry"}}
	for want, w := range map[egress.Verdict]*world{egress.Conforms: {}, egress.Violates: {deaf: true}, egress.Inconclusive: {applyErr: errors.New("refused")}} {
		e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
		if r := e.Run(t.Context(), c); r.Verdict != want || w.cleaned != 1 {
			t.Errorf("%s %s, cleaned %d times; want %s", r.Verdict, r.Why, w.cleaned, want)
		}
	}
}

// Of what is taken back after the phases, proxies may be the last to know: no phase is spoiled by that, as it is where one is to come.
func TestUntold(t *testing.T) {
	untold, broken := fmt.Errorf("%w: deadline exceeded", ErrUntold), errors.New("the API server is away")
	for name, x := range map[string]struct {
		w    *world
		want egress.Verdict
	}{
		"the setup is gone":                  {&world{cleanErr: untold}, egress.Conforms},
		"the setup is there":                 {&world{cleanErr: broken}, egress.Inconclusive},
		"the rule is gone, a phase is to be": {&world{removeErr: untold}, egress.Inconclusive},
	} {
		c := theCase()
		c.Setup = []egress.Object{{"kind": "ServiceEntry"}}
		e := &Engine{Clients: x.w, Rules: x.w, Mesh: x.w, Internet: x.w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
		if r := e.Run(t.Context(), c); r.Verdict != x.want || x.w.cleaned != 1 {
			t.Errorf("%s: %s %s, cleaned %d times; want %s", name, r.Verdict, r.Why, x.w.cleaned, x.want)
		}
	}
}

// What other cases have left is no ground for a verdict.
func TestNotReady(t *testing.T) {
	w := &world{readyErr: errors.New("nobody knows what the proxies have")}
	e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Features: []egress.Feature{egress.Hermetic}}
	if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Inconclusive || w.removed != 0 || len(r.Phases) != 0 {
		t.Errorf("%s %s, removed %d times", r.Verdict, r.Why, w.removed)
	}
}

func TestDetails(t *testing.T) {
	for why, spoil := range map[string]func(*egress.Probe){
		"": func(p *egress.Probe) {
			p.Arrival = map[egress.Phase]map[string]string{egress.Applied: {"kind": "^http$"}}
		},
		"has kind \"http\"": func(p *egress.Probe) {
			p.Arrival = map[egress.Phase]map[string]string{egress.Applied: {"kind": "^tls$"}}
		},
		"has sni \"\"": func(p *egress.Probe) { p.Arrival = map[egress.Phase]map[string]string{egress.Applied: {"sni": "x"}} },
		"route_name": func(p *egress.Probe) {
			p.AccessLog = map[egress.Phase]map[string]string{egress.Before: {"route_name": "x"}}
		},
		"1 arrivals":           func(p *egress.Probe) { p.Arrivals = map[egress.Phase]int{egress.Applied: 2} },
		"meant for other.test": func(p *egress.Probe) { p.ArrivesAt = map[egress.Phase]string{egress.Applied: "other.test"} },
	} {
		c := theCase()
		spoil(&c.Probes[0])
		w := &world{}
		e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
		r := e.Run(t.Context(), c)
		if (r.Verdict == egress.Conforms) != (why == "") || !strings.Contains(r.Why, why) {
			t.Errorf("%q: %s %s", why, r.Verdict, r.Why)
		}
	}
}
