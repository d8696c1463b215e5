package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// table prints the truth table: case, probe, what was wanted and got in each phase, and the
// witnesses of the phase that tells most.
func (r *Report) table(w io.Writer, color bool) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateRows = false
	t.AppendHeader(table.Row{"case", "probe", "before", "applied", "removed", "witnesses (applied)"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 48, WidthMaxEnforcer: text.WrapText}, {Number: 6, WidthMax: 64, WidthMaxEnforcer: text.WrapSoft}})
	for _, c := range r.Cases {
		r.rows(t, c, color)
		t.AppendSeparator()
	}
	t.Render()
}

func (r *Report) rows(t table.Writer, c egress.Result, color bool) {
	name := paint(c.Verdict, mark(c.Verdict)+" "+c.Case.Name, color)
	if len(c.Phases) == 0 {
		why, _, more := strings.Cut(c.Why, "\n")
		if more {
			why += " ..."
		}
		t.AppendRow(table.Row{name, string(c.Verdict), "", "", "", printable.Line(why)})
		return
	}
	for i, p := range c.Case.Probes {
		row := table.Row{name, printable.Line(p.String())}
		name = ""
		evidence := ""
		for _, ph := range []egress.Phase{egress.Before, egress.Applied, egress.Removed} {
			x := probeAt(c, ph, i)
			text := cell(x, color)
			if ph == egress.Applied && c.Case.Changes() {
				text += ", then " + cell(probeAt(c, egress.Changed, i), color)
			}
			row = append(row, text)
			if x != nil && (ph == egress.Applied || x.Verdict != egress.Conforms) {
				evidence = printable.Line(x.Evidence)
			}
		}
		t.AppendRow(append(row, evidence))
	}
}

func probeAt(c egress.Result, ph egress.Phase, i int) *egress.ProbeResult {
	for _, p := range c.Phases {
		if p.Phase == ph && i < len(p.Probes) {
			return &p.Probes[i]
		}
	}
	return nil
}

// cell shows what came out, and what was wanted where it differs.
func cell(x *egress.ProbeResult, color bool) string {
	switch {
	case x == nil:
		return "-"
	case x.Verdict == egress.Conforms:
		return paint(x.Verdict, x.Got.Symbol()+" "+x.Got.String(), color)
	case x.Got == 0:
		return paint(x.Verdict, "? want "+x.Want.String(), color)
	}
	return paint(x.Verdict, x.Got.String()+" want "+x.Want.String(), color)
}

var marks = map[egress.Verdict]string{egress.Conforms: "✓", egress.Violates: "✗", egress.Inconclusive: "?", egress.Skipped: "–", egress.NotApplicable: "–"}

func mark(v egress.Verdict) string { return marks[v] }

