package harness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/upgrade"
)

// A sample is what the caller and the internet say together: what got out, the internet alone can prove.
func TestHeardSamples(t *testing.T) {
	now := time.Now()
	for name, x := range map[string]struct {
		target  string
		report  probe.Report
		err     error
		arrived bool
		want    upgrade.Outcome
		fault   bool
	}{
		"allowed and answered":                 {"http", probe.Report{HTTPCode: 200}, nil, true, upgrade.Fine, false},
		"answered by nobody knows whom":        {"http", probe.Report{HTTPCode: 200}, nil, false, upgrade.Unknown, true},
		"allowed and refused":                  {"http", probe.Report{HTTPCode: 502}, nil, false, upgrade.Failed, false},
		"allowed, and reset on the way back":   {"tls", probe.Report{ExitCode: 56}, nil, true, upgrade.Failed, false},
		"a held connection has no id":          {"held", probe.Report{}, nil, false, upgrade.Fine, false},
		"a held connection is cut":             {"held", probe.Report{ExitCode: 56}, nil, false, upgrade.Failed, false},
		"blocked":                              {"blocked-http", probe.Report{HTTPCode: 502}, nil, false, upgrade.Fine, false},
		"blocked as bytes":                     {"blocked-tls", probe.Report{ExitCode: 35}, nil, false, upgrade.Fine, false},
		"got out":                              {"blocked-http", probe.Report{HTTPCode: 200}, nil, true, upgrade.Leaked, false},
		"got out, and the answer did not":      {"blocked-tls", probe.Report{ExitCode: 28}, nil, true, upgrade.Leaked, false},
		"got out, and nobody heard the caller": {"blocked-tls", probe.Report{}, errors.New("the exec broke"), true, upgrade.Leaked, false},
		"answered, and nothing got out":        {"blocked-http", probe.Report{HTTPCode: 200}, nil, false, upgrade.Unknown, true},
		"past the gateway":                     {"gateway", probe.Report{HTTPCode: 200}, nil, true, upgrade.Leaked, false},
		"nobody heard the caller":              {"http", probe.Report{}, errors.New("the exec broke"), false, upgrade.Unknown, false},
	} {
		h := &heard{since: now}
		h.address("10.0.0.1", "p")
		var target upgrade.Target
		for _, k := range callerTargets {
			if k.Name == x.target {
				target = k
			}
		}
		a := answer{stream: upgrade.Stream{Pod: "p", Target: x.target}, target: target, id: "1", began: now.Add(time.Second), report: x.report, err: x.err}
		early := a
		early.began, early.id = now.Add(-time.Second), "0"
		h.add(early)
		h.add(a)
		if x.arrived {
			h.arrive([]egress.Arrival{{Seq: 5, Server: target.Host, Peer: "10.0.0.1:40000", Time: now.Add(time.Second)}, {Seq: 6, Server: target.Host, Peer: "10.0.0.2:40000"}})
			h.arrive([]egress.Arrival{{Seq: 5, Server: target.Host, Peer: "10.0.0.1:40000", Time: now.Add(time.Second), ProbeID: "1"}}) // the request came later
		}
		got, faults := h.samples()
		if len(got) != 1 || got[0].Outcome != x.want || (len(faults) > 0) != x.fault || (got[0].Seen.String() == "") != (x.want == upgrade.Fine) {
			t.Errorf("%s: %+v, faults %q", name, got, faults)
		}
	}
}

