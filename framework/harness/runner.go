package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/enforcer"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/schedule"
)

// runner runs cases in lanes, in a session that is joined to the mesh.
type runner struct {
	*site
	istiods *istiods
	lanes   []*laneRunner // the first has the clients as the cases name them
	// enforcing makes NetworkPolicies hold while a case needs it.
	enforcing *enforcing
}

// DefaultLanes is a matter of measurement: on 2 cores, all 280 cases took 271 s in 2 lanes, 214 s in 3, 206 s in 4 and 226 s in 6. Each lane
// has proxies of its own, and the processor is what a run waits for: 290 seconds of it in 4 lanes, 332 in 6.
const DefaultLanes = 4

// newRunner makes the lanes, in which nothing runs yet.
func newRunner(s *site, i *istiods, run string) *runner {
	n := s.opts.Lanes
	if n <= 0 {
		n = DefaultLanes
	}
	secrets, objects := s.secrets(), s.env.limit(s.conn.fix.Part(casesPart))
	s.starter.lanes = n
	r := &runner{site: s, istiods: i, enforcing: &enforcing{by: s.opts.Sabotage.enforcement(enforcer.New(s.conn.cs, s.conn.fix.Part(enforcerPart), s.opts.Limits)), limit: s.opts.Limits.Probe.Restore}}
	places := &namespaces{fixtures: s.conn.fix, pods: s.conn.pods, clients: s.opts.Clients, confined: !s.env.ours}
	for l := range lane(n) {
		cl := clients{s.conn.pods, l, s.starter.gateways.proxies}
		w := &laneRunner{lane: l}
		w.rules = &rules{
			clients: cl, fixtures: objects, files: s.opts.Fixtures, changer: i.changer, gateways: s.conn.followed, revisions: i.revisions, enforcing: r.enforcing, run: run, limits: s.opts.Limits,
			expand: s.expand(l), secrets: secrets,
			places: places, ours: s.env.ours, doubts: i.doubts,
		}
		w.engine = &engine.Engine{
			Clients: cl, Rules: w.rules, Mesh: laneLogs{s.conn.logs, s.conn.followed, l},
			Proxies:  proxyPages{cl, s.conn.logs, s.conn.pages},
			Version:  s.env.facts.Istio,
			Limits:   s.opts.Limits,
			Features: s.env.features(),
			Canonical: func(n string) string {
				if h, ok := s.env.hosts.Find(n); ok {
					return h.Name
				}
				return n
			},
			Expand: s.expand(l),
			Rerun: func(c egress.Case) string {
				return rerun(s.opts.Command, s.place(), c.Name)
			},
		}
		if s.opts.OnFail != nil {
			w.engine.OnFail = func(ctx context.Context, f engine.Failing) { s.opts.OnFail(ctx, failingIn(cl, f)) }
		}
		if in := s.env.internet; in != nil {
			w.engine.Internet, w.rules.internet = in, in
		}
		r.lanes = append(r.lanes, w)
	}
	return r
}

// engines are those of all lanes.
func (s *runner) engines() []*engine.Engine {
	out := make([]*engine.Engine, len(s.lanes))
	for i, w := range s.lanes {
		out[i] = w.engine
	}
	return out
}

// removeAll takes back whatever cases have left, in case a run was cut short.
func (s *runner) removeAll(ctx context.Context) error {
	var all error
	for _, w := range s.lanes {
		all = errors.Join(all, w.rules.removeAll(ctx))
	}
	return all
}

// beginCase runs one case in a lane, up to its verdict, which the returned function makes; the clients that
// it names are started if they are not there.
func (s *runner) beginCase(ctx context.Context, w *laneRunner, p schedule.Plan, hear schedule.Listener) (judge func() egress.Result) {
	not := func(why string) func() egress.Result {
		r := w.engine.NotRun(p.Case, egress.Inconclusive, why)
		return func() egress.Result { return r }
	}
	if s.over(ctx) {
		return not("")
	}
	if why := s.env.reach.unreachable(p.Case); why != "" {
		return not(why)
	}
	err := s.starter.ready(ctx, w.lane, p.Case)
	if err == nil && p.Shares.Alone != "" { // see mesh.Istiod.Quiet: no pod may be starting
		err = s.starter.settled(ctx)
	}
	if err == nil {
		err = s.enforcing.begin(ctx, p.Case)
	}
	if err != nil {
		return not(s.because(ctx, err).Error())
	}
	w.announce(hear)
	if len(p.Case.Setup) == 0 {
		w.stages.tell(p.Case, schedule.StageBefore)
	}
	verdict := w.engine.Begin(ctx, p.Case)
	left := s.enforcing.end(ctx, p.Case)
	return func() egress.Result { return s.env.foreign.blame(s.concluded(left(verdict()))) }
}

// concluded adds to a result what only the session knows.
func (s *runner) concluded(r egress.Result) egress.Result {
	switch r.Verdict {
	case egress.Conforms, egress.Violates, egress.Inconclusive:
		// A part that has died may have made the client fail where the mesh would not.
		if s.env.cluster.Failure() != nil {
			if r.Verdict != egress.Inconclusive {
				r.Why = strings.TrimSpace(fmt.Sprintf("it came out as %q when the cluster was dead: %s", r.Verdict, r.Why))
			}
			r.Verdict = egress.Inconclusive
		}
	case egress.Skipped, egress.NotApplicable:
	}
	s.env.reach.suspect(s.starter.life, r)
	if r.Verdict == egress.Conforms || r.Verdict == egress.Violates {
		s.times.markFirst("first verdict")
	}
	return r
}

// applicableOf leaves out the cases that are not going to run.
func (s *runner) applicableOf(cases []egress.Case) []egress.Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c egress.Case) bool {
		v, _ := s.applicable(c)
		return v != ""
	})
}
