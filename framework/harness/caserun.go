package harness

import (
	"context"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// Stage is what a case has come to while it runs.
type Stage string

// The stages, in the order in which a case comes to them. A case that does not run comes to none; setup and changed are
// left out where a case has none.
const (
	StageStarted Stage = "started" // it has a lane, and what it shares with other cases
	StageSetup   Stage = "setup"   // its setup is applied
	StageBefore  Stage = "before"  // from here on, the phases of the same names
	StageApplied Stage = "applied"
	StageChanged Stage = "changed"
	StageRemoved Stage = "removed"
	StageVerdict Stage = "verdict" // its lane is free again, and the witnesses are heard
)

// Event says that a case has come to a stage.
type Event struct {
	Case  string // its name
	Stage Stage
	At    time.Time
}

// Listener hears of a case while it runs, one event at a time; it must not block for long, since the case waits for it.
// nil hears nothing.
type Listener func(Event)

// Run is a run of cases that are begun one by one, by whoever decides when: Ginkgo's specs, for example. Several may be
// begun at once; each waits until a lane and what it shares with others is free.
type Run struct {
	s   *Session
	out *report.Folder

	mu sync.Mutex
}

// Begin begins a run. Cases are those that Case may be called with: what they need can start early, and End reports
// those of them that were never run as unfinished. Debug bundles go to out, which may be nil.
//
// End must be called, once, when no Case is under way any more.
func (s *Session) Begin(_ context.Context, _ []egress.Case, out *report.Folder) *Run {
	return &Run{s: s, out: out}
}

// Case runs one case and returns its result. When ctx ends, or the cluster dies, the result is inconclusive and
// unfinished, and says why; what the case had applied is removed all the same. A case that is run again replaces its
// result in the report.
func (r *Run) Case(ctx context.Context, c egress.Case, hear Listener) egress.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hear != nil {
		hear(Event{Case: c.Name, Stage: StageStarted, At: time.Now()})
	}
	return r.s.Run(ctx, []egress.Case{c}, r.out, nil).Cases[0]
}

// End ends the run and makes its report, which has a result for every case that Begin was given.
func (r *Run) End(ctx context.Context) *report.Report {
	return r.s.Run(ctx, nil, r.out, nil)
}
