package schedule

import (
	"context"
	"slices"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/isolation"
)

// Scheduler runs the cases that are submitted to it. All of a batch may be submitted at once, or each by somebody who
// waits for its result; more may come while others run, until Close.
//
// Cases stand in groups by their base mesh configuration, which changes once for each group; in a group, those that must
// be alone come last. Where more may come, a case is not overtaken for ever: those that were submitted after one that
// waits for its group, or to be alone, wait for it.
type Scheduler struct {
	env     Environment
	workers []Worker
	// expected are cases that are likely to be submitted, so that what they need starts early.
	expected []Plan

	mu       sync.Mutex
	changed  *sync.Cond // what is below has changed
	pending  []*job     // in the order of their submission
	running  []*job
	closed   bool  // no more will come
	over     error // why nothing is begun any more
	prepared map[string]bool
	// submitted are the names of the cases that were.
	submitted map[string]bool
	judging   sync.WaitGroup

	// ending says that a lane has left a round to which more might have come: no other begins anything in it, or the round
	// would go on with fewer lanes than it has work for.
	ending bool

	base  string // on which cases run now; "" where nobody knows
	begun bool
}

// job is one case that was submitted.
type job struct {
	plan   Plan
	base   string
	ctx    context.Context //nolint:containedctx // the submitter's, as long as the job lives
	hear   Listener
	result chan egress.Result
	stop   func() bool // forgets ctx
}

// New returns a scheduler for these workers, the first of which takes the cases that must run in the first lane.
func New(env Environment, workers []Worker, expected []Plan) *Scheduler {
	s := &Scheduler{env: env, workers: workers, expected: expected, prepared: map[string]bool{}, submitted: map[string]bool{}, base: noBase}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Submit asks for a case to be run. The channel gives its one result, whatever happens, and is closed then. When ctx
// ends before the case does, the result is an unfinished one.
func (s *Scheduler) Submit(ctx context.Context, p Plan, hear Listener) <-chan egress.Result {
	j := &job{plan: p, base: p.base(), ctx: ctx, hear: hear, result: make(chan egress.Result, 1), stop: func() bool { return true }}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.submitted[p.Case.Name] = true
	switch {
	case p.Verdict != "":
		j.resolve(s.env.NotRun(p.Case, p.Verdict, p.Why))
	case s.over != nil:
		j.resolve(s.unfinished(j, s.over.Error()))
	default:
		s.pending = append(s.pending, j)
		j.stop = context.AfterFunc(ctx, func() { s.withdraw(j) })
		s.changed.Broadcast()
	}
	return j.result
}

// Close says that no more cases will be submitted: Run returns when all of them have their results.
func (s *Scheduler) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
}

// ended says why its submitter does not wait any more.
func (j *job) ended() string { return Ended(j.ctx) }

// follow cancels something when its submitter does not wait any more, unless stop is called before.
func (j *job) follow(cancel context.CancelCauseFunc) (stop func() bool) {
	return context.AfterFunc(j.ctx, func() { cancel(context.Cause(j.ctx)) })
}

func (j *job) resolve(r egress.Result) {
	j.stop()
	j.result <- r
	close(j.result)
}

func (s *Scheduler) unfinished(j *job, why string) egress.Result {
	r := s.env.NotRun(j.plan.Case, egress.Inconclusive, why)
	r.Unfinished = true
	return r
}

// withdraw takes a case back that its submitter does not wait for any more; one that runs already ends by itself.
func (s *Scheduler) withdraw(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.pending, j); i >= 0 {
		s.pending = slices.Delete(s.pending, i, i+1)
		j.resolve(s.unfinished(j, j.ended()))
		s.changed.Broadcast()
	}
}

// Run runs cases until Close was called and all have their results, or ctx ends. In either case every case that was
// submitted has its result when Run returns, and later ones get theirs at once.
func (s *Scheduler) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	for {
		base, ok := s.next(ctx)
		if !ok || ctx.Err() != nil {
			break
		}
		s.round(ctx, base)
	}
	s.judging.Wait()
	if s.base != noBase && ctx.Err() == nil {
		_ = s.setBase(ctx, nil, noBase) // nobody stands on it any more; the environment says what went wrong
	}
	s.end(ctx)
}

// end resolves what was never begun.
func (s *Scheduler) end(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := Ended(ctx)
	if ctx.Err() == nil {
		why = "the run had ended before the case was submitted"
	}
	s.over = overError(why)
	for _, j := range s.pending {
		j.resolve(s.unfinished(j, why))
	}
	s.pending = nil
}

