package engine

import (
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A gateway's line belongs to a sidecar's only if both ends of the connection and its time agree.
func TestPassedOn(t *testing.T) {
	sidecar := egress.AccessLog{StartTime: "2026-11-27T10:00:06.000Z", Duration: 12, UpstreamLocal: "10.0.0.1:41170", UpstreamHost: "10.0.0.9:443"}
	request := sidecar
	request.Method, request.Path = "GET", "/politics"
	gateway := func(start, local, path string) egress.AccessLog {
		return egress.AccessLog{StartTime: start, DownstreamRemote: "10.0.0.1:41170", DownstreamLocal: local, Path: path}
	}
	for name, x := range map[string]struct {
		l, g egress.AccessLog
		want bool
	}{
		"the connection":                               {sidecar, gateway("2026-11-27T10:00:06.001Z", "10.0.0.9:443", ""), true},
		"in the same millisecond":                      {sidecar, gateway("2026-11-27T10:00:06.000Z", "10.0.0.9:443", ""), true},
		"another port, by the same port of the client": {sidecar, gateway("2026-11-27T10:00:06.001Z", "10.0.0.9:80", ""), false},
		"six seconds before":                           {sidecar, gateway("2026-11-27T10:00:00.001Z", "10.0.0.9:443", ""), false},
		"after the sidecar had done with it":           {sidecar, gateway("2026-11-27T10:00:06.015Z", "10.0.0.9:443", ""), false},
		"at a time that it does not tell":              {sidecar, gateway("-", "10.0.0.9:443", ""), false},
		"the request":                                  {request, gateway("2026-11-27T10:00:06.003Z", "10.0.0.9:443", "/politics"), true},
		"another request on the connection":            {request, gateway("2026-11-27T10:00:06.003Z", "10.0.0.9:443", "/"), false},
		"an earlier request on the connection":         {request, gateway("2026-11-27T10:00:05.990Z", "10.0.0.9:443", "/politics"), false},
	} {
		if got := passedOn(x.l, x.g); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// frugal is a world that uses one client port and one port of the sidecar again and again, as long runs do.
type frugal struct{ *world }

func (f *frugal) Mark(client string) int {
	f.port = 0
	return f.world.Mark(client)
}

// A second case meets the ports of the first, whose lines and arrivals must not count.
func TestPortsUsedAgain(t *testing.T) {
	w := &world{}
	f := &frugal{w}
	e := &Engine{Clients: w, Rules: w, Mesh: f, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond}
	if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
		t.Fatalf("the first: %s %s", r.Verdict, r.Why)
	}
	w.allowAny = true
	if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Violates || r.Phases[0].Probes[0].Got != egress.Pass {
		t.Errorf("the second: %s %s", r.Verdict, r.Why)
	}
	w.allowAny = false
	if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
		t.Errorf("the third: %s %s", r.Verdict, r.Why)
	}
}
