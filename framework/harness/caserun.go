package harness

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
)

// Run is a run of cases, begun all at once or one by one by whoever decides when: Ginkgo's specs, for example. Several
// may be begun at once; each waits until a lane and what it shares with others is free.
type Run struct {
	*runner
	bundles   *bundler
	cases     []egress.Case
	ctx       context.Context //nolint:containedctx // the run's lifetime, which its cases share
	stop      context.CancelFunc
	plans     map[string]schedule.Plan
	istiod    istiodPods // that were there when it began
	scheduler *schedule.Scheduler
	start     func() // starts the scheduler, once
	ended     chan struct{}

	mu      sync.Mutex
	results map[string]egress.Result
}

// Begin begins a run. Cases are those that Case is going to be called with: what they need starts early, and End reports
// those of them that were never run as unfinished. Debug bundles go to out, which may be nil. When ctx ends or the
// cluster dies, the run does, and so do the cases under way.
//
// End must be called, once, when no Case is under way any more.
func (s *Session) Begin(ctx context.Context, cases []egress.Case, out *report.Folder) *Run {
	return s.cases.begin(ctx, cases, out)
}

// begin is Session.Begin.
func (s *runner) begin(ctx context.Context, cases []egress.Case, out *report.Folder) *Run {
	r := &Run{runner: s, cases: cases, plans: map[string]schedule.Plan{}, ended: make(chan struct{}), results: map[string]egress.Result{}}
	r.ctx, r.stop = s.alive(ctx)
	r.bundles = &bundler{cluster: s.env.cluster, cs: s.conn.cs, internet: s.env.internet, pods: s.conn.pods, out: out, limit: s.opts.Limits.Cluster.Bundle, logf: s.opts.logf}
	if err := s.env.reach.look(r.ctx, s.applicableOf(cases)); err != nil {
		s.opts.logf("look at the internet: %v", err)
	}
	plans := make([]schedule.Plan, len(cases))
	for i, c := range cases {
		plans[i] = s.plan(r.ctx, c)
		r.plans[c.Name] = plans[i]
	}
	var err error
	if r.istiod, _, err = s.conn.istiodPods(r.ctx); err != nil {
		s.opts.logf("should istiod end, this run will not know: %v", err)
	}
	workers := make([]schedule.Worker, len(s.lanes))
	for i, l := range s.lanes {
		workers[i] = worker{r, l}
	}
	r.scheduler = schedule.New(runEnvironment{s}, workers, plans)
	r.start = sync.OnceFunc(func() {
		go func() {
			defer close(r.ended)
			r.scheduler.Run(r.ctx)
		}()
	})
	return r
}

// Case runs one case and returns its result. When ctx ends before the case does, the result is inconclusive and
// unfinished, and says why; what the case had applied is removed all the same. A case that is run again replaces its
// result in the report.
func (r *Run) Case(ctx context.Context, c egress.Case, hear schedule.Listener) egress.Result {
	result := r.submit(ctx, c, hear)
	r.start()
	return r.keep(<-result)
}

func (r *Run) submit(ctx context.Context, c egress.Case, hear schedule.Listener) <-chan egress.Result {
	p, known := r.plans[c.Name]
	if !known {
		p = r.plan(ctx, c)
	}
	return r.scheduler.Submit(ctx, p, hear)
}

func (r *Run) keep(res egress.Result) egress.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[res.Case.Name] = res
	return res
}

// End ends the run and makes its report, which has a result for every case that Begin was given, in that order, and for
// others that were run.
func (r *Run) End(ctx context.Context) *report.Report {
	defer r.stop()
	s := r.runner
	r.scheduler.Close()
	r.start()
	<-r.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([]egress.Result, 0, len(r.cases))
	for _, c := range r.cases {
		res, have := r.results[c.Name]
		if p := r.plans[c.Name]; !have && p.Verdict != "" {
			res = s.lanes[0].engine.NotRun(c, p.Verdict, p.Why)
		} else if !have {
			res = s.lanes[0].engine.NotRun(c, egress.Inconclusive, r.why())
			res.Unfinished = true
		}
		results = append(results, res)
		delete(r.results, c.Name)
	}
	for _, res := range r.results {
		results = append(results, res)
	}
	if s.env.cluster != nil && slices.ContainsFunc(results, inconclusive) {
		s.awaitDeath(ctx)
	}
	s.blameIstiod(r.ctx, r.istiod, results)
	s.tellVersions(r.ctx)
	rep := report.New(s.describe(), s.times.start, results)
	lost := fmt.Sprintf("%d cases have no verdict", rep.Unfinished())
	switch over := s.over(r.ctx); {
	case over && schedule.Ended(r.ctx) == schedule.Interrupted: // Close removes what the cases had applied
		rep.Faults = append(rep.Faults, schedule.Interrupted+": "+lost)
	case over || rep.Unfinished() > 0:
		rep.Faults = append(rep.Faults, r.why(), lost)
	default:
		for _, w := range s.lanes {
			if err := w.rules.takeLeft(ctx); err != nil {
				s.opts.logf("%v", err) // it is found with all that is left
			}
		}
		if err := checkLeftovers(ctx, s.conn.fix); err != nil {
			rep.Faults = append(rep.Faults, err.Error())
		}
	}
	return rep
}

// why says why the run has no result of a case.
func (r *Run) why() string {
	if r.over(r.ctx) {
		return schedule.Ended(r.ctx)
	}
	return "the run ended before the case was begun"
}

// Run runs cases, side by side where they allow it, and makes the report, which has a result for every one of them:
// when ctx ends or the cluster dies, those that have not ended are inconclusive, with the cause. Bundles go to out,
// which may be nil. each hears every result, one at a time and before Run returns; it may be nil.
func (s *Session) Run(ctx context.Context, cases []egress.Case, out *report.Folder, each func(egress.Result)) *report.Report {
	r := s.Begin(ctx, cases, out)
	var all sync.WaitGroup
	var one sync.Mutex
	for _, c := range cases {
		result := r.submit(r.ctx, c, s.opts.OnStage)
		all.Go(func() {
			res := r.keep(<-result)
			one.Lock()
			defer one.Unlock()
			if each != nil {
				each(res)
			}
		})
	}
	r.scheduler.Close()
	r.start()
	all.Wait()
	return r.End(ctx)
}