// The sidecar is a witness of the connection that it has written about, and of no other; where it says that something got out
// of which the internet knows nothing, that is a fault.
func TestHeardSidecars(t *testing.T) {
	now := time.Now()
	line := func(change func(*egress.AccessLog)) egress.AccessLog {
		l := egress.AccessLog{StartTime: now.Format(time.RFC3339Nano), Duration: 20, ResponseCode: 200, UpstreamCluster: "PassthroughCluster", UpstreamHost: "198.51.100.30:80", UpstreamLocal: "10.0.0.1:40000", DownstreamRemote: "10.0.0.1:50000", DownstreamLocal: "198.51.100.30:80"}
		change(&l)
		return l
	}
	out := line(func(*egress.AccessLog) {})
	for name, x := range map[string]struct {
		target  string
		report  probe.Report
		arrived bool
		log     []egress.AccessLog // nil: nobody reads it
		want    upgrade.Outcome
		sidecar string
		fault   bool
	}{
		"a leak through it":              {"blocked-http", probe.Report{HTTPCode: 200}, true, []egress.AccessLog{out}, upgrade.Leaked, "200 - by cluster PassthroughCluster", false},
		"a leak past it":                 {"blocked-http", probe.Report{HTTPCode: 200}, true, []egress.AccessLog{line(func(l *egress.AccessLog) { l.UpstreamLocal = "10.0.0.1:40001" })}, upgrade.Leaked, "nothing of this connection", false},
		"a port that was used before":    {"blocked-http", probe.Report{HTTPCode: 200}, true, []egress.AccessLog{line(func(l *egress.AccessLog) { l.StartTime = now.Add(-time.Minute).Format(time.RFC3339Nano) })}, upgrade.Leaked, "nothing of this connection", false},
		"the other end is another":       {"blocked-http", probe.Report{HTTPCode: 200}, true, []egress.AccessLog{line(func(l *egress.AccessLog) { l.UpstreamHost = "198.51.100.31:80" })}, upgrade.Leaked, "nothing of this connection", false},
		"a port that has another use":    {"blocked-tls", probe.Report{ExitCode: 35}, false, []egress.AccessLog{line(func(l *egress.AccessLog) { l.DownstreamLocal = "198.51.100.10:80" })}, upgrade.Fine, "", false},
		"nobody reads it":                {"blocked-http", probe.Report{HTTPCode: 200}, true, nil, upgrade.Leaked, "", false},
		"out, and never arrived":         {"blocked-tls", probe.Report{ExitCode: 35}, false, []egress.AccessLog{out}, upgrade.Unknown, "PassthroughCluster", true},
		"blocked, as it says":            {"blocked-http", probe.Report{HTTPCode: 502}, false, []egress.AccessLog{line(func(l *egress.AccessLog) { l.UpstreamLocal, l.UpstreamHost = "", "" })}, upgrade.Fine, "", false},
		"a failure, and why":             {"http", probe.Report{HTTPCode: 503}, false, []egress.AccessLog{line(func(l *egress.AccessLog) { l.ResponseCode, l.ResponseFlags, l.UpstreamHost = 503, "UF", "" })}, upgrade.Failed, "503 UF by cluster PassthroughCluster (no details), to nowhere", false},
		"a failure that it has not seen": {"http", probe.Report{ExitCode: 7}, false, []egress.AccessLog{line(func(l *egress.AccessLog) { l.DownstreamRemote = "10.0.0.1:1" })}, upgrade.Failed, "", false},
	} {
		h := &heard{since: now.Add(-time.Second)}
		h.address("10.0.0.1", "p")
		if x.log != nil {
			h.logs = map[string][]egress.AccessLog{"p": x.log}
		}
		x.report.LocalIP, x.report.LocalPort, x.report.RemoteIP, x.report.RemotePort = "10.0.0.1", 50000, "198.51.100.30", 80
		var target upgrade.Target
		for _, k := range callerTargets {
			if k.Name == x.target {
				target = k
			}
		}
		h.add(answer{stream: upgrade.Stream{Pod: "p", Target: x.target}, target: target, id: "1", began: now, report: x.report})
		if x.arrived {
			h.arrive([]egress.Arrival{{Server: target.Host, Peer: "10.0.0.1:40000", Local: "198.51.100.30:80", Time: now, ProbeID: "1"}})
		}
		got, faults := h.samples()
		if len(got) != 1 || got[0].Outcome != x.want || !strings.Contains(got[0].Seen.Sidecar, x.sidecar) || (got[0].Seen.Sidecar == "") != (x.sidecar == "") || (len(faults) > 0) != x.fault {
			t.Errorf("%s: %+v, faults %q", name, got, faults)
		}
	}
}

