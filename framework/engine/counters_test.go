package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

const blocked = "cluster.BlackHoleCluster.upstream_cx_none_healthy"

// counting is a world whose sidecar counts what it blocks.
type counting struct {
	*world
	n      int
	step   int // by how much one blocked attempt makes the counter grow
	answer string
	err    error
	exit   int
}

func (w *counting) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if q.Page == nil || !strings.HasPrefix(q.Page.URL, adminURL+"/stats") {
		x, err := w.world.Do(ctx, client, q)
		if client != egress.ControlClient && !w.open {
			w.n += w.step
		}
		return x, err
	}
	if w.answer == "" && w.n > 0 {
		return Execution{Stdout: fmt.Sprintf("%s: %d\n", blocked, w.n), ExitCode: w.exit}, w.err
	}
	return Execution{Stdout: w.answer, ExitCode: w.exit}, w.err
}

func TestCounts(t *testing.T) {
	for name, x := range map[string]struct {
		w    *counting
		want egress.Verdict
		why  string
	}{
		"counted":                   {&counting{step: 1}, egress.Conforms, ""},
		"not counted":               {&counting{}, egress.Violates, "grew by 0, wanted 1"},
		"counted twice":             {&counting{step: 2}, egress.Violates, "grew by 2, wanted 1"},
		"statistics out of reach":   {&counting{step: 1, exit: 7}, egress.Inconclusive, "exit 7"},
		"a client that is gone":     {&counting{step: 1, err: errors.New("gone")}, egress.Inconclusive, "gone"},
		"another page than it says": {&counting{step: 1, answer: "<html>"}, egress.Inconclusive, "no counter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x.w.world = &world{}
			e := engineOf(x.w.world)
			e.Clients = x.w
			c := theCase()
			c.Probes[0].Counts = map[egress.Phase]map[string]int64{egress.Before: {blocked: 1}, egress.Applied: {blocked: 0}, egress.Removed: {blocked: 1}}
			r := e.Run(t.Context(), c)
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			if x.want == egress.Conforms && !strings.Contains(r.Phases[0].Probes[0].Evidence, blocked+" +1") {
				t.Errorf("the evidence does not name the counter: %s", r.Phases[0].Probes[0].Evidence)
			}
		})
	}
}
