package engine

import (
	"context"
	"strings"
	"sync"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// tallying counts what each client is asked to do.
type tallying struct {
	*world
	mu   sync.Mutex
	made map[string]int
}

func (c *tallying) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if len(q.Argv) > 0 {
		c.mu.Lock()
		c.made[client]++
		c.mu.Unlock()
	}
	return c.world.Do(ctx, client, q)
}

// Probes that call the same have one control attempt between them; others have their own.
func TestControlIsShared(t *testing.T) {
	same := egress.GET("client", "http://httpbin.org/", "-s")
	other := egress.GET("client", "http://httpbin.org/other", "-s")
	for name, x := range map[string]struct {
		probes []egress.Probe
		want   int
	}{
		"the same":          {[]egress.Probe{same, same, same}, 1},
		"another URL":       {[]egress.Probe{same, other}, 2},
		"one that is dead":  {[]egress.Probe{same, {From: "client", URL: same.URL, Args: same.Args, Dead: true}}, 2},
		"another server":    {[]egress.Probe{same, {From: "client", URL: same.URL, Args: same.Args, Server: "httpbin.org"}}, 2},
		"a shell's command": {[]egress.Probe{{From: "client", URL: same.URL, Args: same.Args, Connect: "httpbin.org:80"}, same}, 2},
	} {
		w := &tallying{world: &world{open: true}, made: map[string]int{}}
		e := engineOf(w.world)
		e.Clients = w
		got := e.Ask(t.Context(), x.probes)()
		if w.made[egress.ControlClient] != x.want || len(got) != len(x.probes) {
			t.Errorf("%s: %d control attempts, want %d, of %d results", name, w.made[egress.ControlClient], x.want, len(got))
		}
		for _, r := range got {
			if r.Control == nil || !r.Control.Reached && !strings.Contains(r.Why, "unreachable") {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

// Results come in the order of the probes, each with a verdict, also where nothing can be heard.
func TestAsk(t *testing.T) {
	probes := []egress.Probe{egress.GET("client", "http://httpbin.org/a", "-s"), egress.GET("client", "http://httpbin.org/b", "-s")}
	got := engineOf(&world{}).Ask(t.Context(), probes)()
	if len(got) != 2 || got[0].Got != egress.B502 || got[0].Probe != probes[0].String() || got[1].Probe != probes[1].String() {
		t.Errorf("%+v", got)
	}
	deaf := &world{arrivalsErr: context.DeadlineExceeded}
	for i, r := range engineOf(deaf).Ask(t.Context(), probes)() {
		if r.Verdict != egress.Inconclusive || r.Why == "" || r.Probe != probes[i].String() {
			t.Errorf("%+v", r)
		}
	}
}

// A connection that a sidecar began, and that failed before anything was on it, is no sign that something else got out.
func TestBrokenOff(t *testing.T) {
	failed := egress.ProbeResult{Observations: []egress.Observation{{
		Client: egress.ClientWitness{Local: clientIP + ":11000"},
		Mesh:   []egress.AccessLog{{UpstreamHost: siteAddr}, {UpstreamHost: "198.51.100.11:80", UpstreamLocal: clientIP + ":40000"}},
	}}}
	broken := brokenOff([]*try{{probe: egress.Probe{From: "client"}, phase: egress.Applied}}, []egress.ProbeResult{failed})
	for key, want := range map[brokenConn]bool{
		{carriage{"client", egress.Applied}, siteAddr}:           true,
		{carriage{"client", egress.Removed}, siteAddr}:           false,
		{carriage{"client", egress.Applied}, "198.51.100.11:80"}: false,
		{carriage{"control", egress.Applied}, siteAddr}:          false,
	} {
		if broken[key] != want {
			t.Errorf("%v: %t", key, broken[key])
		}
	}
}

// Of a gateway's lines that fit, the one is meant on whose connection the request arrived.
func TestCarried(t *testing.T) {
	log := []egress.Arrival{{ProbeID: "a-1", Peer: "10.0.1.0:1", Local: siteAddr}, {ProbeID: "a-2", Peer: "10.0.1.0:2", Local: siteAddr}, {Peer: "10.0.1.0:3", Local: siteAddr}}
	for id, want := range map[string]string{"a-1": "10.0.1.0:1", "a-2": "10.0.1.0:2"} {
		is := newReceived(log).carrying(id, 0)
		for _, peer := range []string{"10.0.1.0:1", "10.0.1.0:2", "10.0.1.0:3"} {
			if is(egress.AccessLog{UpstreamLocal: peer, UpstreamHost: siteAddr}) != (peer == want) {
				t.Errorf("%s at %s", id, peer)
			}
		}
	}
}

// deafFor is a mesh whose access log of one client is never complete.
type deafFor struct {
	*world
	client string
}

func (d deafFor) Flush(ctx context.Context, client string) error {
	if client == d.client {
		return context.DeadlineExceeded
	}
	return d.world.Flush(ctx, client)
}

// One client's log that is not complete leaves the others' answers as they are.
func TestAskWithoutOneLog(t *testing.T) {
	w := &world{}
	e := engineOf(w)
	e.Mesh = deafFor{w, "client"}
	got := e.Ask(t.Context(), []egress.Probe{egress.GET("client", "http://httpbin.org/a", "-s"), egress.GET("client2", "http://httpbin.org/b", "-s")})()
	if got[0].Verdict != egress.Inconclusive || !strings.Contains(got[0].Why, `client "client" is not complete`) {
		t.Errorf("%+v", got[0])
	}
	if got[1].Got != egress.B502 || got[1].Verdict != egress.Conforms {
		t.Errorf("%+v", got[1])
	}
}

// sharing notes how many attempts each request of a client has, and makes some of them.
type sharing struct {
	*pool
	mu       sync.Mutex
	attempts []int
	makes    func(n int) int // of n attempts; fewer than one: the agent fails
}

func (s *sharing) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if n := len(q.Batch); n > 0 {
		s.mu.Lock()
		s.attempts = append(s.attempts, n)
		s.mu.Unlock()
		makes := s.makes(n)
		if makes < 1 {
			return Execution{}, context.DeadlineExceeded
		}
		q.Batch = q.Batch[:makes]
	}
	return s.pool.Do(ctx, client, q)
}

// Where there are many probes, one request makes the first attempts of several; what the agent did not come to is asked for anew.
func TestFirstAttemptsAreShared(t *testing.T) {
	all := func(n int) int { return n }
	for name, x := range map[string]struct {
		probes, requests int
		makes            func(n int) int
	}{
		"few":                             {10, 10, all},
		"twice as many as are under way":  {2 * underWay, underWay, all},
		"many":                            {2 * maxFirst * underWay, 2 * underWay, all},
		"too slow for all":                {2 * underWay, 2 * underWay, func(n int) int { return min(n, 2) }},
		"too slow for a second attempt":   {2 * underWay, 2 * underWay, func(int) int { return 1 }},
		"the agent fails where it has to": {2 * underWay, 3 * underWay, func(n int) int { return map[bool]int{true: n}[n <= 2] }},
	} {
		t.Run(name, func(t *testing.T) {
			w := &sharing{pool: &pool{world: &world{open: true}, lands: always("db1.example"), control: probe.HeldOpen}, makes: x.makes}
			probes := make([]egress.Probe, x.probes)
			for i := range probes {
				probes[i] = egress.Probe{From: "client", URL: "tcp://db1.example:9000"}
			}
			bubble(t, func(t *testing.T) {
				e := engineOf(w.world)
				e.Clients, e.Mesh = w, w
				for i, r := range e.Ask(t.Context(), probes)() {
					if r.Verdict != egress.Conforms || r.Got != egress.OK || r.Rounds != 2 {
						t.Fatalf("%d: %s %s (%s), %d attempts", i, r.Verdict, r.Got, r.Why, r.Rounds)
					}
				}
			})
			if len(w.attempts) != x.requests {
				t.Errorf("%d requests, want %d: %v", len(w.attempts), x.requests, w.attempts)
			}
		})
	}
}

// A probe that is slow by nature, or that the agent does not make by itself, keeps no other waiting.
func TestSharesOfOne(t *testing.T) {
	plain := egress.Probe{From: "client", URL: "tcp://db1.example:9000"}
	r := (&Engine{}).newRun(egress.Case{})
	for name, p := range map[string]egress.Probe{
		"dead":                 {URL: plain.URL, Dead: true},
		"several at once":      {URL: plain.URL, Parallel: 3},
		"a command":            {Command: "curl httpbin.org"},
		"curl with flags":      egress.GET("client", "http://httpbin.org/", "-v"),
		"a connection is held": {URL: plain.URL, Hold: &egress.Hold{}},
	} {
		tries := []*try{{probe: p}}
		for range 4 * underWay {
			tries = append(tries, &try{probe: plain})
		}
		shares := r.shares(tries)
		if len(shares[0]) != 1 || shares[0][0] != tries[0] || len(shares[1]) < 2 {
			t.Errorf("%s: shares of %d and %d", name, len(shares[0]), len(shares[1]))
		}
		n := 0
		for _, s := range shares {
			n += len(s)
		}
		if n != len(tries) {
			t.Errorf("%s: %d of %d tries", name, n, len(tries))
		}
	}
}
