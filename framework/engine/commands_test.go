package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// programs is a world whose clients run programs that pick their own ports.
type programs struct {
	*world
	clash    bool // the kernel changes the ports on the way to the sidecar
	own      bool // the pod makes connections of its own, besides
	direct   bool // the programs go around the sidecar
	unlogged bool // the sidecar writes no line at all
	failing  bool // the sidecar fails to connect for somebody else, and its line does not say from where
	running  int
	together int // the most programs of one pod that ran at once
}

func (w *programs) Do(_ context.Context, client string, q probe.Request) (Execution, error) {
	if q.Page != nil {
		return Execution{}, nil
	}
	began := time.Now()
	w.mu.Lock()
	w.running++
	if client != egress.ControlClient {
		w.together = max(w.together, w.running)
	}
	w.port++
	peer := fmt.Sprintf("%s:%d", clientIP, 40000+w.port)
	line := egress.AccessLog{StartTime: began.UTC().Format("2006-01-02T15:04:05.000Z"), DownstreamRemote: peer, DownstreamLocal: siteAddr, UpstreamCluster: "BlackHoleCluster"}
	if w.clash { // to one of those that probes have at another time
		line.DownstreamRemote = fmt.Sprintf("%s:%d", clientIP, lastPort-100+w.port)
	}
	if client == egress.ControlClient {
		w.arrive("", fmt.Sprintf("%s:%d", controlIP, 40000+w.port))
	}
	exit := 1
	switch {
	case client == egress.ControlClient:
		exit = 0
	case w.direct:
		w.arrive("", peer)
		exit = 0
	case w.open || w.unlogged:
		line.UpstreamCluster, line.UpstreamLocal, line.UpstreamHost = "outbound|9000||x", fmt.Sprintf("%s:%d", clientIP, 50000+w.port), siteAddr
		w.arrive("", line.UpstreamLocal)
		exit = 0
	}
	if client != egress.ControlClient && !w.direct && !w.unlogged {
		w.lines = append(w.lines, line)
	}
	if w.failing {
		w.lines = append(w.lines, egress.AccessLog{DownstreamRemote: clientIP + ":12000", UpstreamHost: siteAddr, ResponseFlags: "UF"})
	}
	if w.own {
		line.DownstreamRemote, line.StartTime = fmt.Sprintf("%s:%d", clientIP, 45000+w.port), began.Add(time.Hour).UTC().Format(time.RFC3339)
		w.lines = append(w.lines, line)
	}
	w.mu.Unlock()
	<-time.After(10 * time.Millisecond) // other clients may run theirs meanwhile
	w.mu.Lock()
	w.running--
	w.mu.Unlock()
	return Execution{ExitCode: exit, Began: began, Ended: time.Now()}, nil
}

func TestAnyCommand(t *testing.T) {
	const everything = "BRST OK BRST"
	for name, x := range map[string]struct {
		w     programs
		wants string
		want  egress.Verdict
		why   string
	}{
		"led through the sidecar":       {programs{}, everything, egress.Conforms, ""},
		"around the sidecar":            {programs{direct: true}, "DIRECT", egress.Conforms, ""},
		"around it, which is not right": {programs{direct: true}, everything, egress.Violates, "DIRECT, wanted BRST"},
		"around it, or the log is lost": {programs{unlogged: true}, "DIRECT", egress.Inconclusive, "no sidecar passed"},
		"around it, or somebody else's": {programs{direct: true, failing: true}, "DIRECT", egress.Inconclusive, "no sidecar passed"},
		"its port changed on the way":   {programs{clash: true}, everything, egress.Conforms, ""},
		"a pod with a life of its own":  {programs{own: true}, everything, egress.Inconclusive, "makes connections of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			// Two probes of one pod, whose programs run one at a time.
			c := theCase()
			p := egress.Probe{From: "client", Command: "nc httpbin.org 80", Server: "httpbin.org"}
			if err := p.Wants.UnmarshalText([]byte(x.wants)); err != nil {
				t.Fatal(err)
			}
			c.Curl, c.Probes = false, []egress.Probe{p, p}
			var r egress.Result
			w := x.w
			w.world = &world{noLines: x.w.unlogged}
			bubble(t, func(t *testing.T) {
				e := engineOf(w.world)
				e.Clients, e.Mesh, e.ProbeTimeout = &w, &w, time.Minute
				r = e.Run(t.Context(), c)
			})
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("got %s (%s), want %s (%s)", r.Verdict, r.Why, x.want, x.why)
			}
			if w.together > 2 { // one of the client, one of the control client
				t.Errorf("%d programs ran at once", w.together)
			}
		})
	}
}

