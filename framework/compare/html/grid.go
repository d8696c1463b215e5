package html

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// manyCases is so many that the grid begins with those that have changed.
const manyCases = 40

// area is the cases of one area: a table of its own.
type area struct {
	Name    string
	ID      string
	Changed int // cases
	Cases   []row
	worst   int // the class of its worst change
}

// row is one case with a cell for each column.
type row struct {
	Name, Claim string
	Cells       []cell
	Classes     string // of its changes, separated by blanks
	Verdicts    string // separated by |, since "no run" has a blank
	Changes     []change
	Attempts    []attempt
	More        bool // there is something to open
	worst       int
}

// cell is what a column says of a case.
type cell struct {
	Column  string
	Link    string // of the column's own page
	Verdict string
	Class   string // of the verdict, for its colour
	Mark    string
	Change  compare.Class // since the column before; "" for none
	Differs string        // the first outcome that does
}

// change is one change of a case, explained.
type change struct {
	compare.Change

	Parts []string // that no outcome of an attempt shows
}

// attempt is one probe in one phase, of which not all columns have the same.
type attempt struct {
	Phase, Probe string
	Want         string    // where all columns have wanted the same
	Cells        []outcome // by column
}

// outcome is what came of an attempt in a column.
type outcome struct {
	Column, Got string
	Want        string // where columns have wanted different things
	Bad         bool   // it is none of the wanted ones
}

// grid fills in what is shown of each case.
func (v *view) grid(c *compare.Comparison, columns []string) {
	changes := map[string][]compare.Change{}
	for _, x := range c.Changes {
		for _, name := range x.Names() {
			changes[name] = append(changes[name], x)
		}
	}
	tallies, verdicts, byArea := map[compare.Class]int{}, map[string]bool{}, map[string]*area{}
	changed := 0
	for _, r := range c.Rows() {
		x := v.row(r, changes[r.Name], columns)
		for class := range strings.FieldsSeq(x.Classes) {
			tallies[compare.Class(class)]++
		}
		for _, verdict := range r.Verdicts {
			verdicts[verdict] = true
		}
		a := byArea[r.Area]
		if a == nil {
			a = &area{Name: printable.Line(cmp.Or(r.Area, "no area")), worst: len(compare.Classes())}
			byArea[r.Area] = a
		}
		a.Cases, a.worst = append(a.Cases, x), min(a.worst, x.worst)
		if len(x.Changes) > 0 {
			a.Changed++
			changed++
		}
	}
	for i, name := range slices.Sorted(maps.Keys(byArea)) {
		a := byArea[name]
		a.ID = fmt.Sprintf("area-%d", i)
		slices.SortStableFunc(a.Cases, func(x, y row) int { return cmp.Compare(x.worst, y.worst) })
		v.Areas = append(v.Areas, *a)
	}
	slices.SortStableFunc(v.Areas, func(a, b area) int { return cmp.Compare(a.worst, b.worst) })
	for _, class := range compare.Classes() {
		v.Classes = append(v.Classes, tally{class, tallies[class], meanings[class]})
	}
	v.Verdicts = slices.Sorted(maps.Keys(verdicts))
	v.Only = len(c.Cases) > manyCases && changed > 0
}

// row is one case. The worst change decides where it stands, and those that are explained come behind all others.
func (v *view) row(r compare.Row, changes []compare.Change, columns []string) row {
	out := row{Name: printable.Line(r.Name), Claim: printable.Text(r.Claim), worst: len(compare.Classes())}
	for i, verdict := range r.Verdicts {
		x := cell{Column: columns[i], Verdict: verdict, Mark: report.Mark(egress.Verdict(verdict))}
		if x.Mark == "" { // no run, no such case
			x.Mark, x.Class = "–", "none"
		} else {
			x.Class = "v-" + verdict
		}
		if verdict != compare.NoCase {
			x.Link = v.Columns[i].Link
		}
		out.Cells = append(out.Cells, x)
	}
	var classes []string
	at := func(column string) int {
		return slices.IndexFunc(columns, func(name string) bool { return name == column })
	}
	for _, ch := range changes {
		x := change{Change: printable.Copy(ch)}
		x.From, x.To = printable.Line(ch.From), printable.Line(ch.To)
		for _, d := range x.Change.Parts {
			if d.What != "" || len(r.Attempts) == 0 && d.Probe != "" {
				x.Parts = append(x.Parts, d.String())
			}
		}
		if to := at(x.To); to >= 0 {
			out.Cells[to].Change, out.Cells[to].Differs = ch.Class, differs(r, at(x.From), to, x.Parts)
		}
		if !slices.Contains(classes, string(ch.Class)) {
			classes = append(classes, string(ch.Class))
		}
		out.worst = min(out.worst, slices.Index(compare.Classes(), ch.Class))
		out.Changes = append(out.Changes, x)
	}
	slices.SortStableFunc(out.Changes, func(a, b change) int { return cmp.Compare(at(a.To), at(b.To)) }) // as they came about
	for _, a := range r.Attempts {
		out.Attempts = append(out.Attempts, attemptOf(a, columns))
	}
	out.Classes, out.Verdicts = strings.Join(classes, " "), strings.Join(slices.Compact(slices.Sorted(slices.Values(r.Verdicts))), "|")
	out.More = len(out.Changes) > 0 || len(out.Attempts) > 0
	return out
}

// differs is the first outcome that a case has in a column and had not in an earlier one, and how many more there are.
func differs(r compare.Row, from, to int, parts []string) string {
	var all []string
	for _, a := range r.Attempts {
		if from < 0 || a.Got[from] == nil || a.Got[to] == nil || *a.Got[from] == *a.Got[to] {
			continue
		}
		if s := fmt.Sprintf("%s: %s → %s", a.Phase, a.Got[from].Words(), a.Got[to].Words()); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if all = append(all, parts...); len(all) < 2 {
		return strings.Join(all, "")
	}
	return fmt.Sprintf("%s, and %d more", all[0], len(all)-1)
}

func attemptOf(a compare.Attempt, columns []string) attempt {
	out := attempt{Phase: a.Phase.String(), Probe: printable.Text(a.Probe)}
	wants := map[egress.Outcome]bool{}
	for i, got := range a.Got {
		x := outcome{Column: columns[i], Got: "–"}
		if got != nil && a.Want[i] != nil {
			want := *a.Want[i]
			x.Got, x.Want, x.Bad = got.Words(), want.Words(), !want.Has(*got)
			out.Want, wants[want] = x.Want, true
		}
		out.Cells = append(out.Cells, x)
	}
	if len(wants) > 1 {
		out.Want = "by version"
		return out
	}
	for i := range out.Cells {
		out.Cells[i].Want = ""
	}
	return out
}
