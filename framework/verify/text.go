package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	wrap "github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/printable"
)

// Text is how a report is written for a terminal.
type Text struct {
	All   bool // every answer, not only what gets out, fails or is unproven
	Color bool
}

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer, t Text) error {
	var b strings.Builder
	r.preface(&b)
	rows := Rows(r.Answers)
	if !t.All {
		rows = Crowded(slices.DeleteFunc(rows, func(x Row) bool { return x.uneventful() }))
	}
	if len(rows) > 0 {
		fmt.Fprintln(&b, answerTable(rows).Render())
	}
	r.sections(&b)
	fmt.Fprintln(&b, r.Summary())
	if !t.All && r.Count(Blocked) > 0 {
		fmt.Fprintln(&b, "blocked answers are left out: --table all shows them")
	}
	_, err := io.WriteString(printable.Writer(w), b.String())
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// preface says what a reader must know before anything else.
func (r *Report) preface(b *strings.Builder) {
	for _, l := range r.InPlace.lines() {
		fmt.Fprintln(b, l)
	}
	for _, a := range r.Assumed {
		fmt.Fprintln(b, "assumed: "+a)
	}
	for _, i := range r.Ignored {
		fmt.Fprintf(b, "ignored: %d %s: %s\n", i.Count, i.Kind, i.Why)
	}
	for _, n := range r.Notices {
		fmt.Fprintln(b, "note: "+n.Error())
	}
	for _, m := range r.Mistakes {
		fmt.Fprintf(b, "%s: %s\n", r.untaken(), m.Error())
	}
	if b.Len() > 0 {
		fmt.Fprintln(b)
	}
}

// untaken is what mistakes are, in words: asked in place, nothing is taken over.
func (r *Report) untaken() string {
	if r.InPlace != nil {
		return "not proven"
	}
	return "not taken over"
}

const (
	widthWho  = 30
	widthTo   = 44
	widthBy   = 56
	widthWhat = 24
)

func answerTable(rows []Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMax: widthWho, WidthMaxEnforcer: wrap.WrapText},
		{Number: 2, WidthMax: widthTo, WidthMaxEnforcer: wrap.WrapText},
		{Number: 3, WidthMax: widthWhat, WidthMaxEnforcer: wrap.WrapSoft},
		{Number: 5, WidthMax: widthBy, WidthMaxEnforcer: wrap.WrapText},
	})
	t.AppendHeader(table.Row{"from", "to", "comes out", "way, encrypted by, lands at", "by"})
	for _, x := range rows {
		t.AppendRow(table.Row{strings.Join(x.Who, "\n"), x.called(), x.Words, x.journey(), byColumn(x)})
	}
	return t
}

// uneventful says whether an answer is one that nobody has to look at: nothing got out, or the proxy led it to where it may go.
func (a Answer) uneventful() bool { return a.State == Blocked || a.State == Led && a.Kind == Lie }

// called is what was called, with what it is where that does not say it.
func (x Row) called() string {
	if len(x.More) > 0 {
		return fmt.Sprintf("%d more that no object names: %s", len(x.More), x.examples())
	}
	s := x.To
	if x.As != "" {
		s += "\nas " + x.As
	}
	if x.What != "" && x.Kind != Addressed {
		s += "\n" + x.What
	}
	return s
}

// examples are some of the rows that one is made of, those that should never get out first.
func (x Row) examples() string {
	var out []string
	for _, kind := range []QuestionKind{Strange, Neighbour, Lie, Addressed} {
		for _, m := range x.More {
			if m.Kind == kind && len(out) < maxExamples {
				s := m.To + asText(m.As)
				if kind == Strange {
					s = m.What
				}
				out = append(out, s)
			}
		}
	}
	if len(x.More) > len(out) {
		out = append(out, "...")
	}
	return strings.Join(out, ", ")
}

const maxExamples = 6

func (x Row) journey() string {
	if x.State == Unproven {
		return ""
	}
	if !x.out() && x.State != Led {
		return "-"
	}
	if len(x.More) > 0 {
		return x.Via
	}
	out := x.Via + ", " + x.Encrypted
	if x.State == Led {
		out = "led to"
	}
	if x.Landed != "" {
		out += "\n" + x.Landed
	}
	return out
}

