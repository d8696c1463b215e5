package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// routed is a world whose sidecar sends everything through gateways, one after another.
type routed struct {
	*world
	gateways []Gateway
	logs     map[string][]egress.AccessLog
	unlogged string // this gateway writes no line
	unknown  string // nobody knows that this one is a gateway
	circle   bool   // the last one sends it back to the first
	early    bool   // the lines of the gateways are from before the sidecar had the connection
	err      error
}

func newRouted(n int) *routed {
	r := &routed{world: &world{open: true}, logs: map[string][]egress.AccessLog{}}
	for i := range n {
		r.gateways = append(r.gateways, Gateway{Name: fmt.Sprintf("team/g%d", i), Addresses: []string{"fd00::1", fmt.Sprintf("10.0.1.%d", i)}})
	}
	return r
}

func (r *routed) Gateways(context.Context) ([]Gateway, error) {
	return slices.DeleteFunc(slices.Clone(r.gateways), func(g Gateway) bool { return g.Name == r.unknown }), r.err
}

func (r *routed) Mark(name string) int {
	if strings.HasPrefix(name, "team/") {
		return len(r.logs[name])
	}
	return r.world.Mark(name)
}

const began, earlier = "2026-11-27T10:00:06.000Z", "2026-11-27T09:59:00.000Z"

// Lines of the sidecar lead to the first gateway, whose lines lead to the next one, and those of the last outside.
func (r *routed) Lines(ctx context.Context, name string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	lines, err := r.world.Lines(ctx, name, 0, egress.Lines{})
	if err != nil {
		return nil, err
	}
	hop := slices.IndexFunc(r.gateways, func(g Gateway) bool { return g.Name == name }) // -1 for the sidecar
	if name == r.unlogged {
		return nil, nil
	}
	var out []egress.AccessLog
	for _, l := range lines {
		outside := l.UpstreamLocal
		conn := func(i int) (local, host string) {
			return fmt.Sprintf("10.0.9.%d%s", i, outside[strings.LastIndex(outside, ":"):]), fmt.Sprintf("10.0.1.%d:8443", i)
		}
		l.StartTime, l.Duration = began, 100
		if hop >= 0 {
			l.DownstreamRemote, l.DownstreamLocal = conn(hop)
			if r.early {
				l.StartTime = earlier
			}
		}
		switch {
		case hop+1 < len(r.gateways):
			l.UpstreamLocal, l.UpstreamHost = conn(hop + 1)
			l.UpstreamCluster = "outbound|8443||next"
		case r.circle:
			l.UpstreamLocal, l.UpstreamHost = conn(0)
		}
		if q.Have(l) {
			out = append(out, l)
		}
	}
	return out[min(mark, len(out)):], nil
}

// A gateway is known by the address of its pod, however many there are, and whatever they are called.
func TestGateways(t *testing.T) {
	for name, x := range map[string]struct {
		gateways int
		spoil    func(*routed)
		want     egress.Outcome
		verdict  egress.Verdict
		why      string
	}{
		"no gateway":            {0, nil, egress.OK, egress.Conforms, ""},
		"one":                   {1, nil, egress.OK, egress.Conforms, ""},
		"three in a row":        {3, nil, egress.OK, egress.Conforms, ""},
		"the wrong server":      {2, func(r *routed) { r.wrongServer = true }, 0, egress.Violates, "LED, wanted OK"},
		"one without a log":     {3, func(r *routed) { r.unlogged = "team/g1" }, 0, egress.Inconclusive, "the gateway team/g1, which has no line of it"},
		"one that nobody knows": {2, func(r *routed) { r.unknown = "team/g1" }, 0, egress.Inconclusive, "arrived at no known host"},
		"a circle":              {2, func(r *routed) { r.circle = true }, 0, egress.Inconclusive, "still not outside"},
		"lines of another time": {1, func(r *routed) { r.early = true }, 0, egress.Inconclusive, "which has no line of it"},
		"gateways that cannot be found": {
			1, func(r *routed) { r.err = errors.New("broken on purpose") }, 0, egress.Inconclusive,
			"find the gateways of the mesh: broken on purpose",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRouted(x.gateways)
			if x.spoil != nil {
				x.spoil(w)
			}
			e := engineOf(w.world)
			e.Mesh = w
			c := theCase()
			c.Probes = []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(egress.OK, egress.OK, egress.OK)}
			w.stubborn = true // the rule is there in all phases
			r := e.Run(t.Context(), c)
			if r.Verdict != x.verdict || !strings.Contains(r.Why, x.why) {
				t.Fatalf("%s (%s), wanted %s (%s)", r.Verdict, r.Why, x.verdict, x.why)
			}
			if x.verdict != egress.Conforms {
				return
			}
			o := r.Phases[0].Probes[0].Observations[0]
			if len(o.Hops) != x.gateways {
				t.Errorf("%d hops: %+v", len(o.Hops), o.Hops)
			}
		})
	}
}

// What a case demands of a gateway's line is asked of the last gateway on the way.
func TestGatewayLine(t *testing.T) {
	for name, x := range map[string]struct {
		gateways int
		want     map[string]string
		verdict  egress.Verdict
		why      string
	}{
		"as wanted":  {2, map[string]string{"upstream_host": "^" + siteAddr + "$"}, egress.Conforms, ""},
		"another":    {2, map[string]string{"upstream_cluster": "^outbound.8443.*next$"}, egress.Violates, "the gateway's line has upstream_cluster"},
		"no gateway": {0, map[string]string{"upstream_host": "."}, egress.Violates, "the gateway's line is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRouted(x.gateways)
			e := engineOf(w.world)
			e.Mesh = w
			c := theCase()
			c.Probes = []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(egress.OK, egress.OK, egress.OK)}
			c.Probes[0].GatewayLog = egress.ByPhase[map[string]string]{egress.Applied: x.want}
			w.stubborn = true
			if r := e.Run(t.Context(), c); r.Verdict != x.verdict || !strings.Contains(r.Why, x.why) {
				t.Errorf("%s (%s), wanted %s (%s)", r.Verdict, r.Why, x.verdict, x.why)
			}
		})
	}
}

// Two pods may have had one address after another; the one that has a line of the connection is meant.
func TestGatewayAddressUsedAgain(t *testing.T) {
	w := newRouted(1)
	w.stubborn = true
	w.gateways = append(w.gateways, Gateway{Name: "team/younger", Addresses: w.gateways[0].Addresses})
	r := &run{e: engineOf(w.world), gateways: w.gateways}
	r.e.Mesh = &oneLog{Mesh: w, name: "team/g0"}
	w.lines = []egress.AccessLog{{UpstreamLocal: "10.0.0.1:40001", UpstreamHost: siteAddr}}
	h, err := r.next(t.Context(), egress.AccessLog{StartTime: began, Duration: 100, UpstreamLocal: "10.0.9.0:40001", UpstreamHost: "10.0.1.0:8443"}, nil)
	if err != nil || h == nil || h.Gateway != "team/g0" || h.Line == nil {
		t.Errorf("%+v %v", h, err)
	}
}

// oneLog is a mesh that has lines of one proxy alone.
type oneLog struct {
	Mesh
	name string
}

func (o *oneLog) Lines(ctx context.Context, name string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	if name != o.name {
		return nil, nil
	}
	lines, err := o.Mesh.Lines(ctx, name, mark, egress.Lines{})
	for i := range lines {
		lines[i].UpstreamLocal, lines[i].UpstreamHost = "10.0.1.0:50000", siteAddr
	}
	return slices.DeleteFunc(lines, func(l egress.AccessLog) bool { return !q.Have(l) }), err
}
