package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// pool is a world of TCP attempts: a cluster with several endpoints, connections that are held, limits that overflow.
type pool struct {
	*world
	lands   func(n int) string // the host at which the n-th attempt arrives while the rule is applied; "" fails at the sidecar
	n       int
	limit   int           // how many attempts are let through at once; 0 for all
	takes   time.Duration // how long an answered attempt lasts
	starts  time.Duration // the time between the beginnings of attempts
	running int
	cuts    func(open bool) bool // whether a held connection is cut when it is used again
	control string               // what the control client's held connection comes to
	held    map[string]*egress.AccessLog
	flags   string // of the line of a cut connection
}

const (
	poolCluster = "outbound|9000||pool.example"
	twoPages    = poolCluster + "::198.51.100.81:9000::health_flags::healthy\n" + poolCluster + "::198.51.100.81:9000::weight::1\n" +
		poolCluster + "::198.51.100.82:9000::health_flags::healthy\n" + poolCluster + "::198.51.100.82:9000::weight::1\n"
)

func (w *pool) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if q.Page != nil {
		return w.world.Do(ctx, client, q)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Release != "" {
		for name, l := range w.held {
			if strings.HasPrefix(name, q.Release) {
				w.lines = append(w.lines, *l)
				delete(w.held, name)
			}
		}
		return Execution{}, nil
	}
	if q.Spec == nil && len(q.Batch) == 0 { // a question to the sidecar, which does not tell
		return Execution{ExitCode: 1}, nil
	}
	if len(q.Batch) > 0 {
		var reports []probe.Report
		for i := range q.Batch {
			reports = append(reports, w.attempt(client, &q.Batch[i]))
		}
		b, err := json.Marshal(reports)
		return Execution{Stdout: string(b)}, err
	}
	began := time.Now()
	for range w.running { // the agent's clock
		began = began.Add(w.starts)
	}
	rep := w.attempt(client, q.Spec)
	ended := time.Now()
	if rep.ExitCode == 0 {
		ended = began.Add(w.takes)
	}
	b, err := json.Marshal(rep)
	return Execution{ExitCode: rep.ExitCode, Stdout: string(b), Began: began, Ended: ended}, err
}

func (w *pool) attempt(client string, s *probe.Spec) probe.Report {
	if client == egress.ControlClient {
		return w.byControl(s)
	}
	if s.Hold != nil && s.Hold.Resume {
		return w.resume(s)
	}
	port := s.Ports[0]
	r := probe.Report{LocalPort: port, RemoteIP: "198.51.100.81", RemotePort: 9000}
	l := egress.AccessLog{StartTime: "t", DownstreamRemote: fmt.Sprintf("%s:%d", clientIP, port), DownstreamLocal: "198.51.100.81:9000", UpstreamCluster: "BlackHoleCluster"}
	if !w.open {
		w.lines = append(w.lines, l)
		r.ExitCode = wire.ExitEmpty
		return r
	}
	l.UpstreamCluster = poolCluster
	w.n++
	server := w.lands(w.n)
	w.running++
	if w.limit > 0 && (w.running-1)%volley >= w.limit {
		l.ResponseFlags = "UO"
		w.lines = append(w.lines, l)
		r.ExitCode = wire.ExitEmpty
		return r
	}
	if server == "" {
		l.ResponseFlags = "UF"
		w.lines = append(w.lines, l)
		r.ExitCode = wire.ExitEmpty
		return r
	}
	w.seq++
	l.UpstreamLocal, l.UpstreamHost = fmt.Sprintf("%s:%d", clientIP, 40000+w.n), server+":9000"
	w.arrivals = append(w.arrivals, egress.Arrival{Seq: w.seq, Server: server, Peer: l.UpstreamLocal, Local: l.UpstreamHost, Kind: "tcp"})
	switch h := s.Hold; {
	case h != nil && h.Open:
		if w.held == nil {
			w.held = map[string]*egress.AccessLog{}
		}
		if old := w.held[h.Name]; old != nil {
			w.lines = append(w.lines, *old)
		}
		w.held[h.Name] = &l
		return r
	case h != nil:
		r.Held = probe.HeldOpen
		if w.cuts(w.open) {
			r.Held, r.ExitCode, l.ResponseFlags = probe.HeldCut, wire.ExitEmpty, w.flags
		}
	}
	w.lines = append(w.lines, l)
	return r
}

// volley is how many attempts the tests make at once.
const volley = 5

