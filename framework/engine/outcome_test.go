package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// One arrival elsewhere proves that the landing is random, unless it may be the last one by an old configuration.
func TestRoundsThatLandDifferently(t *testing.T) {
	seen := func(server string) egress.Observation {
		l := egress.AccessLog{UpstreamCluster: "outbound|9000||x", UpstreamLocal: "10.0.0.1:40001", UpstreamHost: siteAddr}
		return egress.Observation{Target: "a.example", Client: egress.ClientWitness{Raw: true, Local: "10.0.0.1:11000"}, Captured: true, Mesh: []egress.AccessLog{l}, Arrivals: []egress.Arrival{{Server: server, Peer: l.UpstreamLocal, Local: siteAddr}}}
	}
	a, b := seen("a.example"), seen("b.example")
	for name, x := range map[string]struct {
		rounds []egress.Observation
		want   egress.Outcome
		got    egress.Outcome
		v      egress.Verdict
	}{
		"as meant":             {[]egress.Observation{a, a}, egress.OK, egress.OK, egress.Conforms},
		"elsewhere":            {[]egress.Observation{b, b}, egress.OK, egress.Led, egress.Violates},
		"elsewhere at last":    {[]egress.Observation{a, b}, egress.OK, egress.Led, egress.Violates},
		"elsewhere in between": {[]egress.Observation{a, b, a}, egress.OK, egress.Led, egress.Violates},
		"elsewhere at first":   {[]egress.Observation{b, a}, egress.OK, egress.Led, egress.Inconclusive},
		"elsewhere, as wanted": {[]egress.Observation{b, b}, egress.Led, egress.Led, egress.Conforms},
		"wanted, and not so":   {[]egress.Observation{a, b}, egress.Led, egress.OK, egress.Inconclusive},
	} {
		r := &run{e: &Engine{Canonical: func(s string) string { return s }, Internet: &world{}}}
		p := egress.ProbeResult{Want: x.want, Observations: x.rounds, Control: &egress.Control{Reached: true}}
		r.verdict(&p, &try{probe: egress.Probe{From: "client", URL: "tcp://a.example:9000"}}, nil)
		if p.Verdict != x.v || p.Got != x.got {
			t.Errorf("%s: %s %s (%s)", name, p.Got, p.Verdict, p.Why)
		}
	}
}

// What the destination's log holds is never told as nothing.
func TestEvidenceTellsArrivals(t *testing.T) {
	o := egress.Observation{Client: egress.ClientWitness{ExitCode: wire.ExitCert, Local: "10.0.0.1:11000"}, Captured: true}
	stray := egress.Arrival{Server: "www.example", Peer: "10.0.0.1:40001"}
	if e := evidence([]egress.Observation{o}, []egress.Arrival{stray}); !strings.Contains(e, "www.example has an unexplained arrival") || strings.Contains(e, "no arrival") {
		t.Error(e)
	}
	r := &run{e: &Engine{Internet: &world{}}}
	p := egress.ProbeResult{Want: egress.OK, Observations: []egress.Observation{o}, Control: &egress.Control{Reached: true}}
	r.verdict(&p, &try{probe: egress.GET("client", "https://httpbin.org/")}, []egress.Arrival{stray})
	if p.Verdict != egress.Inconclusive || !strings.Contains(p.Why, "www.example") || len(p.Unexplained) != 1 {
		t.Errorf("%s %s %v", p.Verdict, p.Why, p.Unexplained)
	}
	o.Arrivals = []egress.Arrival{{Server: "www.example", Peer: "10.0.0.1:50000"}}
	if e := evidence([]egress.Observation{o}, nil); !strings.Contains(e, "www.example saw 10.0.0.1:50000") {
		t.Error(e)
	}
	if _, err := egress.Classify(o); !errors.Is(err, egress.ErrDisagree) || !strings.Contains(err.Error(), "arrived at www.example") {
		t.Error(err)
	}
}

// madeUp is a world in which nobody but the mesh knows one name.
type madeUp struct {
	*world
	asked []string
}

func (m *madeUp) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if q.Page != nil {
		return m.world.Do(ctx, client, q)
	}
	url := q.Argv[len(q.Argv)-1]
	if client == egress.ControlClient {
		m.mu.Lock()
		m.asked = append(m.asked, url)
		m.mu.Unlock()
		if strings.Contains(url, "pool.internal") {
			b, err := json.Marshal(map[string]any{"exitcode": wire.ExitDNS})
			return Execution{ExitCode: wire.ExitDNS, Stdout: string(b)}, err
		}
	}
	return m.world.Do(ctx, client, q)
}

// The control client calls the host that Server names where the probe's own name exists for the mesh alone.
func TestControlFollowsServer(t *testing.T) {
	for _, x := range []struct {
		server  string
		verdict egress.Verdict
	}{{"httpbin.org", egress.Conforms}, {"", egress.Inconclusive}} {
		m := &madeUp{world: &world{}}
		e := engineOf(m.world)
		e.Clients = m
		c := theCase()
		c.Probes[0].URL, c.Probes[0].Server = "http://pool.internal:80/headers", x.server
		c.Probes[0].ArrivesAt = egress.Always(egress.Anywhere)
		var r egress.Result
		bubble(t, func(t *testing.T) { r = e.Run(t.Context(), c) }) // a name that nobody knows is asked for a while
		if r.Verdict != x.verdict {
			t.Errorf("server %q: %s (%s)", x.server, r.Verdict, r.Why)
		}
		if last := m.asked[len(m.asked)-1]; x.server != "" && last != "http://httpbin.org:80/headers" {
			t.Errorf("the control client asked %s", last)
		}
	}
}
