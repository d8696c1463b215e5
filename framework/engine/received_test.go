package engine

import (
	"maps"
	"slices"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func numbers(as []egress.Arrival) []int64 {
	var out []int64
	for _, a := range as {
		out = append(out, a.Seq)
	}
	return out
}

// A gateway's connection carries requests of many probes: they are explained by it, and only a probe's own are its.
func TestReceivedOf(t *testing.T) {
	const peer, local = "10.0.0.9:40000", "198.51.100.1:80"
	log := []egress.Arrival{
		{Seq: 1, Peer: peer, Local: local, Kind: "tcp"},
		{Seq: 2, Peer: peer, Local: local, ProbeID: "b"},
		{Seq: 3, Peer: peer, Local: local, ProbeID: "a"},
		{Seq: 4, Peer: "10.0.0.9:40001", Local: local, ProbeID: "a"},
		{Seq: 5, Peer: "10.0.0.9:40001", Local: local},
		{Seq: 6, Peer: peer, Local: "198.51.100.2:80"},
		{Seq: 7, Local: local},
	}
	line := egress.AccessLog{UpstreamLocal: peer, UpstreamHost: local}
	for name, x := range map[string]struct {
		o         egress.Observation
		since     int64
		own, seen []int64
	}{
		"by its sidecar":          {egress.Observation{ID: "a", Mesh: []egress.AccessLog{line}}, 0, []int64{1, 3, 4}, []int64{1, 2, 3, 4}},
		"by a gateway":            {egress.Observation{ID: "a", Hops: []egress.Hop{{}, {Line: &line}}}, 0, []int64{1, 3, 4}, []int64{1, 2, 3, 4}},
		"by itself":               {egress.Observation{ID: "a", Client: egress.ClientWitness{Local: peer, Remote: local}}, 0, []int64{1, 3, 4}, []int64{1, 2, 3, 4}},
		"by its id alone":         {egress.Observation{ID: "b"}, 0, []int64{2}, []int64{2}},
		"since later":             {egress.Observation{ID: "a", Mesh: []egress.AccessLog{line}}, 3, []int64{3, 4}, []int64{3, 4}},
		"without a connection":    {egress.Observation{ID: "c"}, 0, nil, nil},
		"that went nowhere known": {egress.Observation{ID: "c", Mesh: []egress.AccessLog{{UpstreamHost: local}}}, 0, nil, nil},
	} {
		joined := map[int64]bool{}
		if got := numbers(newReceived(log).of(x.o, x.since, joined)); !slices.Equal(got, x.own) {
			t.Errorf("%s: its arrivals are %v", name, got)
		}
		if got := slices.Sorted(maps.Keys(joined)); !slices.Equal(got, x.seen) {
			t.Errorf("%s: explained are %v", name, got)
		}
	}
}

// What arrives from a client's pod in a phase, and no probe explains, is noted of that client and that phase.
func TestStrays(t *testing.T) {
	r := engineOf(&world{}).newRun(theCase())
	r.starts = map[egress.Phase]int64{egress.Before: 2, egress.Applied: 10, egress.Removed: 20}
	r.pauses = []span{{17, 18}}
	from := func(seq int64, ip, kind, local string) egress.Arrival {
		return egress.Arrival{Seq: seq, Peer: ip + ":40000", Local: local, Kind: kind, Server: "s"}
	}
	const other, broken = "198.51.100.77:80", "198.51.100.78:80"
	d := newReceived([]egress.Arrival{
		from(1, clientIP, "tcp", siteAddr), from(5, clientIP, "tcp", siteAddr), from(10, clientIP, "tcp", siteAddr), from(11, clientIP, "tcp", other),
		from(12, "10.0.0.99", "tcp", siteAddr), from(13, clientIP, "tcp", broken), from(14, clientIP, "http", broken), from(15, clientIP, "http", other),
		{Seq: 16, Kind: "tcp"},
		from(17, clientIP, "tcp", siteAddr), from(20, clientIP, "tcp", siteAddr),
	})
	joined := map[int64]bool{15: true}
	for c, want := range map[carriage][]int64{
		{"client", egress.Before}: {5},
		// 11 is spare beside 15, 13 broke off, and while 17 came the case stood still.
		{"client", egress.Applied}:             {10, 14},
		{"client", egress.Removed}:             {20},
		{egress.ControlClient, egress.Applied}: nil,
	} {
		if got := numbers(r.strays(c, d, joined, map[brokenConn]bool{{c, broken}: true})); !slices.Equal(got, want) {
			t.Errorf("%v: %v, wanted %v", c, got, want)
		}
	}
}

// The control client's arrival is known by its connection or by its id, and one from before the phase is none.
func TestControlWitness(t *testing.T) {
	e := engineOf(&world{})
	e.Canonical = func(n string) string { return n }
	r := e.newRun(theCase())
	r.starts = map[egress.Phase]int64{egress.Applied: 10}
	probe := egress.GET("client", "http://httpbin.org/")
	x := round{script: Script{ID: "a"}, client: egress.ClientWitness{Local: controlIP + ":12000"}}
	for name, c := range map[string]struct {
		a    egress.Arrival
		want bool
	}{
		"its connection":        {egress.Arrival{Seq: 10, Peer: controlIP + ":12000", Server: "httpbin.org"}, true},
		"its id":                {egress.Arrival{Seq: 10, Peer: "10.0.0.50:1", ProbeID: "a", Server: "httpbin.org"}, true},
		"another's":             {egress.Arrival{Seq: 10, Peer: controlIP + ":12001", ProbeID: "b", Server: "httpbin.org"}, false},
		"elsewhere":             {egress.Arrival{Seq: 10, Peer: controlIP + ":12000", Server: "wikipedia.org"}, false},
		"from before the phase": {egress.Arrival{Seq: 9, Peer: controlIP + ":12000", ProbeID: "a", Server: "httpbin.org"}, false},
	} {
		got := r.controlWitness(&try{probe: probe, phase: egress.Applied, control: &x}, newReceived([]egress.Arrival{c.a}), map[int64]bool{})
		if got.Reached != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// At a gateway that a client has called, only the lines of its own connection are its.
func TestFront(t *testing.T) {
	w := &world{lines: []egress.AccessLog{{DownstreamRemote: "10.0.0.2:1", RequestID: "own"}, {DownstreamRemote: "10.0.0.2:2", RequestID: "another"}}}
	r := engineOf(w).newRun(theCase())
	r.gateways = []Gateway{{Name: "gateway"}}
	got, err := r.front(t.Context(), "10.0.0.2:1")
	if err != nil || len(got) != 1 || got[0].RequestID != "own" {
		t.Errorf("%+v %v", got, err)
	}
}
