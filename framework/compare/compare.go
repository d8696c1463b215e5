package compare

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Schema names the format of a comparison as JSON; docs/compare.md describes it.
const Schema = "mesh-egress-conformance/comparison/v1"

// Class says what kind of change there is.
type Class string

// The classes, worst first; that is the order in which they are shown.
const (
	Regression Class = "regression"        // conforms, then violates
	Unproven   Class = "unproven"          // one of the runs proves nothing about the case
	Itself     Class = "case-changed"      // the case has another definition in one of the reports
	Behaviour  Class = "behaviour-changed" // both conform, or both violate, with another outcome
	Gone       Class = "gone"              // the case has run, and does not any more
	New        Class = "new"               // the case runs, and has not before
	Fixed      Class = "fixed"             // violates, then conforms
	Explained  Class = "known"             // any of the above, explained with its source
)

// Classes are all of them in the order in which they are shown.
func Classes() []Class {
	return []Class{Regression, Unproven, Itself, Behaviour, Gone, New, Fixed, Explained}
}

// Change is what one case does otherwise in one column than in the last one before it that proves something.
type Change struct {
	Case  string `json:"case"`
	Area  string `json:"area,omitempty"`
	Row   string `json:"row,omitempty"`
	From  string `json:"from,omitempty"` // column; "" where none before it proves anything
	To    string `json:"to"`             // column
	Class Class  `json:"class"`
	// Kind is the class that a known change would have if nobody had explained it.
	Kind  Class        `json:"kind,omitempty"`
	What  string       `json:"what"`
	Parts []Difference `json:"differences,omitempty"`
	// Source explains the change: the known change's, or the case's own where it says of which versions it is.
	Source string `json:"source,omitempty"`
	Issue  string `json:"issue,omitempty"`
	Why    string `json:"why,omitempty"` // of the later verdict

	stated bool // the case says itself of which versions it is, or what it demands on which
	worse  bool // the later verdict is a violation, and the earlier was none
}

// told says whether somebody has said why: a source, or the case.
func (c Change) told() bool {
	stated := c.stated && !slices.ContainsFunc(c.Parts, func(d Difference) bool { return !d.Stated })
	return c.Class == Explained || stated || c.Class == Itself
}

// Comparison is what has changed from column to column.
type Comparison struct {
	Columns []*Column
	Cases   []string // names, in the order in which columns have them
	Changes []Change
	// Unseen are known changes that lie between the versions of two columns, and that no case shows.
	Unseen []Known
}

// Run compares columns, from the first to the last. A case is compared with the last column before that proves something
// about it, so that a column without a verdict hides no regression.
func Run(columns []*Column, known []Known) (*Comparison, error) {
	if len(columns) < 2 {
		return nil, errors.New("there is nothing to compare: give two runs or more")
	}
	c := &Comparison{Columns: columns}
	ran := 0 // columns
	shared := false
	for _, col := range columns {
		if col.Failed == "" {
			ran++
		}
		for _, x := range col.Cases {
			if slices.Contains(c.Cases, x.Name) {
				shared = true
				continue
			}
			c.Cases = append(c.Cases, x.Name)
		}
	}
	if ran > 1 && !shared {
		return nil, fmt.Errorf("%s have no case in common: they are of different sets of cases, which nothing can be said about", names(columns))
	}
	seen := map[int]bool{}
	for _, name := range c.Cases {
		c.follow(name, known, seen)
	}
	c.pair()
	for i, k := range known {
		if !seen[i] && k.Since != "" && c.crosses(k) {
			c.Unseen = append(c.Unseen, k)
		}
	}
	slices.SortStableFunc(c.Changes, func(a, b Change) int {
		return slices.Index(Classes(), a.Class) - slices.Index(Classes(), b.Class)
	})
	return c, nil
}

func names(columns []*Column) string {
	var out []string
	for _, c := range columns {
		out = append(out, c.Name)
	}
	return strings.Join(out, " and ")
}

// crosses says whether a known change lies between two columns that have run.
func (c *Comparison) crosses(k Known) bool {
	last := ""
	for _, col := range c.Columns {
		if col.Failed != "" || col.Environment.Istio == "" {
			continue
		}
		if lies, _ := k.between(last, col.Environment.Istio); lies && last != "" {
			return true
		}
		last = col.Environment.Istio
	}
	return false
}

