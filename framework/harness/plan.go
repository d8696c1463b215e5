package harness

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/isolation"
	"mesh-egress-conformance/framework/schedule"
)

// plan decides whether a case can run here, and what may run beside it.
func (s *runner) plan(ctx context.Context, c egress.Case) schedule.Plan {
	p := schedule.Plan{Case: c}
	c = c.On(s.env.facts.Istio)
	if p.Verdict, p.Why = s.applicable(c); p.Verdict != "" {
		return p
	}
	if !s.over(ctx) { // what was looked at when the run ended was not seen
		if p.Why = s.env.reach.unreachable(c); p.Why != "" {
			p.Verdict = egress.Inconclusive
			return p
		}
	}
	if err := s.opts.share(ctx, s.conn.fix, c, &p); err != nil {
		p.Verdict, p.Why = egress.Inconclusive, err.Error()
		return p
	}
	p.Quick = p.Shares.Alone == "" && p.Shares.FirstLane == "" && len(p.Shares.Holds) == 0 && len(c.Probes) == 1
	return p
}

// share notes what a case shares with others: what is derived of its objects, and further istiods.
func (o *Options) share(ctx context.Context, fix *fixture.Client, c egress.Case, p *schedule.Plan) (err error) {
	p.Revisions = slices.ContainsFunc(c.Clients(), o.revised)
	p.Shares, err = o.footprint(ctx, fix, c)
	return err
}

// InOrder returns cases in the order in which a run that has all of them begins them. A suite whose specs submit them one
// after the other, as Ginkgo's do, is fastest in this order. Before there is a cluster, kinds that this package does not
// know count as noticed by everybody.
func InOrder(ctx context.Context, cases []egress.Case, clients []egress.Client, fixtures fs.FS) ([]egress.Case, error) {
	o := Options{Clients: clients, Fixtures: fixtures}
	plans := make([]schedule.Plan, len(cases))
	for i, c := range cases {
		plans[i] = schedule.Plan{Case: c}
		if err := o.share(ctx, nil, c, &plans[i]); err != nil {
			return nil, err
		}
	}
	schedule.Order(plans)
	out := make([]egress.Case, len(plans))
	for i, p := range plans {
		out[i] = p.Case
	}
	return out, nil
}

// revised says whether a client is served by an istiod beside the default one.
func (o *Options) revised(client string) bool {
	return slices.ContainsFunc(o.Clients, func(c egress.Client) bool { return c.Name == client && c.Revision != "" })
}

// applicable says whether a case can run here, and if not, with which verdict and why.
func (s *runner) applicable(c egress.Case) (egress.Verdict, string) {
	if v, why := s.lanes[0].engine.Applicable(c); v != "" {
		return v, why
	}
	if why, err := s.env.skipReason(c); err != nil {
		return egress.Inconclusive, err.Error()
	} else if why != "" {
		return egress.Skipped, why
	}
	return "", ""
}

// footprint derives what may run beside a case. fix tells of kinds, and may be nil.
func (o *Options) footprint(ctx context.Context, fix *fixture.Client, c egress.Case) (isolation.Footprint, error) {
	objs := slices.Concat(c.Setup, c.Objects, c.Change)
	for _, f := range c.Fixtures {
		more, err := fixture.Load(ctx, o.Fixtures, f)
		if err != nil {
			return isolation.Footprint{}, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, x := range more {
			objs = append(objs, x.Object)
		}
	}
	// namespaced asks the API server about a kind.
	namespaced := func(apiVersion, kind string) (is, known bool) {
		if fix == nil {
			return false, false
		}
		is, err := fix.Namespaced(schema.FromAPIVersionAndKind(apiVersion, kind))
		return is, err == nil
	}
	return isolation.Derive(c, objs, isolation.Cluster{Clients: o.Clients, Lane: laneClients, Namespaced: namespaced}), nil
}
