package report

import (
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// Text says how a report is printed.
type Text struct {
	Color bool
	Table bool // the truth table, before the cases that do not conform
	Codes bool // outcomes with their codes, as case files have them, beside the words
}

// say is an outcome in words.
func (o Text) say(out egress.Outcome) string {
	if o.Codes && out != 0 && out.String() != out.Words() {
		return out.Words() + " [" + out.String() + "]"
	}
	return out.Words()
}

// Widths of the columns that wrap, in characters.
const (
	probeWidth    = 40
	outcomeWidth  = 24
	evidenceWidth = 56
)

// table is the truth table: one row for each probe, its outcome in each phase.
func (o Text) table(w io.Writer, r *Report) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateRows = false
	t.AppendHeader(table.Row{"case", "probe", "before", "applied", "removed", "witnesses (applied)"})
	columns := []table.ColumnConfig{{Number: 2, WidthMax: probeWidth, WidthMaxEnforcer: text.WrapText}, {Number: 6, WidthMax: evidenceWidth, WidthMaxEnforcer: text.WrapSoft}}
	for n := 3; n <= 5; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, WidthMax: outcomeWidth, WidthMaxEnforcer: text.WrapSoft})
	}
	t.SetColumnConfigs(columns)
	for _, c := range r.Cases {
		o.rows(t, c)
		t.AppendSeparator()
	}
	t.Render()
}

func (o Text) rows(t table.Writer, c egress.Result) {
	name := o.paint(c.Verdict, mark(c.Verdict)+" "+c.Case.Name)
	if len(c.Phases) == 0 {
		t.AppendRow(table.Row{name, string(c.Verdict), "", "", "", firstLine(c.Why)})
		return
	}
	explained := c.Verdict == egress.Conforms
	for i, p := range c.Case.Probes {
		row := table.Row{name, printable.Line(p.String())}
		name = ""
		evidence := ""
		for _, ph := range []egress.Phase{egress.Before, egress.Applied, egress.Removed} {
			x := probeAt(c, ph, i)
			text := o.cell(x)
			explained = explained || x != nil && x.Verdict == c.Verdict
			if ph == egress.Applied && c.Case.Changes() {
				then := probeAt(c, egress.Changed, i)
				text += ", then " + o.cell(then)
				explained = explained || then != nil && then.Verdict == c.Verdict
			}
			row = append(row, text)
			if x != nil && (ph == egress.Applied || x.Verdict != egress.Conforms) {
				evidence = printable.Line(x.Evidence)
			}
		}
		t.AppendRow(append(row, evidence))
	}
	if !explained { // what is wrong is in no probe: a client that has restarted, an object that was accepted
		t.AppendRow(table.Row{"", "the case itself", "", "", "", o.paint(c.Verdict, mark(c.Verdict)+" "+firstLine(c.Why))})
	}
}

func firstLine(s string) string {
	first, _, more := strings.Cut(s, "\n")
	if more {
		first += " ..."
	}
	return printable.Line(first)
}

func probeAt(c egress.Result, ph egress.Phase, i int) *egress.ProbeResult {
	for _, p := range c.Phases {
		if p.Phase == ph && i < len(p.Probes) {
			return &p.Probes[i]
		}
	}
	return nil
}

// cellMax bounds what a cell quotes of a reason, in characters.
const cellMax = 160

// cell says what came out, and where that is not what was wanted, what differs.
func (o Text) cell(x *egress.ProbeResult) string {
	if x == nil {
		return "-"
	}
	s := o.came(*x)
	if x.Verdict != egress.Conforms {
		s = mark(x.Verdict) + " " + s
	}
	return o.paint(x.Verdict, s)
}

// Came says what a probe came to, and where that is not as wanted, what differs.
func Came(x egress.ProbeResult) string { return Text{}.came(x) }

// came is a probe's outcome, and what is wrong with it.
func (o Text) came(x egress.ProbeResult) string {
	got := o.say(x.Got)
	switch {
	case x.Verdict == egress.Conforms:
		return got
	case !x.Want.Has(x.Got):
		return got + ", wanted " + o.say(x.Want)
	}
	// The outcome is the wanted one: a detail differs, or the proof lacks something.
	why := printable.Line(strings.TrimPrefix(strings.TrimPrefix(x.Why, x.Got.String()+", but "), "blocked, but "))
	if r := []rune(why); len(r) > cellMax {
		why = string(r[:cellMax]) + "..."
	}
	if why == "" {
		return got + ", but that is not all"
	}
	return got + ", but " + why
}

// why is the reason of a probe's verdict with its outcomes in words. report.json has their codes.
func (o Text) why(x egress.ProbeResult) string {
	s := x.Why
	if codes := x.Got.String() + ", wanted " + x.Want.String(); x.Got != 0 && strings.HasPrefix(s, codes) {
		return o.say(x.Got) + ", wanted " + o.say(x.Want) + strings.TrimPrefix(s, codes)
	}
	if code := x.Got.String() + ", but "; x.Got != 0 && strings.HasPrefix(s, code) {
		return o.say(x.Got) + ", but " + strings.TrimPrefix(s, code)
	}
	return s
}

// Reason is why a case does not conform, or was not run, with outcomes in words.
func Reason(c egress.Result) string { return Text{}.reason(c) }

// reason is a case's reason, the outcomes of the probe that decided in words.
func (o Text) reason(c egress.Result) string {
	for _, ph := range c.Phases {
		for _, p := range ph.Probes {
			if p.Verdict == c.Verdict && p.Why != "" && strings.Contains(c.Why, p.Why) {
				return strings.Replace(c.Why, p.Why, o.why(p), 1)
			}
		}
	}
	return c.Why
}

var marks = map[egress.Verdict]string{egress.Conforms: "✓", egress.Violates: "✗", egress.Inconclusive: "?", egress.Skipped: "–", egress.NotApplicable: "–"}

// Mark is the character that stands for a verdict.
func Mark(v egress.Verdict) string { return mark(v) }

func mark(v egress.Verdict) string { return marks[v] }

func (o Text) paint(v egress.Verdict, s string) string {
	if !o.Color {
		return s
	}
	return Paint(v, s)
}

// Paint gives a text the colour of a verdict.
func Paint(v egress.Verdict, s string) string {
	switch v {
	case egress.Conforms:
		return text.FgGreen.Sprint(s)
	case egress.Violates:
		return text.FgRed.Sprint(s)
	case egress.Inconclusive:
		return text.FgYellow.Sprint(s)
	case egress.Skipped, egress.NotApplicable:
		return text.Faint.Sprint(s)
	}
	return s
}