// follow compares one case from column to column.
func (c *Comparison) follow(name string, known []Known, seen map[int]bool) {
	var before *Column
	for _, col := range c.Columns {
		if col.Failed != "" {
			continue
		}
		x := col.find(name)
		if x != nil && x.Unfinished {
			continue // the column says how many there are
		}
		if x != nil && x.Verdict == egress.Inconclusive {
			ch := Change{Case: name, Area: x.Area, Row: x.Row, To: col.Name, Class: Unproven, What: "inconclusive", Why: x.Why}
			if before != nil {
				ch.From = before.Name
				ch.What = verdictOf(before.find(name)) + " → inconclusive"
			}
			c.Changes = append(c.Changes, ch)
			continue
		}
		if before != nil {
			if ch := classify(name, before, col); ch != nil {
				explain(ch, before, col, known, seen)
				c.Changes = append(c.Changes, *ch)
			}
		}
		before = col
	}
}

// verdictOf is a verdict as it is shown; a column may lack the case.
func verdictOf(x *Case) string {
	if x == nil {
		return "no such case"
	}
	return string(x.Verdict)
}

// runs says whether a case has run to a verdict.
func runs(x *Case) bool {
	return x != nil && (x.Verdict == egress.Conforms || x.Verdict == egress.Violates)
}

// classify says how two columns differ in a case that both prove something about; nil if they do not.
func classify(name string, a, b *Column) *Change {
	x, y := a.find(name), b.find(name)
	if !runs(x) && !runs(y) {
		return nil
	}
	ch := &Change{Case: name, From: a.Name, To: b.Name, What: verdictOf(x) + " → " + verdictOf(y)}
	for _, z := range []*Case{x, y} {
		if z != nil {
			ch.Area, ch.Row = z.Area, z.Row
		}
	}
	if y != nil && y.Verdict != egress.Conforms {
		ch.Why = y.Why
	}
	if !runs(x) || !runs(y) {
		return applicability(ch, x, y)
	}
	ch.Parts = differences(x, y, a.Environment.Istio, b.Environment.Istio)
	if len(ch.Parts) == 0 {
		return nil
	}
	switch fields := changed(x, y); {
	case len(fields) > 0:
		ch.Class, ch.worse = Itself, x.Verdict != egress.Violates && y.Verdict == egress.Violates
		ch.What += fmt.Sprintf("; the case itself changed (%s), so this says nothing about Istio", strings.Join(fields, ", "))
	case x.Verdict == y.Verdict:
		ch.Class, ch.stated = Behaviour, true
		var parts []string
		for _, d := range ch.Parts {
			parts = append(parts, d.String())
			ch.stated = ch.stated && d.Stated
		}
		if ch.stated {
			ch.Source = y.Source
		}
		ch.What = strings.Join(parts, "; ")
	case y.Verdict == egress.Violates:
		ch.Class = Regression
	default:
		ch.Class = Fixed
	}
	if x.Claim != y.Claim && ch.Class != Itself {
		ch.What += " (the claim is worded otherwise)"
	}
	return ch
}

// applicability is a change between a case that has run and one that has not.
func applicability(ch *Change, x, y *Case) *Change {
	idle, is := x, y
	ch.Class = New
	if runs(x) {
		idle, is = y, x
		ch.Class = Gone
	}
	ch.Parts = []Difference{{From: verdictOf(x), To: verdictOf(y)}}
	switch {
	case idle == nil:
		return ch
	case len(changed(idle, is)) > 0 || len(conditionsChanged(idle, is)) > 0:
		ch.Class, ch.worse = Itself, y != nil && y.Verdict == egress.Violates
		ch.What += "; the case itself changed"
	case idle.Verdict == egress.NotApplicable:
		ch.stated, ch.Source = true, is.Source
		ch.Parts[0].Stated = is.Verdict == egress.Conforms // a claim that does not hold is not what the case states
	}
	if idle.Why != "" {
		ch.What += " (" + idle.Why + ")"
	}
	return ch
}

