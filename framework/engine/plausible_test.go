package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

func TestPlausible(t *testing.T) {
	for name, c := range map[string]struct {
		url        string
		want       egress.Outcome
		exit, code int
		plausible  bool
		local      string
	}{
		"an answer":                               {"http://x/", egress.OK, 0, 200, true, ""},
		"an answer instead of a block":            {"http://x/", egress.Blocked, 0, 200, false, ""},
		"a block":                                 {"http://x/", egress.Blocked, 0, 502, true, ""},
		"a block instead of an answer":            {"http://x/", egress.OK, 0, 502, false, ""},
		"a closed connection":                     {"https://x/", egress.Blocked, 35, 0, true, ""},
		"a closed connection, not an answer":      {"https://x/", egress.OK, 35, 0, false, ""},
		"a 403 after the rule that made it":       {"http://x/", egress.OK, 0, 403, false, ""},
		"the 404 that is provoked":                {"http://x/status/404", egress.OK, 0, 404, true, ""},
		"an error that is not the provoked one":   {"http://x/status/500", egress.OK, 0, 503, false, ""},
		"a 404 instead of a block":                {"http://x/", egress.Blocked, 0, 404, false, ""},
		"the error that is provoked":              {"http://x/status/500", egress.OK, 0, 500, true, ""},
		"the error that is provoked, not its end": {"http://x/status/500", egress.S503UH, 0, 500, false, ""},
		"no healthy host":                         {"http://x/status/500", egress.S503UH, 0, 503, true, ""},
		"either":                                  {"http://x/status/500", egress.S503UH | egress.OK, 0, 500, true, ""},
		"a refusal":                               {"http://x/", egress.REF, wire.ExitRefused, 0, true, ""},
		"a timeout instead of a refusal":          {"http://x/", egress.REF, wire.ExitTimeout, 0, false, ""},
		"a refusal instead of no name":            {"http://x/", egress.DNSX, wire.ExitRefused, 0, false, ""},
		"a timeout instead of a block":            {"http://x/", egress.Blocked, wire.ExitTimeout, 0, false, "10.0.0.1:40000"},
		"a timeout, or a block":                   {"http://x/", egress.Blocked | egress.TMO, wire.ExitTimeout, 0, true, "10.0.0.1:40000"},
		"no connection instead of a block":        {"http://x/", egress.Blocked, wire.ExitTimeout, 0, false, ""},
		"no name instead of a block":              {"http://x/", egress.Blocked, wire.ExitDNS, 0, false, ""},
		"a stalled connection":                    {"http://x/", egress.Stall, wire.ExitTimeout, 0, true, "10.0.0.1:40000"},
		"stalled before it was connected":         {"http://x/", egress.Stall, wire.ExitTimeout, 0, false, ""},
		"a status that a rule orders":             {"http://x/", egress.Self, 0, 555, true, ""},
	} {
		x := round{client: egress.ClientWitness{ExitCode: c.exit, HTTPCode: c.code, Local: c.local}}
		if got := plausible(egress.Probe{URL: c.url}, c.want, x); got != c.plausible {
			t.Errorf("%s: %v, want %v", name, got, c.plausible)
		}
	}
}

func TestAlike(t *testing.T) {
	exit := func(code int) round { return round{client: egress.ClientWitness{ExitCode: code}} }
	shell := func(code int) round { return round{client: egress.ClientWitness{ExitCode: code, Shell: true}} }
	for name, x := range map[string]struct {
		a, b round
		want bool
	}{
		"two refusals":               {exit(wire.ExitRefused), exit(wire.ExitRefused), true},
		"a timeout, then a refusal":  {exit(wire.ExitTimeout), exit(wire.ExitRefused), false},
		"cut in two ways":            {exit(35), exit(56), true},
		"a program's own exit codes": {shell(wire.ExitTimeout), shell(wire.ExitRefused), true},
		"an answer, then none":       {exit(0), exit(56), false},
	} {
		if got := alike(x.a, x.b); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestOverdue(t *testing.T) {
	const patience = 2 * time.Second
	for name, x := range map[string]struct {
		took     time.Duration
		attempts int
		want     bool
	}{
		"soon": {time.Second, 40, false}, "late": {patience + 1, 30, true}, "late on a busy machine": {2 * patience, 10, false},
		"a destination that lets wait": {6 * patience, 3, true},
	} {
		if got := overdue(x.took, patience, x.attempts); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// ejecting is a mesh that answers itself once its destination has failed a few times.
type ejecting struct {
	*world
	left int
}

func (e *ejecting) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if client != egress.ControlClient && e.open {
		e.ejected = e.left <= 0
		e.left--
	}
	return e.world.Do(ctx, client, q)
}

// Envoy ejects a host a moment after its failure, and some calls in a row still reach it.
func TestEjection(t *testing.T) {
	c := theCase()
	c.Probes = []egress.Probe{egress.GET("client", "http://httpbin.org/status/500").Want(egress.Blocked, egress.S503UH, egress.Blocked)}
	for _, calls := range []int{1, 2, 3, 8} {
		w := &world{trouble: true}
		e := engineOf(w)
		e.Clients, e.Patience = &ejecting{w, calls}, time.Second
		if r := e.Run(t.Context(), c); r.Verdict != egress.Conforms {
			t.Errorf("%d calls before the ejection: %s (%s)", calls, r.Verdict, r.Why)
		}
	}
	w := &world{trouble: true}
	if r := engineOf(w).Run(t.Context(), c); r.Verdict != egress.Violates || !strings.Contains(r.Why, "OK, wanted 503UH") {
		t.Errorf("no ejection: %s (%s)", r.Verdict, r.Why)
	}
}
