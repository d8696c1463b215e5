package harness

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/isolation"
	"mesh-egress-conformance/framework/schedule"
)

// plan decides whether a case can run here, and what may run beside it.
func (s *Session) plan(ctx context.Context, c egress.Case) schedule.Plan {
	p := schedule.Plan{Case: c}
	if p.Verdict, p.Why = s.applicable(c); p.Verdict != "" {
		return p
	}
	if s.terms != nil && !s.over(ctx) { // what was looked at when the run ended was not seen
		if p.Why = s.terms.Unreachable(c); p.Why != "" {
			p.Verdict = egress.Inconclusive
			return p
		}
	}
	var err error
	if p.Shares, err = s.footprint(ctx, c); err != nil {
		p.Verdict, p.Why = egress.Inconclusive, err.Error()
		return p
	}
	p.Quick = p.Shares.Alone == "" && p.Shares.FirstLane == "" && len(p.Shares.Holds) == 0 && len(c.Probes) == 1
	return p
}

// applicable says whether a case can run here, and if not, with which verdict and why.
func (s *Session) applicable(c egress.Case) (egress.Verdict, string) {
	if v, why := s.lanes[0].engine.Applicable(c); v != "" {
		return v, why
	}
	if why, err := s.excuse(c); err != nil {
		return egress.Inconclusive, err.Error()
	} else if why != "" {
		return egress.Skipped, why
	}
	return "", ""
}

// footprint derives what may run beside a case.
func (s *Session) footprint(ctx context.Context, c egress.Case) (isolation.Footprint, error) {
	objs := slices.Concat(c.Setup, c.Objects, c.Change)
	for _, f := range c.Fixtures {
		more, err := fixture.Load(ctx, s.opts.Fixtures, f)
		if err != nil {
			return isolation.Footprint{}, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, o := range more {
			objs = append(objs, o.Object)
		}
	}
	return isolation.Derive(c, objs, isolation.Cluster{Clients: s.opts.Clients, Lane: laneClients, Namespaced: s.namespaced}), nil
}

// namespaced asks the API server about a kind.
func (s *Session) namespaced(apiVersion, kind string) (is, known bool) {
	if s.fix == nil {
		return false, false
	}
	is, err := s.fix.Namespaced(schema.FromAPIVersionAndKind(apiVersion, kind))
	return is, err == nil
}