// explain makes a change known whose every part is.
func explain(ch *Change, a, b *Column, known []Known, seen map[int]bool) {
	if ch.Class == Itself {
		return
	}
	var by []int
	for _, d := range ch.Parts {
		i := slices.IndexFunc(known, func(k Known) bool {
			return k.explains(ch.Case, d, a.Environment.Istio, b.Environment.Istio)
		})
		if i < 0 {
			return
		}
		if !slices.Contains(by, i) {
			by = append(by, i)
		}
	}
	ch.know(by, known, seen)
}

func (c *Change) know(by []int, known []Known, seen map[int]bool) {
	var what, source, issues []string
	for _, i := range by {
		seen[i] = true
		what, source = append(what, known[i].What), append(source, known[i].By())
		if known[i].Issue != "" {
			issues = append(issues, known[i].Issue)
		}
	}
	c.Kind, c.Class = c.Class, Explained
	c.Source, c.Issue = strings.Join(source, "; "), strings.Join(issues, "; ")
	c.What = strings.Join(what, "; ") + ": " + c.What
}

// pair makes one change of two cases that are the same claim of different versions: of one row of the catalogue, where
// the one ends as the other begins because both say so.
func (c *Comparison) pair() {
	ends := func(x Change) bool {
		return x.Row != "" && x.stated && (x.Class == Gone || x.Class == Explained && x.Kind == Gone)
	}
	begins := func(x, y Change) bool {
		return y.Row == x.Row && y.From == x.From && y.To == x.To && y.stated && (y.Class == New || y.Class == Explained && y.Kind == New)
	}
	for i := 0; i < len(c.Changes); i++ {
		gone := c.Changes[i]
		if !ends(gone) {
			continue
		}
		k := slices.IndexFunc(c.Changes, func(y Change) bool { return begins(gone, y) })
		if k < 0 {
			continue
		}
		c.Changes[i] = pairOf(gone, c.Changes[k])
		c.Changes = slices.Delete(c.Changes, k, k+1)
		i = min(i, len(c.Changes)-1)
	}
}

func pairOf(gone, begun Change) Change {
	out := begun
	out.Case = gone.Case + then + begun.Case
	out.Parts = append(slices.Clone(gone.Parts), begun.Parts...)
	out.Class, out.Kind = Behaviour, ""
	if gone.Parts[0].From == string(egress.Conforms) && begun.Parts[0].To == string(egress.Violates) {
		out.Class, out.Source = Regression, ""
		out.What = "row " + begun.Row + ": the claim of the one version holds, and that of the other does not: " + begun.What
		return out
	}
	for _, x := range []Change{gone, begun} {
		if x.Class == Explained {
			out.Class, out.Kind, out.Source, out.Issue, out.What = Explained, Behaviour, x.Source, x.Issue, x.What
		}
	}
	if out.Class == Behaviour {
		out.What = "row " + begun.Row + ": one claim ends and another begins"
	}
	return out
}

// Of are the changes of a class.
func (c *Comparison) Of(class Class) []Change {
	var out []Change
	for _, x := range c.Changes {
		if x.Class == class {
			out = append(out, x)
		}
	}
	return out
}

// Fails says whether the change is one that a user must not miss: a regression, and when strict any other, that nobody
// has explained.
func (c Change) Fails(strict bool) bool {
	return c.Class == Regression || strict && !c.told() && c.Class != Unproven
}

// open says whether nothing is proven about the case: neither that it has stayed as it was nor that it has not.
func (c Change) open() bool { return c.Class == Unproven || c.Class == Itself && c.worse }

// ExitCode is the status that the comparison deserves: 1 for a regression that nobody has explained, and when strict for
// any change that nobody has explained; else 2 where something is not proven, a column has no run or has faults; else 0.
func (c *Comparison) ExitCode(strict bool) int {
	code := 0
	for _, x := range c.Changes {
		switch {
		case x.Fails(strict):
			return 1
		case x.open():
			code = 2
		}
	}
	for _, col := range c.Columns {
		if col.Failed != "" || len(col.Faults) > 0 || col.unfinished() > 0 {
			code = 2
		}
	}
	return code
}