func (w *pool) resume(s *probe.Spec) probe.Report {
	l := w.held[s.Hold.Name]
	if l == nil {
		return probe.Report{ExitCode: wire.ExitInternal}
	}
	var port int
	_, _ = fmt.Sscanf(l.DownstreamRemote, clientIP+":%d", &port)
	r := probe.Report{LocalPort: port, RemoteIP: "198.51.100.81", RemotePort: 9000, Held: probe.HeldOpen}
	if w.cuts(w.open) {
		r.Held, r.ExitCode = probe.HeldCut, wire.ExitEmpty
	}
	return r
}

func (w *pool) byControl(s *probe.Spec) probe.Report {
	r := probe.Report{LocalPort: s.Ports[0], RemoteIP: "198.51.100.81", RemotePort: 9000}
	if s.Hold != nil && !s.Hold.Open {
		r.Held = w.control
		if r.Held == probe.HeldCut {
			r.ExitCode = wire.ExitEmpty
		}
	}
	w.seq++
	w.arrivals = append(w.arrivals, egress.Arrival{Seq: w.seq, Server: "db1.example", Peer: fmt.Sprintf("%s:%d", controlIP, s.Ports[0]), Local: "198.51.100.81:9000", Kind: "tcp"})
	return r
}

func (w *pool) run(t *testing.T, p egress.Probe) (r egress.Result) {
	t.Helper()
	w.world = &world{pages: w.pagesOrNone()}
	if w.control == "" {
		w.control = probe.HeldOpen
	}
	p.From, p.URL = "client", "tcp://db1.example:9000"
	c := egress.Case{Name: "pool", Area: "tcp", Claim: "c", Source: "s", Needs: []egress.Feature{egress.Hermetic}, Probes: []egress.Probe{p}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	bubble(t, func(t *testing.T) {
		e := engineOf(w.world)
		e.Clients, e.Mesh = w, w
		r = e.Run(t.Context(), c)
	})
	return r
}

func (w *pool) pagesOrNone() map[string]string {
	if w.world != nil {
		return w.pages
	}
	return nil
}

func pages(clusters, kind string) *world {
	return &world{pages: map[string]string{"/clusters": clusters, "/config_dump": `"name": "` + poolCluster + "\",\n\"type\": \"" + kind + "\",\n"}}
}

func always(host string) func(int) string { return func(int) string { return host } }

// at lands elsewhere from one attempt to another.
func at(host string, from, to int) func(int) string {
	return func(n int) string {
		if n >= from && n <= to {
			return host
		}
		return "db1.example"
	}
}

// Where the cluster has several endpoints, two equal attempts do not settle where attempts land.
func TestRandomLanding(t *testing.T) {
	opens := egress.Wants{egress.BRST, egress.OK, egress.BRST, egress.BRST}
	opens[egress.Changed] = 0
	for name, x := range map[string]struct {
		world  *world
		lands  func(int) string
		want   egress.Verdict
		why    string
		rounds int // in phase applied
	}{
		"one endpoint":                        {pages("", "EDS"), always("db1.example"), egress.Conforms, "", 2},
		"two endpoints, both right":           {pages(twoPages, "EDS"), always("db1.example"), egress.Conforms, "", 21},
		"one of them wrong, late":             {pages(twoPages, "STRICT_DNS"), at("db2.example", 20, 20), egress.Violates, "LED", 21},
		"one of them dead":                    {pages(twoPages, "EDS"), at("", 7, 7), egress.Violates, "503UF, wanted OK", 21},
		"an old configuration at the first":   {pages(twoPages, "EDS"), at("db2.example", 1, 1), egress.Inconclusive, "rounds differ: LED, then OK", 21},
		"wrong at the first, and again":       {pages(twoPages, "EDS"), func(n int) string { return []string{"db2.example", "db1.example"}[n%3%2] }, egress.Violates, "LED, wanted OK", 21},
		"all wrong":                           {pages(twoPages, "EDS"), always("db2.example"), egress.Violates, "LED", 21},
		"the client's address is where it is": {pages(twoPages, "ORIGINAL_DST"), always("db1.example"), egress.Conforms, "", 2},
		"one of two is ill": {
			pages(strings.Replace(twoPages, "198.51.100.82:9000::health_flags::healthy", "198.51.100.82:9000::health_flags::/failed_active_hc", 1), "EDS"),
			always("db1.example"), egress.Conforms, "", 2,
		},
		"another cluster has two": {pages(strings.ReplaceAll(twoPages, poolCluster, "outbound|80||b"), "EDS"), always("db1.example"), egress.Conforms, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := &pool{world: x.world, lands: x.lands}
			r := w.run(t, egress.Probe{Wants: opens})
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			if got := r.Phases[1].Probes[0].Rounds; got != x.rounds {
				t.Errorf("%d attempts, wanted %d", got, x.rounds)
			}
		})
	}
}

