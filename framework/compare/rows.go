package compare

import (
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Row is one case with what each column says of it.
type Row struct {
	Name  string `json:"name"`
	Area  string `json:"area,omitempty"`
	Claim string `json:"claim,omitempty"`
	// Verdicts are by column; "no run" and "-" where there is none.
	Verdicts []string `json:"verdicts"`
	// Attempts are those that did not come out alike in all columns that have made them.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is one probe in one phase, with what it came to in each column.
type Attempt struct {
	Phase egress.Phase `json:"phase"`
	Probe string       `json:"probe"`
	// Want and Got are by column; null where it was not made.
	Want []*egress.Outcome `json:"want"`
	Got  []*egress.Outcome `json:"got"`
}

// What a row has in place of a verdict.
const (
	Unrun  = "no run" // the column has no run, or it ended before the case did
	NoCase = "-"      // the column's run is of other cases
)

// Rows are all cases, in the order of Cases.
func (c *Comparison) Rows() []Row {
	out := make([]Row, 0, len(c.Cases))
	for _, name := range c.Cases {
		r := Row{Name: name}
		cases := make([]*Case, len(c.Columns))
		for i, col := range c.Columns {
			r.Verdicts = append(r.Verdicts, cell(col, name))
			if x := col.find(name); x != nil {
				r.Area, r.Claim = x.Area, x.Claim
				if !x.Unfinished {
					cases[i] = x
				}
			}
		}
		r.Attempts = attempts(cases)
		out = append(out, r)
	}
	return out
}

// attempts are those that differ between results of a case, some of which may be nil.
func attempts(cases []*Case) []Attempt {
	type key struct {
		phase egress.Phase
		probe string
		nth   int // of several that are alike in a phase
	}
	at := map[key]int{}
	var all []Attempt
	for i, x := range cases {
		if x == nil {
			continue
		}
		seen := map[key]int{}
		for _, ph := range x.Phases {
			for _, p := range ph.Probes {
				k := key{ph.Phase, p.Probe, 0}
				seen[k]++
				k.nth = seen[k]
				n, known := at[k]
				if !known {
					n = len(all)
					at[k] = n
					all = append(all, Attempt{ph.Phase, p.Probe, make([]*egress.Outcome, len(cases)), make([]*egress.Outcome, len(cases))})
				}
				all[n].Want[i], all[n].Got[i] = &p.Want, &p.Got
			}
		}
	}
	all = slices.DeleteFunc(all, func(a Attempt) bool { return !a.differs(cases) })
	slices.SortStableFunc(all, func(a, b Attempt) int { return int(a.Phase) - int(b.Phase) })
	return all
}

// differs says whether an attempt did not come out alike wherever the case has run.
func (a Attempt) differs(cases []*Case) bool {
	first := -1
	for i, x := range cases {
		if x == nil || len(x.Phases) == 0 {
			continue
		}
		if first < 0 {
			first = i
			continue
		}
		if !alike(a.Got[first], a.Got[i]) || !alike(a.Want[first], a.Want[i]) {
			return true
		}
	}
	return false
}

func alike(a, b *egress.Outcome) bool { return a == b || a != nil && b != nil && *a == *b }

// Names are those of the change's cases: one, or the two that are the same claim of different versions, the later one last.
func (c Change) Names() []string { return strings.Split(c.Case, then) }

// then joins two cases that are one claim.
const then = ", then "

// Link is the address of the run's own page as seen from the comparison's; "" where none lies in its folder, below it, or in
// a folder beside it.
func (c *Column) Link() string {
	p := path.Clean(c.Page)
	if c.Page == "" || path.Ext(p) != ".html" || !filepath.IsLocal(filepath.FromSlash(strings.TrimPrefix(p, "../"))) {
		return ""
	}
	return (&url.URL{Path: "./" + p}).String()
}
