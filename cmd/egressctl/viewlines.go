package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// line is one of a view; those of a higher rank are left out first where the terminal is too low.
type line struct {
	rank int
	text string
}

// lines draws what is shown at a moment: as many lines as fit, and each on one of the terminal's.
func (s shown) lines(now time.Time, columns, rows int) []string {
	var all []line
	for _, m := range s.making {
		all = append(all, line{1, fmt.Sprintf("making %s, %s", printable.Line(m.what), clock(now.Sub(m.since)))})
	}
	for _, r := range s.runs {
		if !r.ended {
			all = append(all, r.lines(now, columns)...)
		}
	}
	for len(all) > max(1, rows-1) {
		worst := slices.MaxFunc(all, func(a, b line) int { return cmp.Compare(a.rank, b.rank) })
		i := len(all) - 1
		for all[i].rank != worst.rank {
			i--
		}
		all = slices.Delete(all, i, i+1)
	}
	out := make([]string, len(all))
	for i, l := range all {
		out[i] = text.Trim(l.text, columns-1)
	}
	return out
}

func (r *runView) lines(now time.Time, columns int) []line {
	title := ""
	if r.title != "" {
		title = printable.Line(r.title) + ": "
	}
	switch {
	case !r.removing.IsZero():
		return []line{{0, title + "removing what the run has made, " + clock(now.Sub(r.removing))}}
	case r.upgrade != nil:
		return []line{{0, title + r.upgrade.line(now, r.since)}}
	case r.total == 0:
		return []line{{0, title + r.bringUp(now)}}
	}
	out := []line{{0, title + r.progress(now, columns)}}
	for i, l := range r.lanes {
		what := fmt.Sprintf("%-7s %s", l.stage, printable.Line(l.name))
		if l.name == "" {
			what = "waits"
		}
		out = append(out, line{2, fmt.Sprintf("  lane %d %6s  %s", i+1, clock(now.Sub(l.since)), what)})
	}
	if len(r.last) > 0 {
		out = append(out, line{3, "  last: " + r.lastVerdicts(columns-len("  last: ")-1)})
	}
	return out
}

// lastVerdicts are as many as fit into so many columns, but at least one.
func (r *runView) lastVerdicts(columns int) string {
	out := r.last[0]
	for _, l := range r.last[1:] {
		more := out + ", " + l
		if text.StringWidthWithoutEscSequences(more) > columns {
			break
		}
		out = more
	}
	return out
}

// bringUp says what comes before the first case.
func (r *runView) bringUp(now time.Time) string {
	doing, since := harness.Next(r.step), r.since
	if r.step != "" {
		since = r.stepped
	}
	if doing == "" {
		doing = r.step
	}
	return fmt.Sprintf("%s, %s (%s in all)", doing, clock(now.Sub(since)), clock(now.Sub(r.since)))
}

// Width of the bar, and of the terminal from which on there is room for it, in characters.
const (
	barWidth   = 20
	roomForBar = 70
)

// tallied are the verdicts, in the words of a report's summary.
var tallied = []struct {
	verdict egress.Verdict
	word    string
}{
	{egress.Conforms, "conform"}, {egress.Violates, "violate"}, {egress.Inconclusive, "inconclusive"}, {egress.Skipped, "skipped"}, {egress.NotApplicable, "not applicable"},
}

// progress says how far the cases are.
func (r *runView) progress(now time.Time, columns int) string {
	done := 0
	var parts []string
	for _, c := range tallied {
		n := r.counts[c.verdict]
		done += n
		if n > 0 {
			part := fmt.Sprintf("%d %s", n, c.word)
			if didRun(c.verdict) {
				part = report.Paint(c.verdict, part)
			}
			parts = append(parts, part)
		}
	}
	s := fmt.Sprintf("%d of %d cases, %s", done, r.total, clock(now.Sub(r.since)))
	if columns >= roomForBar {
		full := barWidth * done / r.total
		s = strings.Repeat("█", full) + strings.Repeat("░", barWidth-full) + " " + s
	}
	if left, known := r.left(now); known {
		s += ", about " + clock(left) + " left"
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

// enough is how many cases must have run before they tell how long the others take.
const enough = 8

// left is how long the cases that are left take if they take as long as those that have run. Cases that run alone come
// last, so it is rather less than it will be.
func (r *runView) left(now time.Time) (time.Duration, bool) {
	have, without := 0, 0
	for v, n := range r.counts {
		if didRun(v) {
			have += n
		} else {
			without += n
		}
	}
	if have < enough || r.began.IsZero() {
		return 0, false
	}
	return now.Sub(r.began) / time.Duration(have) * time.Duration(r.total-without-have), true
}

// clock is a time as people want it: 7s, 1m05s.
func clock(d time.Duration) string {
	s := int(max(0, d).Round(time.Second).Seconds())
	if s < 60 {
		return fmt.Sprintf("%ds", s)
	}
	return fmt.Sprintf("%dm%02ds", s/60, s%60)
}
