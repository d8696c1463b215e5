package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// world is a mesh made of a few lines: what it says to the three witnesses can be bent one by one.
type world struct {
	clock, dump string // when its proxy's lines begin, and its configuration
	mu          sync.Mutex
	open        bool // the rule is applied
	seq         int64
	port        int
	lines       []egress.AccessLog
	arrivals    []egress.Arrival
	removed     int
	cleaned     int

	allowAny            bool // everything goes through, rule or not
	dead                bool // the destination answers nobody
	stubborn            bool // the rule stays after its removal
	deaf                bool // the rule never takes effect
	lateRounds          int  // rounds until an applied rule takes effect
	execFails           func(client, script string) error
	garble              func(stdout string) string
	noLines             bool // the access log is empty
	flushErr            error
	arrivalsErr         error
	loseArrival         bool // the destination's log loses entries
	readyErr            error
	applyErr            error
	removeErr, cleanErr error
	podChanges          bool
	identities          int
	stray               bool // something else of the pod reaches the destination
	wrongServer         bool
	noName              bool // the client's DNS is broken, the control client's is not
	hang                bool
	trouble             bool   // the destination answers everybody with an error
	ejected             bool   // and the mesh does not ask it any more
	refusal             string // the flag by which it says so, for another one than UH
	invented            bool   // the sidecar does not say where its answer comes from
	lost                bool   // the control client does not even get a connection
	service             bool   // the control client calls a Service, in no protocol that carries an id
	strangers           bool   // somebody else's connections arrive, and the control client's do not
	refusals            int    // of the control client's attempts while the rule is there

	unanswered map[string]int // by client: how many of its next questions to DNS get no answer
	late       map[string]int // by client: how many of its next connections have no time left for an answer

	pages   map[string]string // of the sidecar's administration interface, by path
	rejects bool              // the client does not accept the certificate that it is shown
	slow    bool              // everybody waits in vain
	stalls  bool              // the mesh holds what the rule allows, and sends nothing on
	silent  bool              // and its log does not tell
	leaks   bool              // and the destination has an arrival that no line explains
}

const (
	clientIP  = "10.0.0.1"
	controlIP = "10.0.0.2"
	siteAddr  = "198.51.100.10:80"
)

var idRE = regexp.MustCompile(wire.ProbeHeader + `: ([0-9a-f]+-[0-9]+)`)

func (w *world) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	script := strings.Join(q.Argv, " ")
	if w.hang {
		<-ctx.Done()
		return Execution{}, ctx.Err()
	}
	if q.Page != nil {
		return Execution{Stdout: w.pages[strings.Split(strings.TrimPrefix(q.Page.URL, adminURL), "?")[0]]}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.execFails != nil {
		if err := w.execFails(client, script); err != nil {
			return Execution{}, err
		}
	}
	if strings.Contains(script, dumpURL) {
		return Execution{Stdout: w.dump}, nil
	}
	id := idRE.FindStringSubmatch(script)[1]
	w.port++
	port := 11000 + w.port
	var code, exit int
	switch {
	case w.unanswered[client] > 0:
		w.unanswered[client]--
		port, exit = 0, wire.ExitTimeout
	case w.late[client] > 0:
		w.late[client]--
		exit = wire.ExitTimeout
	case w.lost && client == egress.ControlClient:
		port, exit = 0, wire.ExitRefused
	default:
		code, exit = w.request(client, id, port)
	}
	remote := "198.51.100.10"
	if w.service && client == egress.ControlClient {
		remote = "10.96.0.9"
	}
	rep, err := json.Marshal(map[string]any{"exitcode": exit, "http_code": code, "local_port": port, "remote_ip": remote, "remote_port": 80})
	if err != nil {
		return Execution{}, err
	}
	out := string(rep)
	if w.garble != nil {
		out = w.garble(out)
	}
	return Execution{ExitCode: exit, Stdout: out}, nil
}

