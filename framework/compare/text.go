package compare

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// Text says how a comparison is printed.
type Text struct {
	Color bool
	// All prints every case with its verdict in each column, not the changes alone.
	All bool
	// Unseen prints the known changes that no case shows.
	Unseen bool
}

// Widths of the columns that wrap, in characters.
const (
	caseWidth   = 36
	whatWidth   = 72
	sourceWidth = 44
)

// WriteText prints the columns, the changes and the summary. Nothing in it can move the cursor or write over another
// line.
func (c *Comparison) WriteText(w io.Writer, o Text) error {
	var b bytes.Buffer
	c.heads(&b)
	if o.All {
		c.matrix(&b, o)
	}
	c.changes(&b, o)
	if o.Unseen {
		for _, k := range c.Unseen {
			fmt.Fprintf(&b, "not seen: %s (since %s, %s): %s\n", line(k.What), line(k.Since), line(k.By()), line(strings.Join(k.Cases, ", ")))
		}
	}
	for _, col := range c.Columns {
		for _, f := range col.Troubles() {
			fmt.Fprintf(&b, "%s: %s\n", line(col.Name), line(f))
		}
	}
	fmt.Fprintln(&b, c.Summary())
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return nil
}

func line(s string) string { return printable.Line(s) }

// Troubles are what a column says besides verdicts.
func (c *Column) Troubles() []string {
	var out []string
	if c.Failed != "" {
		out = append(out, "NO RUN: "+c.Failed)
	}
	if n := c.unfinished(); n > 0 {
		out = append(out, fmt.Sprintf("INCOMPLETE: %d cases have no verdict, and are not compared", n))
	}
	for _, f := range c.Faults {
		out = append(out, "FAULT: "+f)
	}
	if s := c.Environment.Sabotage; s != "" {
		out = append(out, "SABOTAGED on purpose: "+s)
	}
	return out
}

// heads is the table of the columns.
func (c *Comparison) heads(w io.Writer) {
	t := newTable(w, "", "Istio", "Envoy", "provider", "cases", "conform", "violate", "inconclusive", "skipped", "not applicable", "s")
	for _, col := range c.Columns {
		if col.Failed != "" {
			t.AppendRow(table.Row{line(col.Name), Unrun})
			continue
		}
		e, n := col.Environment, col.Counts
		t.AppendRow(table.Row{
			line(col.Name), line(e.Istio), line(e.Envoy), line(e.Provider), n.Total, n.Conforms, n.Violates, n.Inconclusive, n.Skipped, n.NotApplicable, fmt.Sprintf("%.0f", col.Seconds),
		})
	}
	t.Render()
}

func newTable(w io.Writer, heads ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(heads)
	return t
}

// matrix is every case with its verdict in each column.
func (c *Comparison) matrix(w io.Writer, o Text) {
	heads := []any{"case"}
	for _, col := range c.Columns {
		heads = append(heads, line(col.Name))
	}
	t := newTable(w, heads...)
	for _, name := range c.Cases {
		row := table.Row{line(name)}
		for _, col := range c.Columns {
			row = append(row, o.paint(cell(col, name)))
		}
		t.AppendRow(row)
	}
	t.Render()
}

// cell is what a column says of a case, in a word or two.
func cell(col *Column, name string) string {
	x := col.find(name)
	switch {
	case col.Failed != "" || x != nil && x.Unfinished:
		return Unrun
	case x == nil:
		return NoCase
	}
	return string(x.Verdict)
}

func (o Text) paint(s string) string {
	colors := map[string]text.Color{
		string(egress.Conforms): text.FgGreen, string(egress.Violates): text.FgRed, string(egress.Inconclusive): text.FgYellow,
		string(egress.Skipped): text.Faint, string(egress.NotApplicable): text.Faint,
		string(Regression): text.FgRed, string(Unproven): text.FgYellow, string(Itself): text.FgYellow, string(Fixed): text.FgGreen,
	}
	if color, ok := colors[s]; o.Color && ok {
		return color.Sprint(s)
	}
	return s
}

// changes is the table of all changes, the worst first.
func (c *Comparison) changes(w io.Writer, o Text) {
	if len(c.Changes) == 0 {
		return
	}
	t := newTable(w, "class", "case", "from → to", "what", "source")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, WidthMax: caseWidth, WidthMaxEnforcer: text.WrapText},
		{Number: 4, WidthMax: whatWidth, WidthMaxEnforcer: text.WrapSoft},
		{Number: 5, WidthMax: sourceWidth, WidthMaxEnforcer: text.WrapSoft},
	})
	for _, x := range c.Changes {
		class := o.paint(string(x.Class))
		if x.Kind != "" {
			class += "\n(" + string(x.Kind) + ")"
		}
		t.AppendRow(table.Row{class, line(x.Case), line(x.From) + " → " + line(x.To), line(x.words()), line(x.Source)})
		t.AppendSeparator()
	}
	t.Render()
}

// whyMax bounds what a table quotes of a reason, in characters.
const whyMax = 200

// words are what a change is, and why the later verdict is no better.
func (c Change) words() string {
	if c.Why == "" {
		return c.What
	}
	why := []rune(c.Why)
	if len(why) > whyMax {
		why = append(why[:whyMax], []rune("...")...)
	}
	return c.What + ": " + string(why)
}

// Summary is the last line of a comparison.
func (c *Comparison) Summary() string {
	s := fmt.Sprintf("%d cases in %d columns", len(c.Cases), len(c.Columns))
	changed := false
	for _, class := range Classes() {
		if n := len(c.Of(class)); n > 0 {
			s += fmt.Sprintf(", %d %s", n, class)
			changed = true
		}
	}
	if !changed {
		s += ", no change"
	}
	if n := len(c.Unseen); n > 0 {
		s += fmt.Sprintf("; %d known changes were not seen", n)
	}
	return s
}
