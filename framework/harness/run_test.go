package harness

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// mortal is a cluster in which nothing runs and that can die.
type mortal struct {
	gone  chan struct{}
	cause error
}

func (m *mortal) die(cause error) {
	m.cause = cause
	close(m.gone)
}

func (m *mortal) Failure() error {
	select {
	case <-m.gone:
		return m.cause
	default:
		return nil
	}
}

func (m *mortal) Gone() <-chan struct{}           { return m.gone }
func (*mortal) Name() string                      { return "mortal" }
func (*mortal) RESTConfig() *rest.Config          { return &rest.Config{} }
func (*mortal) Kubeconfig() string                { return "" }
func (*mortal) Facts() cluster.Facts              { return cluster.Facts{} }
func (*mortal) Internet() cluster.Internet        { return nil }
func (*mortal) Log(string) (io.ReadCloser, error) { return nil, errors.New("no log") }
func (*mortal) Program(string) string             { return "" }
func (*mortal) Detach() error                     { return nil }
func (*mortal) Close(context.Context) error       { return nil }

// scheduled is a session whose clients all run, with as many lanes.
func scheduled(lanes int) (*Session, *mortal) {
	m := &mortal{gone: make(chan struct{})}
	done := &future{done: make(chan struct{})}
	close(done.done)
	cs := kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://127.0.0.1:1"}) // nobody answers there
	s := &Session{Cluster: m, cs: cs, start: time.Now(), changer: mesh.NewChanger(nil, nil, nil), pods: pods.New(pods.Options{}), futures: map[string]*future{}, timings: map[string]float64{}}
	s.opts.Clients = []egress.Client{{Name: "client"}, {Name: "client2"}, {Name: "shared"}}
	for l := range lane(lanes) {
		s.futures[l.actual("client")] = done
		s.lanes = append(s.lanes, &world{lane: l, rules: &rules{}, engine: &engine.Engine{Version: "1.31", Rerun: func(c egress.Case) string { return "again " + c.Name }}})
	}
	s.futures["client2"], s.futures["shared"] = done, done
	return s, m
}

// list has cases of every kind that the schedule treats in a way of its own.
func list() []egress.Case {
	probe := []egress.Probe{{From: "client", URL: "http://httpbin.org/"}}
	return []egress.Case{
		{Name: "first", Probes: probe},
		{Name: "old", Probes: probe, Until: "1.20"},
		{Name: "needy", Probes: probe, Needs: []egress.Feature{egress.Hermetic}},
		{Name: "second", Probes: probe},
		{Name: "third", Probes: probe},
		{Name: "tied", Probes: []egress.Probe{{From: neighbour, URL: "http://httpbin.org/"}}},
		{Name: "shares", Probes: []egress.Probe{{From: "shared", URL: "http://httpbin.org/"}}},
		{Name: "shares too", Probes: []egress.Probe{{From: "shared", URL: "http://httpbin.org/"}}},
		{Name: "alone", Probes: probe, Exclusive: true},
		{Name: "alone too", Probes: probe, Exclusive: true},
		{Name: "on other ground", Probes: probe, BaseMeshConfig: egress.Object{"a": "b"}},
		{Name: "on other ground, alone", Probes: probe, BaseMeshConfig: egress.Object{"a": "b"}, Exclusive: true},
	}
}

// Whenever a run ends, and whether the cluster has died or somebody has interrupted it, every case has one result.
func TestEveryCaseHasAResult(t *testing.T) {
	for name, end := range map[string]func(*mortal, context.CancelFunc){
		"the cluster died: etcd of cluster mortal ended": func(m *mortal, _ context.CancelFunc) { m.die(errors.New("etcd of cluster mortal ended")) },
		"the cluster died: somebody took it down":        func(m *mortal, _ context.CancelFunc) { m.die(nil) },
		interrupted: func(_ *mortal, cancel context.CancelFunc) { cancel() },
	} {
		for after := range 9 { // cases that end before
			s, m := scheduled(3)
			outer, cancel := context.WithCancel(t.Context())
			ctx, stop := s.alive(outer)
			var mu sync.Mutex
			ran := 0
			run := func(w *world, c egress.Case) func() egress.Result {
				if v, why := s.applicable(c); v != "" {
					return func() egress.Result { return w.engine.NotRun(c, v, why) }
				}
				mu.Lock()
				defer mu.Unlock()
				if ran++; ran > after && ctx.Err() == nil {
					end(m, cancel)
					<-ctx.Done()
				}
				if ctx.Err() != nil {
					return func() egress.Result { return unfinished(ctx, w.engine.NotRun(c, egress.Inconclusive, "cut off")) }
				}
				return func() egress.Result { return egress.Result{Case: c, Verdict: egress.Conforms} }
			}
			heard := map[string]int{}
			results := s.schedule(ctx, list(), run, func(r egress.Result) { heard[r.Case.Name]++ })
			stop()
			cancel()
			conform := 0
			for _, r := range results {
				switch r.Verdict {
				case egress.Conforms:
					conform++
				case egress.Inconclusive:
					if !r.Unfinished || !strings.HasPrefix(r.Why, name) || r.Started.IsZero() || r.Rerun != "again "+r.Case.Name {
						t.Errorf("%s after %d: %+v", name, after, r)
					}
				default: // not applicable, or its needs are not met
				}
			}
			if len(results) != len(list()) || len(heard) != len(list()) || conform != after {
				t.Errorf("%s after %d: %d results, %d heard, %d conform", name, after, len(results), len(heard), conform)
			}
			for n, times := range heard {
				if times != 1 {
					t.Errorf("%s after %d: %s has %d results", name, after, n, times)
				}
			}
		}
	}
}

// The report of a run that is over before it begins has all cases too, and says why.
func TestRunInADeadCluster(t *testing.T) {
	s, m := scheduled(1)
	m.die(errors.New("etcd ended"))
	rep := s.Run(t.Context(), list(), nil, nil)
	if len(rep.Cases) != len(list()) || rep.ExitCode() != 2 || !slices.Contains(rep.Faults, "the cluster died: etcd ended") {
		t.Errorf("exit %d, %d cases, faults %q", rep.ExitCode(), len(rep.Cases), rep.Faults)
	}
	for i, c := range list() {
		if rep.Cases[i].Case.Name != c.Name {
			t.Errorf("case %d is %s", i, rep.Cases[i].Case.Name)
		}
	}
	s, _ = scheduled(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rep = s.Run(ctx, list(), nil, nil)
	if len(rep.Faults) != 1 || rep.Faults[0] != "interrupted: 12 cases have no verdict" {
		t.Errorf("faults %q", rep.Faults)
	}
}