func (w *world) request(client, id string, port int) (code, exit int) {
	if client == egress.ControlClient {
		if w.dead {
			return 0, wire.ExitRefused
		}
		if w.open && w.refusals > 0 {
			w.refusals--
			return 0, wire.ExitRefused
		}
		if w.slow {
			w.arrive(id, fmt.Sprintf("%s:%d", controlIP, port))
			return 0, wire.ExitTimeout
		}
		switch {
		case w.strangers:
			w.arrive("", fmt.Sprintf("%s:%d", controlIP, port+20000))
		case w.service:
			w.arrive("", fmt.Sprintf("%s:%d", controlIP, port))
		default:
			w.arrive(id, fmt.Sprintf("%s:%d", controlIP, port))
		}
		if w.trouble {
			return 500, 0
		}
		return 200, 0
	}
	if w.noName {
		return 0, 6
	}
	me := fmt.Sprintf("%s:%d", clientIP, port)
	l := egress.AccessLog{StartTime: cmp.Or(w.clock, "t"), Method: "GET", Authority: "httpbin.org", DownstreamRemote: me, DownstreamLocal: siteAddr}
	open := w.open && !w.deaf
	if open && w.lateRounds > 0 {
		w.lateRounds--
		open = false
	}
	switch {
	case open || w.allowAny:
		l.UpstreamCluster, l.ResponseCode = "outbound|80||httpbin.org", 200
		if !open {
			l.UpstreamCluster = "PassthroughCluster"
		}
		if w.dead {
			l.ResponseCode, l.ResponseFlags, code = 503, "UF", 503
			break
		}
		if w.ejected {
			l.ResponseCode, l.ResponseFlags, code = 503, cmp.Or(w.refusal, "UH"), 503
			break
		}
		if w.stalls || w.slow {
			l.ResponseCode, l.ResponseFlags, exit = 0, "DC", wire.ExitTimeout
			if w.leaks {
				w.arrive("", fmt.Sprintf("%s:%d", clientIP, 60000+w.port))
			}
			if w.silent {
				return 0, exit
			}
			break
		}
		l.UpstreamLocal, l.UpstreamHost, code = fmt.Sprintf("%s:%d", clientIP, 40000+w.port), siteAddr, 200
		if w.rejects {
			code, exit, l.ResponseCode = 0, wire.ExitCert, 0
		}
		if !w.invented {
			l.ResponseDetails = "via_upstream"
		}
		if w.trouble {
			l.ResponseCode, code = 500, 500
		}
		w.arrive(id, l.UpstreamLocal)
	default:
		l.ResponseCode, l.RouteName, code = 502, "block_all", 502
	}
	if w.stray {
		w.arrive("", fmt.Sprintf("%s:%d", clientIP, 60000+w.port))
	}
	if !w.noLines {
		w.lines = append(w.lines, l)
	}
	return code, exit
}

func (w *world) arrive(id, peer string) {
	if w.loseArrival {
		return
	}
	w.seq++
	server := "httpbin.org"
	if w.wrongServer && strings.HasPrefix(peer, clientIP) {
		server = "evil.example"
	}
	status := 200
	if w.trouble {
		status = 500
	}
	w.arrivals = append(w.arrivals, egress.Arrival{Status: status, Seq: w.seq, Server: server, Peer: peer, Local: siteAddr, Kind: "http", ProbeID: id})
}

func (w *world) Describe(client string) (ClientInfo, error) {
	if client == egress.ControlClient {
		return ClientInfo{IP: controlIP}, nil
	}
	return ClientInfo{IP: clientIP, Captured: true}, nil
}

func (w *world) Identity(context.Context, string) (string, error) {
	w.identities++
	if w.podChanges {
		return fmt.Sprint("pod ", w.identities), nil
	}
	return "pod", nil
}

func (w *world) Apply(context.Context, egress.Case) (Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = true
	return Change{Acknowledged: true, Applied: []string{"kind: ServiceEntry\n"}}, w.applyErr
}

func (w *world) Ready(context.Context, egress.Case) error { return w.readyErr }

func (w *world) Change(context.Context, egress.Case) (Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = false
	return Change{Acknowledged: true}, nil
}

func (w *world) Remove(context.Context, egress.Case) (Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed++
	if !w.stubborn {
		w.open = false
	}
	return Change{Acknowledged: true}, w.removeErr
}

func (w *world) Gateways(context.Context) ([]Gateway, error) { return nil, nil }

// Flush leaves a line of its own, as it does in a real proxy.
func (w *world) Flush(context.Context, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.noLines {
		w.lines = append(w.lines, egress.AccessLog{Path: "/ready", UpstreamLocal: clientIP + ":60000", UpstreamHost: "10.96.0.1:15014"})
	}
	return w.flushErr
}

func (w *world) Mark(string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lines)
}

func (w *world) Lines(_ context.Context, client string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	if client == egress.ControlClient {
		return nil, errors.New("the control client has no sidecar, and no access log")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []egress.AccessLog
	for _, l := range w.lines[mark:] {
		if q.Have(l) {
			out = append(out, l)
		}
	}
	return out, nil
}

func (w *world) Arrivals(_ context.Context, since int64) ([]egress.Arrival, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.arrivalsErr != nil {
		return nil, 0, w.arrivalsErr
	}
	var out []egress.Arrival
	for _, a := range w.arrivals {
		if a.Seq >= since {
			out = append(out, a)
		}
	}
	return out, w.seq + 1, nil
}

func run1(w *world) egress.Result { return engineOf(w).Run(context.Background(), theCase()) } //nolint:usetesting // some cases outlive their test's context on purpose

func engineOf(w *world) *Engine {
	return &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Version: "1.31", Features: []egress.Feature{egress.Hermetic}, Patience: 20 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond}
}

