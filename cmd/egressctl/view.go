package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/term"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
	"mesh-egress-conformance/framework/terminal"
)

// drawEvery is how often the view is drawn, for its clocks. People do not notice more often.
const drawEvery = 250 * time.Millisecond

// screenOn is the screen on a terminal on which a view may be shown: not where colours are refused, where a CI system keeps
// what is printed, or where the terminal does not know how to move its cursor.
func screenOn(f *os.File, getenv func(string) string) *terminal.Screen {
	if t := getenv("TERM"); t == "" || t == "dumb" || getenv("NO_COLOR") != "" || isCI(getenv("CI")) || !onTerminal(f) {
		return nil
	}
	return terminal.New(f, func() (columns, rows int, err error) { return term.GetSize(int(f.Fd())) })
}

// view is what people see of runs, and of the components that are made, while they go on. What is written to it is printed
// above.
type view struct {
	screen *terminal.Screen
	mu     sync.Mutex
	shown  shown
	hide   func()
	closed bool
}

// shown is what a view shows.
type shown struct {
	making []making
	runs   []*runView
}

// making is a component that is being made.
type making struct {
	part, what string
	since      time.Time
}

// newView shows what goes on until close is called.
func newView(screen *terminal.Screen) *view {
	v := &view{screen: screen}
	v.hide = screen.Show(func(columns, rows int) []string {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.shown.lines(time.Now(), columns, rows)
	}, drawEvery)
	return v
}

// close ends the view: what was printed remains.
func (v *view) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.hide()
}

// Write prints above what is shown.
func (v *view) Write(b []byte) (int, error) { return v.screen.Write(b) } //nolint:wrapcheck // it is a writer

// Unwrap is the writer below.
func (v *view) Unwrap() io.Writer { return v.screen }

// viewBelow is the view that a writer passes through; nil where nothing is shown.
func viewBelow(w io.Writer) *view {
	for {
		switch x := w.(type) {
		case *view:
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.closed {
				return nil
			}
			return x
		case interface{ Unwrap() io.Writer }:
			w = x.Unwrap()
		default:
			return nil
		}
	}
}

// do changes what is shown.
func (v *view) do(change func(*shown)) {
	v.mu.Lock()
	change(&v.shown)
	v.mu.Unlock()
	v.screen.Refresh()
}

// Start begins a component.
func (v *view) Start(part, version string, source components.Source) {
	v.do(func(s *shown) {
		s.making = append(s.making, making{part, fmt.Sprintf("%s %s from source %s", part, version, source), time.Now()})
	})
}

// Done ends a component. It is printed, so that what took long can be seen afterwards too.
func (v *view) Done(part string, took time.Duration, err error) {
	v.do(func(s *shown) { s.making = slices.DeleteFunc(s.making, func(m making) bool { return m.part == part }) })
	(&lines{w: printable.Writer(v)}).Done(part, took, err)
}

// runView is what a view knows of one run.
type runView struct {
	title    string // "" where there is one run
	since    time.Time
	step     string // the last one of the bring-up
	stepped  time.Time
	total    int       // cases; 0 before they begin
	began    time.Time // when the first case that runs did
	counts   map[egress.Verdict]int
	last     []string // verdicts, the last one first
	lanes    []laneView
	upgrade  *upgradeView
	removing time.Time // since when what the run has made is removed
	ended    bool
}

// laneView is a lane; name is "" between two cases.
type laneView struct {
	name  string
	stage schedule.Stage
	since time.Time // in which the case runs, or the lane waits
}

// lastVerdicts is how many are shown.
const lastVerdicts = 4

// run adds a run, of which what is returned tells. Verdicts that fail are printed above by say; all, if verbose.
func (v *view) run(title string, say plain, verbose bool) *liveRun {
	r := &runView{title: title, since: time.Now(), counts: map[egress.Verdict]int{}}
	v.do(func(s *shown) { s.runs = append(s.runs, r) })
	return &liveRun{v: v, r: r, say: say, verbose: verbose}
}

// liveRun tells a view of one run.
type liveRun struct {
	v       *view
	r       *runView
	say     plain
	verbose bool
}

// onStep hears of the bring-up.
func (l *liveRun) onStep(step string) {
	l.v.do(func(*shown) { l.r.step, l.r.stepped = step, time.Now() })
}

// onStage hears of a case.
func (l *liveRun) onStage(e schedule.Event) {
	l.v.do(func(*shown) {
		r := l.r
		for len(r.lanes) <= e.Lane {
			r.lanes = append(r.lanes, laneView{})
		}
		lane := &r.lanes[e.Lane]
		switch e.Stage {
		case schedule.StageVerdict:
			*lane = laneView{since: e.At}
		case schedule.StageStarted:
			*lane = laneView{name: e.Case, stage: e.Stage, since: e.At}
			if r.began.IsZero() {
				r.began = e.At
			}
		default:
			lane.stage = e.Stage
		}
	})
}

func (l *liveRun) round(cases int) {
	l.v.do(func(*shown) {
		l.r.total, l.r.began, l.r.counts, l.r.lanes = cases, time.Time{}, map[egress.Verdict]int{}, nil
	})
}

func (l *liveRun) result(res egress.Result) {
	l.v.do(func(*shown) {
		l.r.counts[res.Verdict]++
		if didRun(res.Verdict) {
			line := report.Paint(res.Verdict, report.Mark(res.Verdict)) + fmt.Sprintf(" %s %.1fs", printable.Line(res.Case.Name), res.Took.Seconds())
			l.r.last = append([]string{line}, l.r.last[:min(len(l.r.last), lastVerdicts-1)]...)
		}
	})
	if l.verbose || res.Verdict == egress.Violates || res.Verdict == egress.Inconclusive {
		l.say.result(res)
	}
}

func (l *liveRun) closing() { l.v.do(func(*shown) { l.r.removing = time.Now() }) }

func (l *liveRun) over() { l.v.do(func(*shown) { l.r.ended = true }) }

// didRun says whether a case with this verdict did run, as far as a verdict tells.
func didRun(v egress.Verdict) bool { return v != egress.Skipped && v != egress.NotApplicable }