// A connection belongs to the command in whose time it began, and an arrival to the last command that began before it.
func TestCommandsDoNotMix(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newIDSource()
		pod := s.commandsOf("10.0.0.1")
		var runs []*commandRun
		for i := range 3 {
			at := time.Now()
			c := &commandRun{pod: pod, first: int64(10 * (i + 1)), began: at, ended: at.Add(time.Second)}
			pod.runs = append(pod.runs, c)
			runs = append(runs, c)
			<-time.After(2 * time.Second)
		}
		for i, c := range runs {
			for k, other := range runs {
				if got := c.during(other.began.Add(time.Millisecond)); got != (i == k) {
					t.Errorf("a connection of command %d belongs to command %d: %t", k, i, got)
				}
				if got := c.received(int64(10*(k+1) + 5)); got != (i == k) {
					t.Errorf("an arrival of command %d belongs to command %d: %t", k, i, got)
				}
			}
			if c.during(c.ended.Add(time.Millisecond)) || c.during(time.Time{}) {
				t.Error("a connection after the command belongs to it")
			}
			if !c.during(c.began.Truncate(time.Millisecond)) {
				t.Error("a proxy cuts the time to milliseconds")
			}
		}
		var none *commandRun
		if none.during(time.Now()) || none.received(1) {
			t.Error("something belongs to no command")
		}
	})
}

// Commands of one pod wait for each other, those of two pods do not, and one that is given up lets go.
func TestCommandsWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := &run{e: engineOf(&world{})}
		first, err := r.beginCommand(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.beginCommand(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.beginCommand(ctx, "a"); err == nil {
				t.Error("two commands run in one pod")
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		first.end(Execution{})
		if _, err := r.beginCommand(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

// Connections of a command have any port but those that were handed out to probes at its time.
func TestCommandsPorts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		pod := ClientInfo{IP: "10.0.0.1", Also: []string{"fd00::1"}}
		at := func(ports [2]int) string { return fmt.Sprintf("10.0.0.1:%d", ports[0]) }
		before := at(TakePorts(pod.pod()))
		<-time.After(portCycle + time.Second)
		shortly := at(TakePorts(pod.pod()))
		<-time.After(time.Second)
		c, err := (&run{e: engineOf(&world{})}).beginCommand(t.Context(), pod.pod())
		if err != nil {
			t.Fatal(err)
		}
		meanwhile := at(TakePorts(pod.pod()))
		<-time.After(time.Second)
		others := at(TakePorts("another pod"))
		<-time.After(time.Second)
		c.end(Execution{})
		<-time.After(time.Second)
		after := at(TakePorts(pod.pod()))
		for address, want := range map[string]bool{
			"10.0.0.1:40000": true, "[fd00::1]:40000": true, "10.0.0.2:40000": false, "10.0.0.1": false, "": false,
			before: true, shortly: false, meanwhile: false, others: true, after: true,
		} {
			if got := c.mayHave(address, pod); got != want {
				t.Errorf("%q: %t", address, got)
			}
		}
		if (*commandRun)(nil).mayHave("10.0.0.1:40000", pod) {
			t.Error("it is nobody's")
		}
	})
}

func TestParseClusters(t *testing.T) {
	got := parseClusters(twoPages + "outbound|80||one.example::198.51.100.1:80::weight::1\noutbound|80||one.example::198.51.100.1:80::health_flags::healthy\n" +
		"outbound|80||six::[2001:db8::1]:80::weight::3\noutbound|80||six::[2001:db8::1]:80::health_flags::healthy\n" +
		"outbound|80||six::[2001:db8::2]:80::weight::1\noutbound|80||six::[2001:db8::2]:80::health_flags::healthy\n" +
		"outbound|80||unix::/var/run/a::weight\nnonsense\n")
	if len(got) != 2 || fmt.Sprint(got[poolCluster]) != "[1 1]" || fmt.Sprint(got["outbound|80||six"]) != "[3 1]" {
		t.Errorf("%v", got)
	}
}