func byColumn(x Row) string {
	if x.State == Unproven {
		return x.Unproven
	}
	var lines []string
	for _, s := range x.By {
		lines = append(lines, s.String())
	}
	if len(x.By) == 0 {
		for _, b := range x.Because {
			lines = append(lines, b.Object+" "+b.What)
		}
	}
	if x.But != "" {
		lines = append(lines, "but "+x.But)
	}
	return strings.Join(lines, "\n")
}

// sections are what follows the table.
func (r *Report) sections(b *strings.Builder) {
	for _, s := range r.Surprises {
		s.write(b)
	}
	if len(r.Deviations) > 0 {
		fmt.Fprintln(b)
	}
	for _, d := range r.Deviations {
		d.write(b)
	}
	if r.Base != "" {
		fmt.Fprintf(b, "\nsince %s: %s\n", r.Base, r.changeSummary())
		for _, c := range r.Changes {
			c.write(b)
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintln(b, "fault: "+f)
	}
	fmt.Fprintln(b)
}

func (s Surprise) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nsurprise: %s\n", s.Title)
	for _, o := range s.Objects {
		fmt.Fprintf(b, "  %s\n", o)
	}
	fmt.Fprintf(b, "  why:    %s\n", s.Why)
	for _, p := range s.Proof {
		fmt.Fprintf(b, "  proof:  %s\n", p)
	}
	fmt.Fprintf(b, "  remedy: %s\n", s.Remedy)
}

func (d Deviation) write(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s → %s%s: %s\n", d.Kind, d.From, d.To, asText(d.As), d.What)
	for _, s := range d.By {
		fmt.Fprintf(b, "  by %s\n", s)
	}
	if d.Rule != "" {
		fmt.Fprintf(b, "  expected in %s\n", d.Rule)
	}
	if d.Remedy != "" {
		fmt.Fprintf(b, "  %s\n", d.Remedy)
	}
}

func (c Change) write(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s → %s%s: was %s, is %s\n", c.Kind, strings.Join(c.From, ", "), c.To, asText(c.As), c.Before, c.After)
	for _, s := range c.By {
		fmt.Fprintf(b, "  by %s\n", s)
	}
}

func asText(as string) string {
	if as == "" {
		return ""
	}
	return " as " + as
}

// Summary is one sentence about all of it.
func (r *Report) Summary() string {
	workloads := 0
	for _, c := range r.Classes {
		workloads += len(c.Workloads)
	}
	s := fmt.Sprintf("%d workloads in %d classes, %d questions each, %son Istio %s: %d allowed, %d blocked, %d fail, %d unproven; %d surprises", workloads, len(r.Classes), r.Questions, map[bool]string{true: "in place, "}[r.InPlace != nil], r.versions(),
		r.Count(Allowed), r.Count(Blocked)+r.Count(Led), r.Count(Fails), r.Count(Unproven), len(r.Surprises))
	if r.Expected != "" {
		s += fmt.Sprintf("; %d answers not as %s expects", len(r.Deviations), r.Expected)
	}
	if r.Partial() {
		s += "; the result is partial"
	}
	return s + fmt.Sprintf(" (%.1fs)", r.Took)
}

// versions are those that were asked.
func (r *Report) versions() string {
	if len(r.Others) == 0 {
		return r.Istio
	}
	return fmt.Sprintf("%s (compared with %s)", r.Istio, strings.Join(r.Others, ", "))
}

func (r *Report) changeSummary() string {
	n := map[ChangeKind]int{}
	for _, c := range r.Changes {
		n[c.Kind] += len(c.From)
	}
	if len(r.Changes) == 0 {
		return "every call comes out as before"
	}
	s := fmt.Sprintf("opens %d, closes %d, redirects %d", n[Opens], n[Closes], n[Redirects])
	if n[Unclear] > 0 {
		s += fmt.Sprintf(", %d unclear", n[Unclear])
	}
	return s
}
