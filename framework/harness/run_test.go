package harness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
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

func (m *mortal) Gone() <-chan struct{}     { return m.gone }
func (*mortal) Name() string                { return "mortal" }
func (*mortal) RESTConfig() *rest.Config    { return &rest.Config{} }
func (*mortal) Kubeconfig() string          { return "" }
func (*mortal) Facts() cluster.Facts        { return cluster.Facts{} }
func (*mortal) Internet() cluster.Internet  { return nil }
func (*mortal) Program(string) string       { return "" }
func (*mortal) Close(context.Context) error { return nil }

// scheduled is a session whose clients all run, with as many lanes.
func scheduled(lanes int) (*Session, *mortal) {
	m := &mortal{gone: make(chan struct{})}
	done := &startup{done: make(chan struct{})}
	close(done.done)
	cs := kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://127.0.0.1:1"}) // nobody answers there
	s := newSession(Options{Clients: []egress.Client{{Name: "client"}, {Name: "shared"}}})
	s.env = environment{cluster: m, ours: true, reach: &hermeticReach{hosts: &internet.Hosts{}}}
	s.conn = &connection{cs: cs, pods: pods.New(pods.Options{})}
	s.istiods = &istiods{site: s.site, changer: mesh.NewChanger(nil, nil, nil, limits.Push{}), doubts: newDoubts()}
	s.cases = &runner{site: s.site, istiods: s.istiods}
	s.starter.use(s.conn)
	s.starter.lanes = lanes
	for l := range lane(lanes) {
		s.starter.once[l.actual("client")] = done
		s.cases.lanes = append(s.cases.lanes, &laneRunner{lane: l, rules: &rules{}, engine: &engine.Engine{Version: "1.31", Rerun: func(c egress.Case) string { return "again " + c.Name }}})
	}
	s.starter.once["shared"] = done
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
		{Name: "shares", Probes: []egress.Probe{{From: "shared", URL: "http://httpbin.org/"}}},
		{Name: "alone", Probes: probe, Policy: egress.AllowAny},
		{Name: "on another base", Probes: probe, BaseMeshConfig: egress.Object{"a": "b"}},
	}
}

// The report of a run that is over before it begins has all cases, and says why.
func TestRunInADeadCluster(t *testing.T) {
	for name, x := range map[string]struct {
		end    func(*mortal, context.CancelCauseFunc)
		faults []string
	}{
		"it died":           {func(m *mortal, _ context.CancelCauseFunc) { m.die(errors.New("etcd ended")) }, []string{"the cluster died: etcd ended", "5 cases have no verdict"}},
		"it was taken down": {func(m *mortal, _ context.CancelCauseFunc) { m.die(nil) }, []string{"the cluster died: somebody took it down", "5 cases have no verdict"}},
		"interrupted":       {func(_ *mortal, cancel context.CancelCauseFunc) { cancel(nil) }, []string{"interrupted: 5 cases have no verdict"}},
		"out of time":       {func(_ *mortal, cancel context.CancelCauseFunc) { cancel(errors.New("longer than --timeout 10m")) }, []string{"longer than --timeout 10m", "5 cases have no verdict"}},
	} {
		s, m := scheduled(2)
		ctx, cancel := context.WithCancelCause(t.Context())
		x.end(m, cancel)
		heard := map[string]int{}
		rep := s.Run(ctx, list(), nil, func(r egress.Result) { heard[r.Case.Name]++ })
		cancel(nil)
		if rep.ExitCode() != 2 || !slices.Equal(rep.Faults, x.faults) || len(rep.Cases) != len(list()) {
			t.Errorf("%s: exit %d, %d cases, faults %q", name, rep.ExitCode(), len(rep.Cases), rep.Faults)
		}
		for i, c := range list() {
			r := rep.Cases[i]
			if r.Case.Name != c.Name || heard[c.Name] != 1 || r.Started.IsZero() || r.Rerun != "again "+c.Name {
				t.Errorf("%s: case %d is %s, heard %d times: %+v", name, i, r.Case.Name, heard[c.Name], r)
			}
			if why := strings.TrimSuffix(x.faults[0], ": 5 cases have no verdict"); r.Unfinished && (r.Verdict != egress.Inconclusive || !strings.HasPrefix(r.Why, why)) {
				t.Errorf("%s: case %s is %s, and does not say that %s: %q", name, c.Name, r.Verdict, why, r.Why)
			}
		}
	}
}

// A run that ends before its cases were asked for says so of each.
func TestRunWithoutItsCases(t *testing.T) {
	s, m := scheduled(1)
	m.die(errors.New("etcd ended"))
	r := s.Begin(t.Context(), list(), nil)
	one := r.Case(t.Context(), list()[0], nil)
	rep := r.End(t.Context())
	if !one.Unfinished || !strings.HasPrefix(one.Why, "the cluster died: etcd ended") {
		t.Errorf("%+v", one)
	}
	if len(rep.Cases) != len(list()) || rep.Unfinished() != 5 || rep.Faults[0] != "the cluster died: etcd ended" {
		t.Errorf("%d cases, %d unfinished, faults %q", len(rep.Cases), rep.Unfinished(), rep.Faults)
	}
}
