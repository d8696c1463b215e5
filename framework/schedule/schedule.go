// Package schedule decides when each case runs, and in which lane: side by side where cases do not notice each other, one
// by one where they do. It knows neither Kubernetes nor Istio; what it needs of them are two small interfaces.
package schedule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/isolation"
)

// Plan is what is decided about a case, once, before anything runs.
type Plan struct {
	Case egress.Case
	// Verdict and Why are those of a case that cannot run here; Verdict is "" for one that can.
	Verdict egress.Verdict
	Why     string
	// Shares says what may run beside it.
	Shares isolation.Footprint
	// Revisions says that it needs an istiod beside the default one.
	Revisions bool
	// Quick says that every cluster has from the start what it needs, so that it may be the first to have a verdict.
	Quick bool
}

// base names what the case stands on: the mesh configuration, and the istiods. Further istiods take part in every
// change, and start pods, so the cases that need some run together.
func (p Plan) base() string {
	b, err := json.Marshal(p.Case.BaseMeshConfig)
	if err != nil { // no group with others
		return p.Case.Name
	}
	if p.Revisions {
		return string(b) + " and further istiods"
	}
	return string(b)
}

// noBase is the base of cases that stand on the configuration as it was installed.
const noBase = "null"

// byGroup compares cases by when the group of their base has its turn: further istiods come last, for every change has to wait
// for them as long as they are there.
func byGroup(p, q Plan) int {
	switch {
	case p.Revisions == q.Revisions:
		return 0
	case q.Revisions:
		return -1
	}
	return 1
}

// byTurn compares cases of one group: those that must be alone come last.
func byTurn(p, q Plan) int { return cmp.Compare(p.turn(), q.turn()) }

// turn is 0 for a case that may run beside others. The mesh configuration must not change shortly after endpoints did, so of those
// that run alone, cases that change it stand between those that do neither and those that have endpoints.
func (p Plan) turn() int {
	switch {
	case p.Shares.Alone == "":
		return 0
	case p.Shares.Endpoints:
		return 3
	case p.Case.ChangesMesh():
		return 2
	}
	return 1
}

// Order sorts plans into the order in which a scheduler that had all of them at once would begin them. Somebody who
// submits cases a few at a time should do it in this order: a base is set once then.
func Order(plans []Plan) {
	bases := map[string]int{noBase: 0} // in the order in which they come
	of := map[string]int{}             // by case
	for _, p := range plans {
		key := p.base()
		if _, known := bases[key]; !known {
			bases[key] = len(bases)
		}
		of[p.Case.Name] = bases[key]
	}
	slices.SortStableFunc(plans, func(p, q Plan) int {
		return cmp.Or(byGroup(p, q), cmp.Compare(of[p.Case.Name], of[q.Case.Name]), byTurn(p, q))
	})
}

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
	Lane  int // in which it runs; the first is 0
}

// Listener hears of a case while it runs, one event at a time; it must not block for long, since the case waits for it.
// nil hears nothing.
type Listener func(Event)

// Hear tells a listener that a case has come to a stage.
func (l Listener) Hear(c egress.Case, s Stage) {
	if l != nil {
		l(Event{Case: c.Name, Stage: s, At: time.Now()})
	}
}

// in is a listener that hears in which lane the case runs.
func (l Listener) in(lane int) Listener {
	if l == nil {
		return nil
	}
	return func(e Event) {
		e.Lane = lane
		l(e)
	}
}

// Worker runs one case at a time.
type Worker interface {
	// Join returns when the worker can begin cases; leave says that it begins none any more. An error means that it is
	// not used.
	Join(ctx context.Context) (leave func(), err error)
	// Waits says whether a case would have to wait here for something that is still starting.
	Waits(p Plan) bool
	// Begin runs a case up to its verdict. The returned function makes that, while the worker already runs another
	// case. Where ctx ends first, the result is an unfinished one.
	Begin(ctx context.Context, p Plan, hear Listener) (judge func() egress.Result)
}

// Environment is what the workers share.
type Environment interface {
	// SetBase makes a mesh configuration the one that cases stand on; nil is the installed one. No case runs meanwhile.
	SetBase(ctx context.Context, base egress.Object) error
	// Prepare starts what cases need, and returns once everything runs whose start running cases would notice. No case
	// runs meanwhile.
	Prepare(ctx context.Context, plans []Plan) error
	// Release makes room for what the next cases need: it may let go of what none of those needs that are still to come, the
	// next ones among them. No case runs meanwhile, and nothing starts. It does not wait for the end of that.
	Release(ctx context.Context, next, toCome []Plan)
	// Settled returns when nothing is starting any more.
	Settled(ctx context.Context) error
	// NotRun is the result of a case that does not run, or has not run yet.
	NotRun(c egress.Case, v egress.Verdict, why string) egress.Result
}

// Interrupted is why a run ended that somebody gave up.
const Interrupted = "interrupted"

// Ended says why a context has ended: its cause, or Interrupted where it has none of its own.
func Ended(ctx context.Context) string {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(cause, context.Canceled) {
		return Interrupted
	}
	return cause.Error()
}

// Unfinished makes a result one of a case that had not ended when its context did.
func Unfinished(ctx context.Context, r egress.Result) egress.Result {
	why := Ended(ctx)
	if r.Why != "" {
		why += "\n(seen as: " + r.Why + ")"
	}
	r.Verdict, r.Why, r.Unfinished = egress.Inconclusive, why, true
	return r
}

// errBase says of a case that its base configuration is not there.
func errBase(err error) string {
	return fmt.Sprintf("the mesh configuration that it stands on could not be set: %v", err)
}