func theCase() egress.Case {
	return egress.Case{
		Name: "http-open", Area: "http", Curl: true, Claim: "c", Source: "s", Needs: []egress.Feature{egress.Hermetic},
		Probes:    []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(egress.Blocked, egress.OK, egress.Blocked)},
		Unchanged: []string{"client"},
	}
}

func TestVerdicts(t *testing.T) {
	broken := errors.New("broken on purpose")
	for name, x := range map[string]struct {
		w    *world
		want egress.Verdict
		why  string
	}{
		"a sound mesh":              {&world{}, egress.Conforms, ""},
		"a rule that takes a while": {&world{lateRounds: 3}, egress.Conforms, ""},
		"ALLOW_ANY":                 {&world{allowAny: true}, egress.Violates, "PASS, wanted blocked"},
		"a rule without effect":     {&world{deaf: true}, egress.Violates, "B502, wanted OK"},
		"a rule that stays":         {&world{stubborn: true}, egress.Violates, "phase removed"},
		"the wrong server":          {&world{wrongServer: true}, egress.Violates, "LED, wanted OK: it arrived at evil.example"},
		"the wrong server, whose certificate is not accepted": {&world{wrongServer: true, rejects: true}, egress.Violates, "LED, wanted OK: it arrived at evil.example"},
		"the wrong server, and a log that loses it":           {&world{wrongServer: true, rejects: true, noLines: true}, egress.Inconclusive, "do not agree"},
		"a certificate that is not accepted":                  {&world{rejects: true}, egress.Inconclusive, "CERT, wanted OK"},
		"a mesh that stalls":                                  {&world{stalls: true}, egress.Violates, "STALL, wanted OK"},
		"a mesh that stalls and logs nothing":                 {&world{stalls: true, silent: true}, egress.Violates, "STALL, wanted OK"},
		"a stall, and an arrival that nothing explains":       {&world{stalls: true, silent: true, leaks: true}, egress.Inconclusive, "unexplained arrival"},
		"a destination that lets everybody wait":              {&world{slow: true}, egress.Inconclusive, "the control client got no answer either"},
		"that, and a log without a line":                      {&world{slow: true, silent: true}, egress.Inconclusive, "TMO, wanted OK"},
		"another pod than before":                             {&world{podChanges: true}, egress.Violates, "changed while the case ran"},
		"a dead destination":                                  {&world{dead: true}, egress.Inconclusive, "control client could not reach"},
		"a control client by a Service's address":             {&world{service: true}, egress.Conforms, ""},
		"that, and somebody else's arrivals":                  {&world{service: true, strangers: true}, egress.Inconclusive, "control client could not reach"},
		"an internet that is gone":                            {&world{lost: true}, egress.Inconclusive, "could not reach any target"},
		"a dead destination, ALLOW_ANY":                       {&world{dead: true, allowAny: true}, egress.Inconclusive, "control client could not reach"},
		"a name that only the client cannot resolve":          {&world{noName: true}, egress.Inconclusive, "DNSX, wanted blocked"},
		"an exec that fails":                                  {&world{execFails: func(c, _ string) error { return failFor(c, "client", broken) }}, egress.Inconclusive, "broken on purpose"},
		"a control exec that fails":                           {&world{execFails: func(c, _ string) error { return failFor(c, "control", broken) }}, egress.Inconclusive, "control client"},
		"an exec that hangs":                                  {&world{hang: true}, egress.Inconclusive, "deadline exceeded"},
		"curl's report cut in half":                           {&world{garble: func(s string) string { return s[:len(s)/2] }}, egress.Inconclusive, "gave no report"},
		"no report at all":                                    {&world{garble: func(string) string { return "" }}, egress.Inconclusive, "gave no report"},
		"a report that contradicts":                           {&world{garble: func(s string) string { return strings.Replace(s, `"exitcode":0`, `"exitcode":56`, 1) }}, egress.Inconclusive, "reports exit"},
		"a report that claims 200":                            {&world{garble: func(s string) string { return strings.Replace(s, `502`, `200`, 1) }}, egress.Inconclusive, "do not agree"},
		"an empty access log":                                 {&world{noLines: true}, egress.Inconclusive, "do not agree"},
		"an access log that is late":                          {&world{flushErr: broken}, egress.Inconclusive, "not complete"},
		"an unreadable arrival log":                           {&world{arrivalsErr: broken}, egress.Inconclusive, "destination's log"},
		"an arrival log that loses":                           {&world{loseArrival: true}, egress.Inconclusive, "control client could not reach"},
		"arrivals that nothing explains":                      {&world{stray: true}, egress.Inconclusive, "unexplained arrival"},
		"an API server that refuses":                          {&world{applyErr: broken}, egress.Inconclusive, "broken on purpose"},
		"a rule that cannot be removed":                       {&world{removeErr: broken}, egress.Inconclusive, "broken on purpose"},
	} {
		t.Run(name, func(t *testing.T) {
			var r egress.Result
			bubble(t, func(*testing.T) { r = run1(x.w) }) // a dead destination is tried for a while
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			if x.w.open && !x.w.stubborn {
				t.Error("the rule is still applied")
			}
			for _, ph := range r.Phases {
				for _, p := range ph.Probes {
					if x.want == egress.Inconclusive && p.Verdict == egress.Violates {
						t.Errorf("phase %s: %s", ph.Phase, p.Why)
					}
				}
			}
		})
	}
}