// A proxy that does not tell its endpoints is no reason to call a case broken; the evidence says it.
func TestSilentProxy(t *testing.T) {
	w := &pool{world: pages(twoPages, "EDS"), lands: always("db1.example")}
	refuses := &silentAdmin{w}
	p := egress.Probe{From: "client", URL: "tcp://db1.example:9000", Wants: egress.Wants{egress.BRST, egress.OK, 0, egress.BRST}}
	c := egress.Case{Name: "pool", Area: "tcp", Claim: "c", Source: "s", Needs: []egress.Feature{egress.Hermetic}, Probes: []egress.Probe{p}}
	bubble(t, func(t *testing.T) {
		e := engineOf(w.world)
		e.Clients, e.Mesh = refuses, w
		r := e.Run(t.Context(), c)
		if r.Verdict != egress.Conforms || !strings.Contains(r.Phases[1].Probes[0].Evidence, "how many endpoints may answer is not known") {
			t.Errorf("%s (%s): %s", r.Verdict, r.Why, r.Phases[1].Probes[0].Evidence)
		}
	})
}

type silentAdmin struct{ *pool }

func (s *silentAdmin) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if q.Page != nil {
		return Execution{ExitCode: wire.ExitRefused, Stderr: "nobody listens"}, nil
	}
	return s.pool.Do(ctx, client, q)
}

