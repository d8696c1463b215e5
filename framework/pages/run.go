package pages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/printable"
)

// Shell runs commands, one block after another, as one session: what a block exports is there in the next.
type Shell interface {
	// Run runs a block and returns what it has printed, stdout and stderr together, and the status of its last command. An
	// error says that the block has not come to its end; the shell is of no more use then.
	Run(ctx context.Context, script string) (output string, exit int, err error)
}

// Inventory lists what there is in the place where pages run: a name for each thing, with something that changes when the thing does.
type Inventory func(ctx context.Context) (map[string]string, error)

// Result is what became of a step.
type Result struct {
	Step     Step
	Output   string // masked
	Exit     int
	Attempts int
	Took     time.Duration
}

// OK says whether it is what the page has.
func (r Result) OK() bool { return r.Output == r.Step.Output && r.Exit == r.Step.Exit }

// Decision is what becomes of a step that has not run yet.
type Decision int

// The zero value runs it.
const (
	RunIt Decision = iota
	SkipIt
	Quit // run nothing more
)

// Runner runs pages in one place.
type Runner struct {
	Shell     Shell
	Inventory Inventory // nil does not look at what a page leaves
	Limits    limits.Page
	// Learn is for pages that are going to be rewritten: a step that prints something else is repeated for a shorter time, and so
	// are the steps behind it.
	Learn bool
	// Ask is called before each step; nil runs all of them.
	Ask func(Step) (Decision, error)
	// Each hears of every result; it may be nil.
	Each func(Result)
}

// Outcome is what became of a page.
type Outcome struct {
	Page    *Page
	Results []Result
	// Left are things that were not there before the page ran, have gone since, or are others now.
	Left []string
	// Partly says that steps were left out, so that nothing is known of what the page leaves.
	Partly bool
	Took   time.Duration
}

// OK says whether every step printed what the page has, and everything is as it was before.
func (o Outcome) OK() bool {
	return len(o.Left) == 0 && !slices.ContainsFunc(o.Results, func(r Result) bool { return !r.OK() })
}

// Run runs all steps of a page, also behind one that printed something else, because the last ones clean up. An
// error is a fault of the place, and says nothing about the page.
func (r *Runner) Run(ctx context.Context, p *Page) (Outcome, error) {
	out := Outcome{Page: p}
	start := time.Now()
	before, err := r.inventory(ctx)
	if err != nil {
		return out, err
	}
	for _, s := range p.Steps {
		d := RunIt
		if r.Ask != nil {
			if d, err = r.Ask(s); err != nil {
				return out, err
			}
		}
		if d != RunIt {
			out.Partly = true
		}
		if d == Quit {
			break
		}
		if d == SkipIt {
			continue
		}
		res, err := r.step(ctx, p, s, r.patience(out.OK()))
		if err != nil {
			return out, fmt.Errorf("%s: %w", s.Where(), err)
		}
		out.Results = append(out.Results, res)
		if r.Each != nil {
			r.Each(res)
		}
	}
	if !out.Partly {
		out.Left, err = r.left(ctx, before)
	}
	out.Took = time.Since(start)
	return out, err
}

// patience is how long a step may be repeated. After one that did not print what the page has, the others are not waited
// for: they are likely to differ for the same reason.
func (r *Runner) patience(ok bool) time.Duration {
	switch {
	case r.Learn:
		return r.Limits.Learn
	case ok:
		return r.Limits.Retry
	}
	return 0
}

// step runs one step, again if it may, until it prints what the page has.
func (r *Runner) step(ctx context.Context, p *Page, s Step, patience time.Duration) (Result, error) {
	res := Result{Step: s}
	start := time.Now()
	for {
		block, cancel := context.WithTimeoutCause(ctx, r.Limits.Block, fmt.Errorf("the commands did not end within %s", r.Limits.Block))
		output, exit, err := r.Shell.Run(block, s.Script)
		if cause := context.Cause(block); err != nil && cause != nil {
			err = errors.Join(cause, err)
		}
		cancel()
		if err != nil {
			return res, fmt.Errorf("run the commands: %w", err)
		}
		res.Output, res.Exit = p.Masked(ended(printable.Text(output))), exit
		res.Attempts++
		res.Took = time.Since(start)
		if res.OK() || !s.Retry || res.Took > patience {
			return res, nil
		}
		if err := pause(ctx, r.Limits.Pace); err != nil {
			return res, err
		}
	}
}

// pause waits between two attempts.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func (r *Runner) inventory(ctx context.Context) (map[string]string, error) {
	if r.Inventory == nil {
		return nil, nil
	}
	have, err := r.Inventory(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what is there: %w", err)
	}
	return have, nil
}

// left waits until everything is as it was before: what Kubernetes removes in the background may take a moment.
func (r *Runner) left(ctx context.Context, before map[string]string) ([]string, error) {
	for start := time.Now(); ; {
		after, err := r.inventory(ctx)
		if err != nil {
			return nil, err
		}
		out := changes(before, after)
		if len(out) == 0 || time.Since(start) > r.Limits.Settle {
			return out, nil
		}
		if err := pause(ctx, r.Limits.Pace); err != nil {
			return out, err
		}
	}
}

// changes are the differences between two inventories, in words.
func changes(before, after map[string]string) []string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(after)) {
		if was, ok := before[n]; !ok {
			out = append(out, n+" is left behind")
		} else if was != after[n] {
			out = append(out, n+" has changed")
		}
	}
	for _, n := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[n]; !ok {
			out = append(out, n+" is gone")
		}
	}
	return out
}