func paint(v egress.Verdict, s string, color bool) string {
	if !color {
		return s
	}
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

// Summary is the last line of a run.
func (r *Report) Summary() string {
	c := r.Counts
	return fmt.Sprintf("%d cases in %.1fs: %d conform, %d violate, %d inconclusive, %d skipped, %d not applicable",
		c.Total, r.Took, c.Conforms, c.Violates, c.Inconclusive, c.Skipped, c.NotApplicable)
}

// WriteText prints the table, every case that does not conform in full, and the summary. Control characters of
// what the report holds are escaped. An error means that w did not take all of it.
func (r *Report) WriteText(w io.Writer, color bool) error {
	var b bytes.Buffer
	printable.Copy(r).text(&b, color)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

func (r *Report) text(w io.Writer, color bool) {
	r.table(w, color)
	for _, c := range r.Cases {
		if c.Verdict == egress.Violates || c.Verdict == egress.Inconclusive && (!c.Unfinished || len(c.Phases) > 0) {
			fmt.Fprintf(w, "\n%s\n", Explain(c))
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(w, "\nFAULT outside any case: %s\n", further(f))
	}
	e := r.Environment
	line := printable.Line
	fmt.Fprintf(w, "\n%s, Kubernetes %s, Istio %s, Envoy %s, components from source %q\n", line(e.Provider), line(e.Kubernetes), line(e.Istio), line(e.Envoy), e.Source)
	if e.Internet != "" {
		fmt.Fprintf(w, "internet: %s\n", line(e.Internet))
	}
	if e.Sabotage != "" {
		fmt.Fprintf(w, "SABOTAGED on purpose: %s\n", line(e.Sabotage))
	}
	fmt.Fprintln(w, r.Summary())
}

// further indents all lines of a text but the first, so that none of them looks like one of the report's own.
func further(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") }

// Explain tells a case that does not conform: want against got, the phase that failed with all three
// witnesses, what was applied, how to run it again. Control characters are escaped.
func Explain(c egress.Result) string {
	c = printable.Copy(c)
	line := printable.Line
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n  claim:  %s\n  source: %s\n", strings.ToUpper(string(c.Verdict)), line(c.Case.Name), further(c.Why), line(c.Case.Claim), line(c.Case.Source))
	for _, ph := range c.Phases {
		for _, p := range ph.Probes {
			fmt.Fprintf(&b, "  %-8s %-10s want %-9s got %-7s %s\n", ph.Phase, mark(p.Verdict)+" "+string(p.Verdict), p.Want, p.Got, line(p.Probe))
		}
	}
	for _, ph := range c.Phases {
		bad := slices.IndexFunc(ph.Probes, func(p egress.ProbeResult) bool { return p.Verdict != egress.Conforms })
		if bad >= 0 {
			explainProbe(&b, ph, ph.Probes[bad])
			break
		}
	}
	for _, y := range c.Applied {
		fmt.Fprintf(&b, "  applied:\n%s", indent(y, "    "))
	}
	if c.BundleAt != "" {
		fmt.Fprintf(&b, "  bundle: %s\n", line(c.BundleAt))
	}
	if c.Rerun != "" {
		fmt.Fprintf(&b, "  rerun:  %s\n", line(c.Rerun))
	}
	return b.String()
}

func explainProbe(b *strings.Builder, ph egress.PhaseResult, p egress.ProbeResult) {
	fmt.Fprintf(b, "  phase %s (took %s, push acknowledged: %t), %s: %s\n", ph.Phase, seconds(ph.Took), ph.Acknowledged, printable.Line(p.Probe), further(p.Why))
	for _, n := range ph.Notes {
		fmt.Fprintf(b, "    note: %s\n", further(n))
	}
	for i, o := range p.Observations {
		fmt.Fprintf(b, "    round %d\n", i+1)
		fmt.Fprintf(b, "      client:      exit %d, status %03d, from %s to %s %s\n", o.Client.ExitCode, o.Client.HTTPCode, o.Client.Local, o.Client.Remote, further(strings.TrimSpace(o.Client.Stderr)))
		for _, l := range o.Mesh {
			fmt.Fprintf(b, "      sidecar:     %d %s cluster %q route %q upstream %s from %s, details %s\n", l.ResponseCode, l.ResponseFlags, l.UpstreamCluster, l.RouteName, l.UpstreamHost, l.UpstreamLocal, l.ResponseDetails)
		}
		if len(o.Mesh) == 0 {
			fmt.Fprintf(b, "      sidecar:     no line for this connection\n")
		}
		for _, h := range o.Hops {
			if l := h.Line; l != nil {
				fmt.Fprintf(b, "      gateway:     %s: %d %s cluster %q upstream %s from %s, details %s\n", h.Gateway, l.ResponseCode, l.ResponseFlags, l.UpstreamCluster, l.UpstreamHost, l.UpstreamLocal, l.ResponseDetails)
			} else {
				fmt.Fprintf(b, "      gateway:     %s: no line for this connection\n", h.Gateway)
			}
		}
		for _, a := range o.Arrivals {
			fmt.Fprintf(b, "      destination: %s\n", printable.Line(fmt.Sprintf("%s at %s from %s, %s %s%s", a.Server, a.Local, a.Peer, a.Kind, a.Method, a.Path)))
		}
		if len(o.Arrivals) == 0 && !o.Blind {
			fmt.Fprintf(b, "      destination: nothing of it arrived\n")
		}
	}
	for _, a := range p.Unexplained {
		fmt.Fprintf(b, "    unexplained arrival: %s\n", printable.Line(fmt.Sprintf("%s at %s from %s, %s %s%s", a.Server, a.Local, a.Peer, a.Kind, a.Method, a.Path)))
	}
	if p.Control != nil {
		fmt.Fprintf(b, "    control client: reached: %t, %s\n", p.Control.Reached, further(p.Control.Detail))
	}
}

func indent(s, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+by) + "\n"
}
