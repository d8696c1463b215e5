package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// schedule runs cases on all lanes, and returns a result for each of them, whenever ctx ends. run returns when a case
// is over; its verdict is made while the next one runs. Cases stand in groups by the mesh configuration that they need
// from the start, so that it changes once for each group; in a group, the cases that touch what others
// see come last, one by one.
func (s *Session) schedule(ctx context.Context, cases []egress.Case, run func(*world, egress.Case) func() egress.Result, each func(egress.Result)) []egress.Result {
	var mu sync.Mutex
	var results []egress.Result
	have := map[string]bool{}
	done := func(r egress.Result) {
		mu.Lock()
		defer mu.Unlock()
		results, have[r.Case.Name] = append(results, r), true
		if each != nil {
			each(r)
		}
	}
	first := true
	for _, g := range groups(cases) {
		if len(g.cases) == 0 || ctx.Err() != nil {
			continue
		}
		if !first || len(g.ground) > 0 {
			if err := s.settled(ctx); err == nil {
				err = s.changer.SetBase(ctx, g.ground, s.proxies())
				if err != nil {
					s.failGroup(g, err, done)
					continue
				}
			}
		}
		if first && len(s.lanes) > 1 { // the first verdict comes before other pods compete for the processor
			if i := slices.IndexFunc(g.cases, s.quick); i >= 0 {
				done(run(s.lanes[0], g.cases[i])())
				g.cases = slices.Delete(g.cases, i, i+1)
			}
		}
		first = false
		s.group(ctx, g, run, done)
	}
	if !first && ctx.Err() == nil {
		if err := s.changer.SetBase(ctx, nil, s.proxies()); err != nil {
			s.opts.logf("restore the mesh configuration: %v", err)
		}
	}
	for _, c := range cases {
		if !have[c.Name] {
			done(unfinished(ctx, s.notRun(c, "")))
		}
	}
	return results
}

// notRun is the result of a case that could not be run.
func (s *Session) notRun(c egress.Case, why string) egress.Result {
	return s.lanes[0].engine.NotRun(c, egress.Inconclusive, why)
}

func (s *Session) failGroup(g *group, err error, done func(egress.Result)) {
	for _, c := range g.cases {
		done(s.notRun(c, fmt.Sprintf("the mesh configuration that it stands on could not be set: %v", err)))
	}
}

// quick says whether every cluster has from the start what a case needs.
func (s *Session) quick(c egress.Case) bool {
	v, _ := s.applicable(c)
	return v == "" && !c.Alone() && len(s.resources(c)) == 0 && len(c.Probes) == 1 && !slices.Contains(c.Clients(), neighbour)
}

// group is the cases that stand on one mesh configuration.
type group struct {
	ground egress.Object
	cases  []egress.Case
}

func groups(cases []egress.Case) []*group {
	out := []*group{{}}
	index := map[string]*group{"null": out[0]}
	for _, c := range cases {
		key, err := json.Marshal(c.BaseMeshConfig)
		if err != nil {
			key = []byte(c.Name)
		}
		g := index[string(key)]
		if g == nil {
			g = &group{ground: c.BaseMeshConfig}
			index[string(key)], out = g, append(out, g)
		}
		g.cases = append(g.cases, c)
	}
	return out
}

// resources are what a case uses that exists once and not in every lane.
func (s *Session) resources(c egress.Case) []string {
	var out []string
	for _, n := range c.Clients() {
		if n != egress.ControlClient && !slices.Contains(laneClients, n) {
			out = append(out, n)
		}
	}
	for _, n := range c.Names() {
		out = append(out, "the name "+n)
	}
	for _, f := range []egress.Feature{egress.IngressGateway, egress.EgressGateway} {
		if slices.Contains(c.Needs, f) {
			out = append(out, string(f))
		}
	}
	return out
}

