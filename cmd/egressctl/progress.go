package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
)

// newProgress shows the components that are being made in the view, or prints plain lines where there is none.
func newProgress(w io.Writer) components.Progress {
	if v := viewBelow(w); v != nil {
		return v
	}
	return &lines{w: w}
}

type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Start(part, version string, source components.Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "components: making %s %s from source %s\n", part, version, source)
}

func (l *lines) Done(part string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := "done"
	if err != nil {
		state = "FAILED"
	}
	fmt.Fprintf(l.w, "components: %s %s after %.0fs\n", part, state, took.Seconds())
}

// teller tells people of a run while it goes on.
type teller interface {
	round(cases int)      // so many cases are about to run, maybe not for the first time
	result(egress.Result) // one has its verdict
	closing()             // what the run has made is about to be removed
	over()                // the run is
}

// plain tells of results alone, with a line for each.
type plain struct {
	w      io.Writer
	prefix string
}

func (plain) round(int) {}

func (plain) closing() {}

func (plain) over() {}

func (p plain) result(r egress.Result) {
	fmt.Fprintf(p.w, "%s%-14s %-32s %5.2fs\n", p.prefix, r.Verdict, r.Case.Name, r.Took.Seconds())
}

// tell makes a session tell of its runs: in the view that is below the writer, under a title, or else in plain lines. Verbose
// prints every result above the view too, and not only those that are no success.
func tell(o *harness.Options, w io.Writer, p plain, title string, verbose bool) teller {
	v := viewBelow(w)
	if v == nil {
		return p
	}
	live := v.run(title, p, verbose)
	o.OnStep, o.OnStage = live.onStep, live.onStage
	return live
}

// opener is harness.Up, or what else brings a session up with all that it needs.
type opener func(context.Context, harness.Options) (*harness.Session, error)

// raise brings a session up, and shows the steps of it in the view that is below the writer, until it is up or has failed. Where
// there is no view, its lines are all.
func raise(ctx context.Context, o harness.Options, w io.Writer, up opener) (*harness.Session, error) {
	told := tell(&o, w, plain{w: w}, "", false)
	defer told.over()
	return up(ctx, o)
}
