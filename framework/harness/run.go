package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// Environment describes the session for its report.
func (s *Session) Environment() report.Environment {
	f := s.env.facts
	t := s.Timings()
	for k, v := range f.Timings {
		t["cluster: "+k] = v
	}
	var parts []report.Component
	for _, c := range f.Components {
		parts = append(parts, report.Component(c))
	}
	return report.Environment{
		Provider: f.Provider, Cluster: s.env.cluster.Name(), Kubernetes: f.Kubernetes, Istio: f.Istio, Envoy: f.Envoy,
		Source: f.Source, Internet: s.env.reach.summary(), Sabotage: string(s.opts.Sabotage), Deviations: s.env.deviations(), Foreign: s.env.foreign.names(), Timings: t, Components: parts,
	}
}

// Run runs cases, side by side where they allow it, and makes the report, which has a result for every one of them:
// when ctx ends or the cluster dies, those that have not ended are inconclusive, with the cause. Bundles go to out,
// which may be nil. each hears every result, one at a time and before Run returns; it may be nil.
func (s *Session) Run(ctx context.Context, cases []egress.Case, out *report.Folder, each func(egress.Result)) *report.Report {
	order := map[string]int{}
	for i, c := range cases {
		order[c.Name] = i
	}
	ctx, stop := s.alive(ctx)
	defer stop()
	bundles := &bundler{cluster: s.env.cluster, cs: s.cs, internet: s.env.internet, pods: s.pods, out: out, limit: s.opts.Limits.Cluster.Bundle, logf: s.opts.logf}
	if err := s.env.reach.look(ctx, s.applicableOf(cases)); err != nil {
		s.opts.logf("look at the internet: %v", err)
	}
	istiod, _, err := s.istiodPods(ctx)
	if err != nil {
		s.opts.logf("should istiod end, this run will not know: %v", err)
	}
	results := s.schedule(ctx, cases, func(w *world, c egress.Case) func() egress.Result {
		judge := s.beginCase(ctx, w, c)
		return func() egress.Result {
			r := judge()
			if r.Verdict == egress.Inconclusive && s.over(ctx) { // which says nothing about the case
				return unfinished(ctx, r)
			}
			bundles.keep(ctx, w.lane, &r)
			return r
		}
	}, each)
	slices.SortFunc(results, func(a, b egress.Result) int { return order[a.Case.Name] - order[b.Case.Name] })
	s.blameIstiod(ctx, istiod, results)
	rep := report.New(s.Environment(), s.start, results)
	lost := fmt.Sprintf("%d cases have no verdict", rep.Unfinished())
	switch over := s.over(ctx); {
	case over && ended(ctx) == interrupted: // Close removes what the cases had applied
		rep.Faults = append(rep.Faults, interrupted+": "+lost)
	case over || rep.Unfinished() > 0:
		rep.Faults = append(rep.Faults, ended(ctx), lost)
	default:
		if err := checkLeftovers(ctx, s.fix); err != nil {
			rep.Faults = append(rep.Faults, err.Error())
		}
	}
	return rep
}

// over says whether a run is cut short. That the cluster is gone ctx knows a moment later than the cluster.
func (s *Session) over(ctx context.Context) bool {
	select {
	case <-cluster.Gone(s.env.cluster):
		<-ctx.Done()
	default:
	}
	return ctx.Err() != nil
}

const interrupted = "interrupted"

// ended says why a run that was not complete came to its end: the cluster died, or the caller gave up.
func ended(ctx context.Context) string {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return "the schedule lost it, which is a mistake in this program"
	case !errors.Is(cause, ctx.Err()):
		return cause.Error()
	}
	return interrupted
}

// unfinished makes a result one of a case that had not ended when the run did.
func unfinished(ctx context.Context, r egress.Result) egress.Result {
	why := ended(ctx)
	if r.Why != "" {
		why += "\n(seen as: " + r.Why + ")"
	}
	r.Verdict, r.Why, r.Unfinished = egress.Inconclusive, why, true
	return r
}

// Observe makes one probe from a client, with all witnesses.
func (s *Session) Observe(ctx context.Context, p egress.Probe) (egress.ProbeResult, error) {
	if !slices.ContainsFunc(s.opts.Clients, func(c egress.Client) bool { return c.Name == p.From }) {
		names := make([]string, len(s.opts.Clients))
		for i, c := range s.opts.Clients {
			names[i] = c.Name
		}
		return egress.ProbeResult{}, fmt.Errorf("client %q is unknown; known: %s", p.From, strings.Join(names, ", "))
	}
	if err := s.launch(p.From).wait(ctx); err != nil {
		return egress.ProbeResult{}, s.because(ctx, err)
	}
	return s.lanes[0].engine.Observe(ctx, p), nil
}
