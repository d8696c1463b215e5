package harness

import (
	"context"
	"fmt"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/schedule"
)

// laneRunner is one lane with the engine that runs in it.
type laneRunner struct {
	lane   lane
	engine *engine.Engine
	rules  *rules

	stages *stages // what the engine has for its rules, once a case was begun
}

// announce makes the lane's next case tell of its stages. A lane runs one case at a time.
func (w *laneRunner) announce(hear schedule.Listener) {
	if w.stages == nil {
		w.stages = &stages{Rules: w.engine.Rules}
		w.engine.Rules = w.stages
	}
	w.stages.listen(hear)
}

// stages tells of what a case has come to, by what the engine asks of the rules.
type stages struct {
	engine.Rules

	mu   sync.Mutex
	hear schedule.Listener
	told map[schedule.Stage]bool
}

func (s *stages) listen(hear schedule.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear, s.told = hear, map[schedule.Stage]bool{}
}

func (s *stages) tell(c egress.Case, stage schedule.Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told[stage] { // removal may be tried twice
		s.told[stage] = true
		s.hear.Hear(c, stage)
	}
}

func (s *stages) Setup(ctx context.Context, c egress.Case) error {
	s.tell(c, schedule.StageSetup)
	err := s.Rules.Setup(ctx, c)
	if err == nil {
		s.tell(c, schedule.StageBefore)
	}
	return err
}

func (s *stages) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	s.tell(c, schedule.StageApplied)
	return s.Rules.Apply(ctx, c)
}

func (s *stages) Change(ctx context.Context, c egress.Case) (engine.Change, error) {
	s.tell(c, schedule.StageChanged)
	return s.Rules.Change(ctx, c)
}

func (s *stages) Remove(ctx context.Context, c egress.Case) (engine.Change, error) {
	s.tell(c, schedule.StageRemoved)
	return s.Rules.Remove(ctx, c)
}

// worker is a lane as the scheduler sees it.
type worker struct {
	run  *Run
	lane *laneRunner
}

func (w worker) Join(ctx context.Context) (leave func(), err error) {
	s, l := w.run, w.lane
	if err := s.starter.startClient(l.lane.actual("client")).wait(ctx); err != nil && l.lane > 0 {
		s.opts.logf("lane %d is not used: %v", l.lane, err)
		return nil, fmt.Errorf("lane %d: %w", l.lane, err)
	}
	s.istiods.changer.AddWorkers(1)
	return func() { s.istiods.changer.AddWorkers(-1) }, nil
}

func (w worker) Waits(p schedule.Plan) bool { return w.run.starter.waits(w.lane.lane, p.Case) }

func (w worker) Begin(ctx context.Context, p schedule.Plan, hear schedule.Listener) (judge func() egress.Result) {
	s := w.run
	verdict := s.beginCase(ctx, w.lane, p, hear)
	return func() egress.Result {
		r := verdict()
		if r.Verdict == egress.Inconclusive && s.over(ctx) { // which says nothing about the case
			return schedule.Unfinished(ctx, r)
		}
		w.run.bundles.keep(ctx, w.lane.lane, &r)
		return r
	}
}

// runEnvironment is a runner as the scheduler sees it.
type runEnvironment struct{ *runner }

func (e runEnvironment) SetBase(ctx context.Context, base egress.Object) error {
	err := e.istiods.setBase(ctx, base)
	if err != nil {
		e.opts.logf("set the mesh configuration that cases stand on: %v", err)
	}
	return err
}

// planned are the cases of plans.
func planned(plans []schedule.Plan) []egress.Case {
	cases := make([]egress.Case, len(plans))
	for i, p := range plans {
		cases[i] = p.Case
	}
	return cases
}

func (e runEnvironment) Prepare(ctx context.Context, plans []schedule.Plan) error {
	cases := planned(plans)
	if err := e.starter.prepare(ctx, cases); err != nil {
		return err
	}
	e.starter.startRest(ctx, cases)
	e.istiods.changer.EndpointsChange()
	return nil
}

func (e runEnvironment) Release(ctx context.Context, next, toCome []schedule.Plan) {
	if !e.env.ours {
		return // there its clients are all that a run is allowed to make, and they are few
	}
	names := e.starter.leaving(planned(next), planned(toCome))
	if len(names) == 0 {
		return
	}
	e.tellVersions(ctx) // what ends cannot be asked later
	e.starter.release(names)
}

func (e runEnvironment) Settled(ctx context.Context) error { return e.starter.settled(ctx) }

func (e runEnvironment) NotRun(c egress.Case, v egress.Verdict, why string) egress.Result {
	return e.lanes[0].engine.NotRun(c, v, why)
}