// The live internet tells nobody what arrived: the control client decides between blocked and unreachable.
func TestVerdictsBlind(t *testing.T) {
	for name, x := range map[string]struct {
		w    *world
		want egress.Verdict
		why  string
	}{
		"a sound mesh":                  {&world{}, egress.Conforms, ""},
		"ALLOW_ANY":                     {&world{allowAny: true}, egress.Violates, "PASS, wanted blocked"},
		"a rule without effect":         {&world{deaf: true}, egress.Violates, "B502, wanted OK"},
		"a rule that stays":             {&world{stubborn: true}, egress.Violates, "phase removed"},
		"a dead destination":            {&world{dead: true}, egress.Inconclusive, "control client could not reach"},
		"a dead destination, ALLOW_ANY": {&world{dead: true, allowAny: true}, egress.Inconclusive, "control client could not reach"},
		"an empty access log":           {&world{noLines: true}, egress.Inconclusive, "neither sidecar nor destination saw it"},
		"a destination in trouble":      {&world{trouble: true}, egress.Inconclusive, "control client could not reach"},
		"an answer of the sidecar's":    {&world{invented: true}, egress.Inconclusive, "does not say that the answer came from upstream"},
	} {
		t.Run(name, func(t *testing.T) {
			e := engineOf(x.w)
			e.Internet = nil
			var r egress.Result
			bubble(t, func(t *testing.T) { r = e.Run(t.Context(), theCase()) })
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
		})
	}
}

func failFor(client, which string, err error) error {
	if client == which {
		return err
	}
	return nil
}

// Where nobody gets a connection nothing is proven, so nothing is applied and nobody waits for another result.
func TestLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &world{lost: true}
		e := engineOf(w)
		e.Patience = time.Hour
		start := time.Now()
		if r := e.Run(t.Context(), theCase()); len(r.Applied) > 0 || w.removed > 0 || r.Verdict != egress.Inconclusive {
			t.Errorf("%s %s, applied %v", r.Verdict, r.Why, r.Applied)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

// When the run is interrupted, the rule must be removed all the same.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{}
	w.execFails = func(string, string) error {
		if w.open {
			cancel()
		}
		return ctx.Err()
	}
	e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w, Features: []egress.Feature{egress.Hermetic}, Patience: 10 * time.Millisecond}
	r := e.Run(ctx, theCase())
	if r.Verdict != egress.Inconclusive || w.open || w.removed == 0 {
		t.Errorf("verdict %s, rule open: %t, removed %d times", r.Verdict, w.open, w.removed)
	}
}

func TestNotRun(t *testing.T) {
	c := theCase()
	c.Since = "1.32"
	e := &Engine{Version: "1.31"}
	if r := e.Run(t.Context(), c); r.Verdict != egress.NotApplicable || r.Why == "" {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	c.Since = ""
	if r := e.Run(t.Context(), c); r.Verdict != egress.Skipped || !strings.Contains(r.Why, "hermetic") {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
}

func TestObserve(t *testing.T) {
	w := &world{}
	e := &Engine{Clients: w, Rules: w, Mesh: w, Internet: w}
	r := e.Observe(t.Context(), egress.GET("client", "http://httpbin.org/"))
	if r.Got != egress.B502 || r.Verdict != egress.Conforms || w.removed != 0 {
		t.Errorf("%s %s %s", r.Got, r.Verdict, r.Why)
	}
	for want, verdict := range map[egress.Outcome]egress.Verdict{egress.Blocked: egress.Conforms, egress.OK: egress.Violates} {
		bubble(t, func(t *testing.T) {
			p := egress.GET("client", "http://httpbin.org/")
			p.Wants = egress.Wants{want, want, want, want}
			if r := engineOf(&world{}).Observe(t.Context(), p); r.Got != egress.B502 || r.Verdict != verdict {
				t.Errorf("wanted %s: %s %s %s", want, r.Got, r.Verdict, r.Why)
			}
		})
	}
}