type overError string

func (e overError) Error() string { return string(e) }

// next waits for a case to run, and names the base of the group whose turn it is; false when there will be none.
func (s *Scheduler) next(ctx context.Context) (base string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) == 0 && !s.closed && ctx.Err() == nil {
		s.changed.Wait()
	}
	if len(s.pending) == 0 || ctx.Err() != nil {
		return "", false
	}
	if !s.closed { // the oldest has its turn
		return s.pending[0].base, true
	}
	if slices.ContainsFunc(s.pending, func(j *job) bool { return j.base == s.base }) {
		return s.base, true
	}
	return slices.MinFunc(s.pending, func(j, k *job) int { return byGroup(j.plan, k.plan) }).base, true
}

// round runs the cases of one base that can run side by side now, or, where there are none, one that must be alone.
func (s *Scheduler) round(ctx context.Context, base string) {
	if base != s.base {
		s.judging.Wait()
		if err := s.setBase(ctx, s.object(base), base); err != nil {
			if ctx.Err() == nil {
				s.fail(base, errBase(err))
			}
			return
		}
	}
	if !s.begun && len(s.workers) > 1 { // the first verdict comes before other pods compete for the processor
		if j := s.claim(func(j *job) bool { return j.base == base && j.plan.Quick }); j != nil {
			s.begin(ctx, 0, j)
			s.judging.Wait()
		}
	}
	s.begun = true
	if err := s.prepare(ctx, base); err != nil || ctx.Err() != nil {
		return // whether something has started well is the business of the cases that need it
	}
	if n := s.wide(base); n > 0 {
		s.sideBySide(ctx, base, n)
		return
	}
	if err := s.env.Settled(ctx); err != nil {
		return
	}
	if j := s.aloneNext(base); j != nil {
		s.begin(ctx, 0, j)
	}
}

func (s *Scheduler) setBase(ctx context.Context, base egress.Object, key string) error {
	err := s.env.Settled(ctx)
	if toCome := s.toCome(); err == nil && len(toCome) > 0 {
		s.env.Release(ctx, slices.DeleteFunc(slices.Clone(toCome), func(p Plan) bool { return p.base() != key }), toCome)
	}
	if err == nil {
		err = s.env.SetBase(ctx, base)
	}
	s.base = key
	if err != nil {
		s.base = ""
	}
	return err
}

// toCome are the cases that wait, and those that are expected and were not submitted yet.
func (s *Scheduler) toCome() []Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Plan
	for _, j := range s.pending {
		out = append(out, j.plan)
	}
	for _, p := range s.expected {
		if p.Verdict == "" && !s.submitted[p.Case.Name] {
			out = append(out, p)
		}
	}
	return out
}

// object is the configuration that a base names.
func (s *Scheduler) object(base string) egress.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.pending {
		if j.base == base {
			return j.plan.Case.BaseMeshConfig
		}
	}
	return nil // its only case was withdrawn
}

// fail resolves all cases of a base that cannot be set.
func (s *Scheduler) fail(base, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(j *job) bool {
		if j.base == base {
			j.resolve(s.env.NotRun(j.plan.Case, egress.Inconclusive, why))
		}
		return j.base == base
	})
}

// prepare starts what the cases of a base need that it has not started yet.
func (s *Scheduler) prepare(ctx context.Context, base string) error {
	var plans []Plan
	s.mu.Lock()
	add := func(p Plan) {
		if !s.prepared[p.Case.Name] {
			s.prepared[p.Case.Name] = true
			plans = append(plans, p)
		}
	}
	for _, p := range s.expected {
		if p.Verdict == "" && p.base() == base {
			add(p)
		}
	}
	for _, j := range s.pending {
		if j.base == base {
			add(j.plan)
		}
	}
	s.mu.Unlock()
	if len(plans) == 0 {
		return nil
	}
	return s.env.Prepare(ctx, plans)
}

// eligible says whether a case may run side by side with others of its base now. The caller holds the lock.
func (s *Scheduler) eligible(j *job, base string) bool {
	if !j.sideBySide(base) || !s.prepared[j.plan.Case.Name] {
		return false
	}
	if s.closed {
		return true
	}
	for _, older := range s.pending {
		if older == j {
			return true
		}
		if !older.sideBySide(base) {
			return false
		}
	}
	return true
}

