package engine

import (
	"context"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A connection that nobody saw proves nothing, but one that met a changing listener does not spoil a
// later round that is proven.
func TestUnseenRound(t *testing.T) {
	reset := egress.ClientWitness{ExitCode: 56, Local: "10.0.0.1:1000"}
	unseen := egress.Observation{Client: reset, Captured: true}
	proven := egress.Observation{Client: reset, Captured: true, Mesh: []egress.AccessLog{{StartTime: "t", UpstreamCluster: "BlackHoleCluster", DownstreamRemote: reset.Local}}}
	for _, c := range []struct {
		name string
		obs  []egress.Observation
		want egress.Verdict
	}{
		{"unseen, then proven", []egress.Observation{unseen, proven}, egress.Conforms},
		{"proven, then unseen", []egress.Observation{proven, unseen}, egress.Inconclusive},
		{"never seen", []egress.Observation{unseen, unseen}, egress.Inconclusive},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &run{e: &Engine{}}
			p := egress.ProbeResult{Want: egress.BRST, Observations: c.obs, Control: &egress.Control{Reached: true}}
			r.verdict(&p, &try{probe: egress.GET("client", "https://httpbin.org/")}, nil)
			if p.Verdict != c.want {
				t.Fatalf("%s (%s), wanted %s", p.Verdict, p.Why, c.want)
			}
		})
	}
}

// lateLog writes a line only after the flush that should have brought it.
type lateLog struct {
	*world
	flushes int
}

func (l *lateLog) Flush(context.Context, string) error { l.flushes++; return nil }

func (l *lateLog) Lines(ctx context.Context, client string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	if l.flushes < 2 {
		return nil, nil
	}
	return l.world.Lines(ctx, client, mark, q)
}

// A worker of the proxy may write a connection's line after the one that ends the flush.
func TestLateLine(t *testing.T) {
	w := &world{}
	late := &lateLog{world: w}
	e := &Engine{Clients: w, Rules: w, Mesh: late, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
	if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}
	if late.flushes != 2 {
		t.Errorf("%d flushes, wanted 2", late.flushes)
	}
}
