package html

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// area is the cases of one area: a table of its own.
type area struct {
	Name   string
	Phases []string // its columns; changed only where one of its cases changes something
	Glance []glance // of all phases
	Worst  egress.Verdict
	Cases  []row
}

// glance is how many probes of an area came out as wanted in a phase.
type glance struct {
	Good, Total int
	Worst       egress.Verdict
}

// row is one case.
type row struct {
	Index   int // in the report
	Name    string
	Claim   string
	Verdict egress.Verdict
	Mark    string
	Labels  string // separated by blanks, as are the needs
	Why     string // where no cell says it
	Span    int    // rows that its name stands beside
	Probes  []probeRow
	NoCells bool // it was not run
}

// probeRow is one attempt of a case, with a cell for each phase.
type probeRow struct {
	Text  string
	Cells []cell
}

// cell is what came out of a probe in a phase.
type cell struct {
	Phase   string
	Probe   int
	There   bool
	Verdict egress.Verdict
	Mark    string
	Got     string
	Want    string // where the wanted set says it in other words
	Differs string // what differs, where the outcome itself is the wanted one
}

// areas sorts cases by area. What is wrong comes first, areas and cases in each; otherwise cases keep their order.
func areas(cases []egress.Result) []area {
	byName := map[string][]int{}
	for i, c := range cases {
		byName[c.Case.Area] = append(byName[c.Case.Area], i)
	}
	var out []area
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, areaOf(name, cases, byName[name]))
	}
	slices.SortStableFunc(out, func(a, b area) int { return cmp.Compare(wrong(b.Worst), wrong(a.Worst)) })
	return out
}

// severity orders verdicts: what a reader must see first is highest.
var severity = map[egress.Verdict]int{egress.NotApplicable: 1, egress.Skipped: 2, egress.Conforms: 3, egress.Inconclusive: 4, egress.Violates: 5}

// wrong is the severity of what does not conform, 0 for all else.
func wrong(v egress.Verdict) int {
	if severity[v] > severity[egress.Conforms] {
		return severity[v]
	}
	return 0
}

func worse(a, b egress.Verdict) egress.Verdict {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

func areaOf(name string, cases []egress.Result, members []int) area {
	phases := slices.Clone(egress.Phases())
	if !slices.ContainsFunc(members, func(i int) bool { return cases[i].Case.Changes() }) {
		phases = slices.DeleteFunc(phases, func(p egress.Phase) bool { return p == egress.Changed })
	}
	a := area{Name: name}
	slices.SortStableFunc(members, func(x, y int) int { return cmp.Compare(wrong(cases[y].Verdict), wrong(cases[x].Verdict)) })
	for _, ph := range phases {
		a.Phases = append(a.Phases, ph.String())
	}
	for _, ph := range egress.Phases() {
		a.Glance = append(a.Glance, glanceOf(cases, members, ph))
	}
	for _, i := range members {
		a.Cases = append(a.Cases, rowOf(i, cases[i], phases))
		a.Worst = worse(a.Worst, cases[i].Verdict)
	}
	return a
}

func glanceOf(cases []egress.Result, members []int, ph egress.Phase) glance {
	var g glance
	for _, i := range members {
		for _, p := range probesOf(cases[i], ph) {
			g.Total++
			if p.Verdict == egress.Conforms {
				g.Good++
			}
			g.Worst = worse(g.Worst, p.Verdict)
		}
	}
	return g
}

func probesOf(c egress.Result, ph egress.Phase) []egress.ProbeResult {
	for _, p := range c.Phases {
		if p.Phase == ph {
			return p.Probes
		}
	}
	return nil
}

func rowOf(i int, c egress.Result, phases []egress.Phase) row {
	r := row{
		Index: i, Name: c.Case.Name, Claim: c.Case.Claim, Verdict: c.Verdict, Mark: report.Mark(c.Verdict),
		Labels: strings.Join(c.Case.Labels, " "), NoCells: len(c.Phases) == 0, Span: max(1, len(c.Case.Probes)),
	}
	if r.NoCells {
		r.Span, r.Why = 1, report.Reason(c)
		return r
	}
	said := c.Verdict == egress.Conforms
	for n, p := range c.Case.Probes {
		pr := probeRow{Text: p.String()}
		for _, ph := range phases {
			x := cell{Phase: ph.String(), Probe: n}
			if results := probesOf(c, ph); n < len(results) {
				x = cellOf(x, results[n])
				said = said || x.Verdict == c.Verdict
			}
			pr.Cells = append(pr.Cells, x)
		}
		r.Probes = append(r.Probes, pr)
	}
	if !said { // what is wrong is in no probe: a client that has restarted, an object that was accepted
		r.Why = report.Reason(c)
	}
	return r
}

func cellOf(x cell, p egress.ProbeResult) cell {
	x.There, x.Verdict, x.Mark, x.Got = true, p.Verdict, report.Mark(p.Verdict), p.Got.Words()
	switch want := p.Want.Words(); {
	case p.Verdict == egress.Conforms && want != x.Got, p.Verdict != egress.Conforms && !p.Want.Has(p.Got):
		x.Want = want
	case p.Verdict != egress.Conforms:
		x.Differs = strings.TrimPrefix(report.Came(p), x.Got+", ")
	}
	return x
}

// labels are those of all cases, sorted, without their areas.
func labels(cases []egress.Result) []string {
	all := map[string]bool{}
	for _, c := range cases {
		for _, l := range c.Case.Labels {
			all[l] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