func (j *job) sideBySide(base string) bool { return j.base == base && j.plan.Shares.Alone == "" }

// wide is how many workers have something to do side by side.
func (s *Scheduler) wide(base string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, some := 0, false
	for _, j := range s.pending {
		if s.eligible(j, base) {
			n, some = n+1, true
		}
	}
	if !some {
		return 0
	}
	if !s.closed {
		for _, p := range s.expected {
			if p.Verdict == "" && p.base() == base && p.Shares.Alone == "" {
				n++
			}
		}
	}
	return min(n, len(s.workers))
}

// sideBySide runs the cases of a base that can run beside each other, those that come meanwhile too.
func (s *Scheduler) sideBySide(ctx context.Context, base string, n int) {
	s.ending = false // no lane runs
	var all sync.WaitGroup
	for lane, w := range s.workers[:n] {
		all.Go(func() {
			leave, err := w.Join(ctx)
			if err != nil && lane > 0 {
				return // the others do its work
			}
			if err == nil {
				defer leave()
			}
			for {
				j := s.take(ctx, w, lane, base)
				if j == nil {
					return
				}
				s.begin(ctx, lane, j)
			}
		})
	}
	all.Wait()
	s.judging.Wait() // they still hear their witnesses
}

// take waits for a case that can run in a lane beside those that run; nil when there is none left.
func (s *Scheduler) take(ctx context.Context, w Worker, lane int, base string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil && !s.ending {
		left := false
		var best *job
		score := -1
		for _, j := range s.pending {
			if !s.eligible(j, base) {
				continue
			}
			first := j.plan.Shares.FirstLane != ""
			left = left || !first || lane == 0 || !s.closed
			if first && lane != 0 || s.conflicts(j) {
				continue
			}
			// What has all that it needs comes first, and of those what can run in no other lane.
			n := 0
			if !w.Waits(j.plan) {
				n = 2
			}
			if first {
				n++
			}
			if n > score {
				best, score = j, n
			}
		}
		if best != nil {
			s.move(best)
			return best
		}
		if !left && (s.closed || len(s.running) == 0) {
			break
		}
		s.changed.Wait()
	}
	s.ending = s.ending || !s.closed
	s.changed.Broadcast()
	return nil
}

// conflicts says whether a case would meet one that runs. The caller holds the lock.
func (s *Scheduler) conflicts(j *job) bool {
	return slices.ContainsFunc(s.running, func(r *job) bool { return isolation.Footprint.Conflicts(r.plan.Shares, j.plan.Shares) })
}

// move makes a pending case a running one. The caller holds the lock.
func (s *Scheduler) move(j *job) {
	i := slices.Index(s.pending, j)
	s.pending = slices.Delete(s.pending, i, i+1)
	s.running = append(s.running, j)
}

// claim takes the first case that is meant; nil for none.
func (s *Scheduler) claim(is func(*job) bool) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.pending, is)
	if i < 0 {
		return nil
	}
	j := s.pending[i]
	s.move(j)
	return j
}

// aloneNext takes the case of a base that is to run alone next. Where more may come, the oldest case has its turn.
func (s *Scheduler) aloneNext(base string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := slices.DeleteFunc(slices.Clone(s.pending), func(j *job) bool { return j.base != base })
	if len(group) == 0 {
		return nil
	}
	next := group[0]
	if s.closed {
		next = slices.MinFunc(group, func(j, k *job) int { return byTurn(j.plan, k.plan) })
	}
	s.move(next)
	return next
}

// begin runs a case in a lane and hands out its result as soon as there is one; it returns when the lane is free.
func (s *Scheduler) begin(ctx context.Context, lane int, j *job) {
	if j.ctx.Err() != nil { // it was given up just now
		s.release(j)
		j.resolve(s.unfinished(j, j.ended()))
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := j.follow(cancel)
	hear := j.hear.in(lane)
	hear.Hear(j.plan.Case, StageStarted)
	judge := s.workers[lane].Begin(ctx, j.plan, hear)
	s.release(j)
	s.judging.Go(func() {
		defer cancel(nil)
		defer stop()
		hear.Hear(j.plan.Case, StageVerdict)
		j.resolve(judge())
	})
}

// release lets others have what a case held.
func (s *Scheduler) release(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.running, j)
	s.running = slices.Delete(s.running, i, i+1)
	s.changed.Broadcast()
}