func TestSpread(t *testing.T) {
	share := func(text string) (s egress.Share) {
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	everyThird := func(n int) string {
		if n%3 == 0 {
			return "db2.example"
		}
		return "db1.example"
	}
	for name, x := range map[string]struct {
		lands  func(int) string
		repeat int
		spread egress.Spread
		want   egress.Verdict
		why    string
		rounds int
	}{
		"all":                        {always("db1.example"), 0, egress.Spread{"db1.example": share("100%")}, egress.Conforms, "", 21},
		"all but one":                {at("db2.example", 13, 13), 0, egress.Spread{"db1.example": share("100%")}, egress.Violates, "20 of 21 attempts arrived at db1.example, wanted 100%", 21},
		"as often as it says":        {always("db1.example"), 50, egress.Spread{"db1.example": share("100%")}, egress.Conforms, "", 50},
		"none":                       {at("db2.example", 13, 13), 30, egress.Spread{"db1.example": share(">=50%"), "db2.example": share("0%")}, egress.Violates, "1 of 30 attempts arrived at db2.example, wanted 0%", 30},
		"a third":                    {everyThird, 0, egress.Spread{"db1.example": share("67%"), "db2.example": share("33%")}, egress.Conforms, "", 200},
		"a third, half is wanted":    {everyThird, 600, egress.Spread{"db1.example": share("50%"), "db2.example": share("50%")}, egress.Violates, "of 600 attempts arrived at db", 600},
		"within a range":             {everyThird, 0, egress.Spread{"db1.example": share("40%..80%"), "db2.example": share("20%..60%")}, egress.Conforms, "", 200},
		"more than one allows":       {always("db1.example"), 0, egress.Spread{"db1.example": share("<=70%"), "db2.example": share(">=30%")}, egress.Violates, "wanted <=70%", 200},
		"a host that nobody named":   {at("db3.example", 100, 100), 0, egress.Spread{"db1.example": share(">=10%"), "db2.example": share("<=90%")}, egress.Violates, "db3.example, which the spread does not name", 200},
		"a share of what goes wrong": {at("", 13, 13), 0, egress.Spread{"db1.example": share("100%")}, egress.Violates, "503UF, wanted OK", 21},
	} {
		t.Run(name, func(t *testing.T) {
			w := &pool{lands: x.lands}
			r := w.run(t, egress.Probe{Repeat: x.repeat, Spread: map[egress.Phase]egress.Spread{egress.Applied: x.spread}, Wants: egress.Wants{egress.BRST, egress.OK, 0, egress.BRST}})
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			p := r.Phases[1].Probes[0]
			if p.Rounds != x.rounds || len(p.Observations) > maxKept {
				t.Errorf("%d attempts of which %d are kept, wanted %d", p.Rounds, len(p.Observations), x.rounds)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	applied, before := egress.Applied, egress.Before
	never, ever := func(bool) bool { return false }, func(bool) bool { return true }
	afterwards := func(open bool) bool { return !open }
	pause := egress.Duration(2 * time.Second)
	for name, x := range map[string]struct {
		hold    egress.Hold
		wants   string
		cuts    func(bool) bool
		control string
		flags   string
		want    egress.Verdict
		why     string
	}{
		"still open":                    {egress.Hold{Pause: pause, Then: "b"}, "BRST OPEN BRST", never, "", "", egress.Conforms, ""},
		"cut in the pause":              {egress.Hold{Pause: pause, Then: "b"}, "BRST CUT BRST", ever, "", "", egress.Conforms, ""},
		"cut, by the flags of its line": {egress.Hold{Pause: pause, Then: "b"}, "BRST CUT BRST", ever, "", "UC", egress.Conforms, ""},
		"open and not cut":              {egress.Hold{Pause: pause, Then: "b"}, "BRST CUT BRST", never, "", "", egress.Violates, "OPEN, wanted CUT"},
		"cut and not open":              {egress.Hold{Pause: pause, Then: "b"}, "BRST OPEN BRST", ever, "", "", egress.Violates, "CUT, wanted OPEN"},
		"cut for everybody":             {egress.Hold{Pause: pause, Then: "b"}, "BRST CUT BRST", ever, probe.HeldCut, "", egress.Inconclusive, "it is not the mesh that cuts it"},
		"held over a removal":           {egress.Hold{Then: "b", From: &applied}, "BRST OK OPEN", never, "", "", egress.Conforms, ""},
		"cut by a removal":              {egress.Hold{Then: "b", From: &applied}, "BRST OK CUT", afterwards, "", "", egress.Conforms, ""},
		"not cut by a removal":          {egress.Hold{Then: "b", From: &applied}, "BRST OK CUT", never, "", "", egress.Violates, "phase removed"},
		"cut by a removal, unwanted":    {egress.Hold{Then: "b", From: &applied}, "BRST OK OPEN", afterwards, "", "", egress.Violates, "CUT, wanted OPEN"},
		"nothing to hold":               {egress.Hold{Then: "b", From: &before}, "BRST OPEN OPEN", never, "", "", egress.Inconclusive, "exit 99"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &pool{lands: always("db1.example"), cuts: x.cuts, control: x.control, flags: x.flags}
			p := egress.Probe{Send: "a", Hold: &x.hold}
			if err := p.Wants.UnmarshalText([]byte(x.wants)); err != nil {
				t.Fatal(err)
			}
			r := w.run(t, p)
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			if len(w.held) > 0 {
				t.Error("connections are still held")
			}
		})
	}
}

func TestAttemptsAtOnce(t *testing.T) {
	for name, x := range map[string]struct {
		limit  int
		starts time.Duration
		want   egress.Verdict
		why    string
		count  egress.Count
	}{
		"as many as should":         {2, 0, egress.Conforms, "", egress.Count{Min: 3, Max: 3}},
		"within the range":          {2, 0, egress.Conforms, "", egress.Count{Min: 1, Max: 4}},
		"all":                       {0, 0, egress.Conforms, "", egress.Count{}},
		"too few":                   {4, 0, egress.Violates, "1 of 5 attempts at once overflowed (503UO), wanted 3", egress.Count{Min: 3, Max: 3}},
		"too many":                  {1, 0, egress.Violates, "4 of 5 attempts at once overflowed (503UO), wanted 1..2", egress.Count{Min: 1, Max: 2}},
		"none though some should":   {0, 0, egress.Violates, "0 of 5 attempts at once overflowed (503UO), wanted 1..4", egress.Count{Min: 1, Max: 4}},
		"not at once on a busy day": {0, time.Hour, egress.Inconclusive, "could not be made at once", egress.Count{Min: 1, Max: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &pool{lands: always("db1.example"), limit: x.limit, takes: time.Second, starts: x.starts}
			r := w.run(t, egress.Probe{Parallel: volley, Overflow: map[egress.Phase]egress.Count{egress.Applied: x.count}, Wants: egress.Wants{egress.BRST, egress.OK, 0, egress.BRST}})
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
		})
	}
}

// What a proxy never had it can have in the last phase only by other addresses of names; so it is not asked again.
func TestNeverBalanced(t *testing.T) {
	phases := []egress.Phase{egress.Before, egress.Applied, egress.Removed}
	none, two := &clusterPage{asked: true}, &clusterPage{asked: true, clusters: map[string][]int{poolCluster: {1, 1}}}
	for name, x := range map[string]struct {
		before, applied *clusterPage
		want            bool
	}{
		"in no phase":          {none, none, true},
		"while it was applied": {none, two, false},
		"before":               {two, none, false},
		"not asked before":     {nil, none, false},
		"not asked since":      {none, nil, false},
		"no answer":            {none, &clusterPage{asked: true, err: errors.New("silent")}, false},
	} {
		c := clusterPages{pages: map[clusterKey]*clusterPage{{"other", egress.Applied}: two}}
		for ph, p := range map[egress.Phase]*clusterPage{egress.Before: x.before, egress.Applied: x.applied} {
			if p != nil {
				c.pages[clusterKey{"client", ph}] = p
			}
		}
		if got := c.never("client", phases); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