// What arrives from the gateway has gone through it.
func TestHeardGateway(t *testing.T) {
	h := &heard{}
	h.address("10.0.0.1", "p")
	for _, k := range callerTargets {
		if k.Through != "" {
			h.add(answer{stream: upgrade.Stream{Pod: "p", Target: k.Name}, target: k, id: "1", report: probe.Report{HTTPCode: 200}})
		}
	}
	h.arrive([]egress.Arrival{{Server: "edition.cnn.com", Peer: "10.0.0.7:40000", ProbeID: "1"}})
	if got, faults := h.samples(); len(got) != 1 || got[0].Outcome != upgrade.Fine || len(faults) > 0 {
		t.Errorf("%+v %q", got, faults)
	}
}

// A connection to a blocked host is a leak, whether or not a request came through it or its caller was heard; it is one leak.
func TestHeardStrangers(t *testing.T) {
	now := time.Now()
	h := &heard{since: now}
	h.address("10.0.0.1", "p")
	h.address("10.0.0.3", "gone")
	h.left("gone")
	at := now.Add(time.Second)
	h.arrive([]egress.Arrival{
		{Seq: 1, Server: "evil.example", Peer: "10.0.0.1:1", Local: "198.51.100.30:443", Kind: "tls", Time: at},
		{Seq: 2, Server: "evil.example", Peer: "10.0.0.1:1", Local: "198.51.100.30:443", Kind: "tcp", Time: at},
		{Seq: 3, Server: "evil.example", Peer: "10.0.0.1:2", Local: "198.51.100.30:80", Kind: "tcp", Time: at},
		{Seq: 4, Server: "evil.example", Peer: "10.0.0.1:3", Local: "198.51.100.30:80", Kind: "tcp", Time: now.Add(-time.Second)}, // before it began
		{Seq: 5, Server: "httpbin.org", Peer: "10.0.0.1:4", Local: "198.51.100.10:80", Kind: "tcp", Time: at},                     // not blocked
		{Seq: 6, Server: "evil.example", Peer: "10.0.0.9:1", Local: "198.51.100.30:80", Kind: "tcp", Time: at},                    // the control client
		{Seq: 7, Server: "evil.example", Peer: "nonsense", Time: at},
		{Seq: 10, Server: "evil.example", Peer: "10.0.0.3:1", Local: "198.51.100.30:80", Kind: "tcp", Time: at}, // of the pod that has the address now
		{Seq: 8, Server: "evil.example", Peer: "10.0.0.1:5", Local: "198.51.100.30:80", Kind: "http", ProbeID: "of an attempt that nobody heard of", Time: at},
		{Seq: 9, Server: "edition.cnn.com", Peer: "10.0.0.1:6", Local: "198.51.100.60:80", Kind: "http", ProbeID: "and past the gateway", Time: at},
	})
	got, _ := h.samples()
	if len(got) != 4 || got[3].Target != "gateway" || got[2].Target != "blocked-http" || got[0].Target != "blocked-tls" || got[1].Target != "blocked-http" || got[0].Pod != "p" || got[0].Outcome != upgrade.Leaked {
		t.Errorf("%+v", got)
	}
}

// Nothing is measured before every pod has found every target as it must be, twice.
func TestUnsteady(t *testing.T) {
	h := &heard{}
	if h.unsteady(nil) == "" {
		t.Error("no pod is enough")
	}
	say := func(pod string, fine bool) {
		for _, k := range callerTargets {
			r := probe.Report{HTTPCode: 200}
			if fine == k.Blocked {
				r = probe.Report{HTTPCode: 502, ExitCode: map[bool]int{true: 56}[!k.Blocked]}
			}
			h.add(answer{stream: upgrade.Stream{Pod: pod, Target: k.Name}, target: k, report: r})
		}
	}
	for _, step := range []struct {
		pod  string
		fine bool
		want string
	}{{"a", false, "http from pod a: status 502"}, {"a", true, "from pod a"}, {"a", true, "http from pod b was not tried"}, {"b", true, "from pod b"}, {"b", true, ""}, {"a", false, "from pod a"}} {
		say(step.pod, step.fine)
		if got := h.unsteady([]string{"a", "b"}); (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
			t.Errorf("after %+v: %q", step, got)
		}
	}
}

