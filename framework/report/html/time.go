package html

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// slowest is how many cases the list of the slowest ones has.
const slowest = 12

// timing is where the seconds went.
type timing struct {
	Steps  []bar // of the start, one after another: when each was complete
	Phases []bar // of all cases together
	Slow   []bar // the cases that took longest
}

// bar is a length of time; From and Width are percent of the whole.
type bar struct {
	Name        string
	Seconds     string
	From, Width string
	Index       int // of the case, -1 for none
}

func timingOf(r *report.Report) timing {
	return timing{Steps: steps(r), Phases: phaseTimes(r.Cases), Slow: slow(r.Cases)}
}

// steps are the moments of a start in their order, as spans from the one before. Some go on side by side, so a span is
// what the step took after the one before it was complete, not its own length.
func steps(r *report.Report) []bar {
	type moment struct {
		name string
		at   float64
	}
	var all []moment
	for name, at := range r.Environment.Timings {
		all = append(all, moment{name, at})
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name))
	})
	all = append(all, moment{"end of the run", r.Took})
	whole := max(r.Took, all[len(all)-2].at)
	var out []bar
	before := 0.0
	for _, m := range all {
		out = append(out, barOf(m.name, before, m.at-before, whole))
		out[len(out)-1].Seconds = fmt.Sprintf("%.2f s", m.at)
		before = m.at
	}
	return out
}

func barOf(name string, from, length, whole float64) bar {
	if whole <= 0 {
		whole = 1
	}
	return bar{Name: name, Seconds: fmt.Sprintf("%.2f s", length), From: percent(from / whole), Width: percent(max(length/whole, 0.002)), Index: -1}
}

func percent(f float64) string { return fmt.Sprintf("%.2f%%", 100*min(max(f, 0), 1)) }

func phaseTimes(cases []egress.Result) []bar {
	var took [len(egress.Wants{})]time.Duration
	var whole time.Duration
	for _, c := range cases {
		for _, ph := range c.Phases {
			if int(ph.Phase) < len(took) && ph.Phase >= 0 {
				took[ph.Phase] += ph.Took
				whole += ph.Took
			}
		}
	}
	var out []bar
	for _, ph := range egress.Phases() {
		if took[ph] > 0 {
			out = append(out, barOf(ph.String(), 0, took[ph].Seconds(), whole.Seconds()))
		}
	}
	return out
}

func slow(cases []egress.Result) []bar {
	var order []int
	for i, c := range cases {
		if c.Took > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(cases[b].Took, cases[a].Took) })
	var out []bar
	for _, i := range order[:min(slowest, len(order))] {
		b := barOf(cases[i].Case.Name, 0, cases[i].Took.Seconds(), cases[order[0]].Took.Seconds())
		b.Index = i
		out = append(out, b)
	}
	return out
}