// group runs the cases of one group: side by side first, then those that must be alone.
func (s *Session) group(ctx context.Context, g *group, run func(*world, egress.Case) func() egress.Result, done func(egress.Result)) {
	var pending, alone, tied []egress.Case
	for _, c := range g.cases {
		switch v, _ := s.applicable(c); {
		case v != "":
			done(run(s.lanes[0], c)())
		case c.Alone():
			alone = append(alone, c)
		case slices.Contains(c.Clients(), neighbour):
			tied = append(tied, c)
		default:
			pending = append(pending, c)
		}
	}
	// Istio 1.31 may lose a change that meets an update of endpoints (docs/findings.md): what has endpoints
	// starts before any case runs. The rest starts beside them; whether it started well is the business of
	// the cases that need it.
	all := slices.Concat(pending, tied, alone)
	s.prepare(all)
	if err := s.calm(ctx); err != nil {
		return
	}
	var rest sync.WaitGroup
	s.trickle(ctx, &rest, all)
	s.changer.EndpointsChange()
	q := &queue{tied: tied, pending: pending, busy: map[string]bool{}, resources: s.resources, waits: s.waits}
	q.free = sync.NewCond(&q.mu)
	stop := context.AfterFunc(ctx, func() { q.free.Broadcast() })
	defer stop()
	var wg sync.WaitGroup
	for _, w := range s.lanes[:min(len(s.lanes), max(len(pending), len(tied)))] {
		wg.Go(func() {
			if err := s.launch(w.lane.actual("client")).wait(ctx); err != nil && w.lane > 0 {
				s.opts.logf("lane %d is not used: %v", w.lane, err)
				return
			}
			s.changer.AddWorkers(1)
			defer s.changer.AddWorkers(-1)
			for {
				c, ok := q.take(ctx, w.lane)
				if !ok {
					return
				}
				judge := run(w, c)
				q.release(c)
				wg.Go(func() { done(judge()) })
			}
		})
	}
	wg.Wait()
	rest.Wait()
	// The mesh configuration must not change shortly after endpoints did (mesh.Istiod.Quiet), so cases that
	// change it stand between those that do neither and those that have endpoints.
	slices.SortStableFunc(alone, func(a, b egress.Case) int { return stirring(a) - stirring(b) })
	for _, c := range alone {
		if ctx.Err() != nil {
			break
		}
		judge := run(s.lanes[0], c)
		wg.Go(func() { done(judge()) })
	}
	wg.Wait()
}

// stirring ranks cases that run alone: what changes only Istio's objects, the mesh configuration, endpoints.
func stirring(c egress.Case) int {
	switch {
	case slices.ContainsFunc(slices.Concat(c.Setup, c.Objects), func(o egress.Object) bool { return mesh.ChangesEndpoints(&fixture.Object{Object: o}) }):
		return 2
	case c.Policy != "" || len(c.MeshConfig) > 0:
		return 1
	}
	return 0
}

// prepare starts in the background what cases need first: what has endpoints, and the lanes' own clients.
func (s *Session) prepare(cases []egress.Case) {
	gateways := false
	for _, c := range cases {
		for _, n := range c.Clients() {
			if k, err := s.client(n); err == nil && k.Serves() {
				s.launch(n)
			}
		}
		gateways = gateways || c.Gateway()
		if slices.Contains(c.Needs, egress.GatewayAPI) {
			s.promise(gatewayAPIFuture, s.gatewayAPI)
		}
	}
	if gateways {
		s.promise(gatewaysFuture, s.gateways)
	}
	for _, w := range s.lanes[:min(len(s.lanes), len(cases))] {
		s.launch(w.lane.actual("client"))
	}
}

// starters is how many pods start at once beside running cases: they compete for the processor.
const starters = 2

// trickle starts the other clients that the cases need, a few at a time.
func (s *Session) trickle(ctx context.Context, wg *sync.WaitGroup, cases []egress.Case) {
	names := make(chan string)
	wg.Go(func() {
		defer close(names)
		seen := map[string]bool{}
		for _, c := range cases {
			for _, n := range c.Clients() {
				if seen[n] || slices.Contains(laneClients, n) {
					continue
				}
				seen[n] = true
				select {
				case names <- n:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for range starters {
		wg.Go(func() {
			for n := range names {
				if err := s.launch(n).wait(ctx); err != nil {
					s.opts.logf("client %s did not start: %v", n, err) // its cases say so too
				}
			}
		})
	}
}

// queue hands out cases whose resources are free.
type queue struct {
	resources func(egress.Case) []string
	waits     func(lane, egress.Case) bool

	mu      sync.Mutex
	free    *sync.Cond
	tied    []egress.Case // to lane 0
	pending []egress.Case
	busy    map[string]bool
}

// take waits for a case that can run in a lane; false when there is none left.
func (q *queue) take(ctx context.Context, l lane) (egress.Case, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lists := []*[]egress.Case{&q.pending}
	if l == 0 {
		lists = []*[]egress.Case{&q.tied, &q.pending}
	}
	for ctx.Err() == nil {
		left := 0
		for _, patient := range []bool{false, true} { // whose clients are there already comes first
			left = 0
			for _, list := range lists {
				if c, ok := q.pick(list, func(c egress.Case) bool { return patient || !q.waits(l, c) }); ok {
					return c, true
				}
				left += len(*list)
			}
		}
		if left == 0 {
			break
		}
		q.free.Wait()
	}
	return egress.Case{}, false
}

// pick takes the first case of a list that fits and whose resources are free. The caller holds the lock.
func (q *queue) pick(list *[]egress.Case, fits func(egress.Case) bool) (egress.Case, bool) {
	for i, c := range *list {
		if slices.ContainsFunc(q.resources(c), func(r string) bool { return q.busy[r] }) || !fits(c) {
			continue
		}
		for _, r := range q.resources(c) {
			q.busy[r] = true
		}
		*list = slices.Delete(*list, i, i+1)
		return c, true
	}
	return egress.Case{}, false
}

func (q *queue) release(c egress.Case) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.resources(c) {
		delete(q.busy, r)
	}
	q.free.Broadcast()
}