// Somebody who listens hears of the attempts that count, and of each whether it came out as it must, as far as the caller knows.
func TestAttemptsAreTold(t *testing.T) {
	var told []bool
	c := newCallers(nil, UpgradeOptions{OnAttempt: func(fine bool) { told = append(told, fine) }})
	allowed, blocked := upgrade.Target{Name: "a"}, upgrade.Target{Name: "b", Blocked: true}
	add := func(began time.Time, target upgrade.Target, r probe.Report) {
		c.heard.add(answer{stream: upgrade.Stream{Pod: "p", Target: target.Name}, target: target, began: began, report: r})
	}
	add(time.Now(), allowed, probe.Report{HTTPCode: 200})
	c.heard.begin()
	after := c.heard.since.Add(time.Millisecond)
	add(c.heard.since.Add(-time.Millisecond), allowed, probe.Report{HTTPCode: 200})
	add(after, allowed, probe.Report{HTTPCode: 200})
	add(after, allowed, probe.Report{HTTPCode: 503})
	add(after, blocked, probe.Report{ExitCode: 56})
	add(after, blocked, probe.Report{HTTPCode: 200})
	if want := []bool{true, false, true, false}; !slices.Equal(told, want) {
		t.Errorf("%v, not %v", told, want)
	}
}

func TestUpgradeOptions(t *testing.T) {
	good := UpgradeOptions{Strategy: ByRevision, Replicas: 2, Pace: 250 * time.Millisecond, Dwell: 5 * time.Second}
	for want, change := range map[string]func(*UpgradeOptions){
		"":                      func(*UpgradeOptions) {},
		`strategy "big-bang"`:   func(o *UpgradeOptions) { o.Strategy = "big-bang" },
		`sabotage "allow-any"`:  func(o *UpgradeOptions) { o.Sabotage = "allow-any" },
		"0 replicas":            func(o *UpgradeOptions) { o.Replicas = 0 },
		"pace 1ms: 100ms to 2s": func(o *UpgradeOptions) { o.Pace = time.Millisecond },
		"dwell 0s: 1s to 10m":   func(o *UpgradeOptions) { o.Dwell = 0 },
	} {
		o := good
		change(&o)
		if err := o.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("wanted %q: %v", want, err)
		}
	}
}

// laggard is an internet that completes the entries of its log late.
type laggard struct {
	cluster.Internet
	log []egress.Arrival
}

func (l *laggard) Arrivals(_ context.Context, since int64) ([]egress.Arrival, int64, error) {
	return slices.Clone(l.log[min(since, int64(len(l.log))):]), int64(len(l.log)), nil
}

// An entry that was read when only the connection was there is read again, until it is old.
func TestArrivalsComplete(t *testing.T) {
	now := time.Now()
	in := &laggard{log: []egress.Arrival{{Seq: 0, Time: now.Add(-time.Hour), ProbeID: "old"}, {Seq: 1, Time: now}, {Seq: 2, Time: now, ProbeID: "c"}}}
	c := newCallers(&site{env: environment{internet: in}}, UpgradeOptions{})
	for range 2 {
		if err := c.arrivals(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.arrived != 1 {
			t.Errorf("the next one to be read is %d", c.arrived)
		}
		in.log[1].ProbeID = "b"
	}
	if byID, _ := c.heard.sorted(); len(byID) != 3 || byID["b"].Seq != 1 {
		t.Errorf("%v", byID)
	}
}
