package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// Summary is the last line of a run.
func (r *Report) Summary() string {
	c := r.Counts
	return fmt.Sprintf("%d cases in %.1fs: %d conform, %d violate, %d inconclusive, %d skipped, %d not applicable",
		c.Total, r.Took, c.Conforms, c.Violates, c.Inconclusive, c.Skipped, c.NotApplicable)
}

// WriteText prints every case that does not conform in full, then each in one line, and the summary; before them the table,
// where it is asked for. Nothing in it can move the cursor or write over another line. Cases that the run ended before are listed in one
// line, since they have nothing else to say.
func (r *Report) WriteText(w io.Writer, o Text) error {
	var b bytes.Buffer
	o.report(&b, printable.Copy(r))
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

func (o Text) report(w io.Writer, r *Report) {
	if o.Table {
		o.table(w, r)
	}
	var never []string
	for _, c := range r.Cases {
		switch {
		case failed(c):
			fmt.Fprintf(w, "\n%s\n", o.Explain(c))
		case c.Unfinished:
			never = append(never, printable.Line(c.Case.Name))
		}
	}
	if len(never) > 0 {
		fmt.Fprintf(w, "\nended before they began: %s\n", strings.Join(never, ", "))
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
	if r.Shard != nil {
		fmt.Fprintln(w, r.Shard.words())
	}
	o.once(w, r)
	fmt.Fprintln(w, r.Summary())
}

// once names every case that was explained once more, in one line each, since what a CI service keeps of a long output
// is often its end alone.
func (o Text) once(w io.Writer, r *Report) {
	for _, c := range r.Cases {
		if failed(c) {
			fmt.Fprintf(w, "%s %s: %s\n", c.Verdict, printable.Line(c.Case.Name), printable.Line(o.reason(c)))
		}
	}
}

// failed says whether there is something to explain about a case: it does not conform, and that is not only because the
// run ended before it began.
func failed(c egress.Result) bool {
	return c.Verdict == egress.Violates || c.Verdict == egress.Inconclusive && (!c.Unfinished || len(c.Phases) > 0)
}

// further indents the further lines of a text, so that none is taken for a line of the report.
func further(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") }

// Explain says everything about a case that did not conform: the failing phase in full, the command that runs the case
// again. Its control characters are escaped.
func Explain(c egress.Result) string { return Text{}.Explain(c) }

// Explain is the function Explain, with these options.
func (o Text) Explain(c egress.Result) string {
	c = printable.Copy(c)
	line := printable.Line
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n  claim:  %s\n  source: %s\n", strings.ToUpper(string(c.Verdict)), line(c.Case.Name), further(o.reason(c)), line(c.Case.Claim), line(c.Case.Source))
	for _, ph := range c.Phases {
		for _, p := range ph.Probes {
			fmt.Fprintf(&b, "  %-8s %-14s %s: %s\n", ph.Phase, mark(p.Verdict)+" "+string(p.Verdict), line(p.Probe), o.came(p))
		}
	}
	for _, ph := range c.Phases {
		bad := slices.IndexFunc(ph.Probes, func(p egress.ProbeResult) bool { return p.Verdict != egress.Conforms })
		if bad >= 0 {
			o.explainProbe(&b, ph, ph.Probes[bad])
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

func (o Text) explainProbe(b *strings.Builder, ph egress.PhaseResult, p egress.ProbeResult) {
	fmt.Fprintf(b, "  phase %s (took %s, push acknowledged: %t), %s: %s\n", ph.Phase, seconds(ph.Took), ph.Acknowledged, printable.Line(p.Probe), further(o.why(p)))
	for _, n := range ph.Notes {
		fmt.Fprintf(b, "    note: %s\n", further(n))
	}
	witnesses(b, p)
}

// ExplainProbe says what one probe came to, and what each witness of it has seen.
func ExplainProbe(p egress.ProbeResult) string {
	p = printable.Copy(p)
	var b strings.Builder
	fmt.Fprintf(&b, "  it is: %s\n", further(Text{}.came(p)))
	if p.Verdict == egress.Inconclusive {
		fmt.Fprintf(&b, "  nothing is proven: %s\n", further(p.Why))
	}
	witnesses(&b, p)
	return b.String()
}

func witnesses(b *strings.Builder, p egress.ProbeResult) {
	for i, x := range p.Observations {
		fmt.Fprintf(b, "    attempt %d\n", i+1)
		fmt.Fprintf(b, "      client:      exit %d, status %03d, from %s to %s %s\n", x.Client.ExitCode, x.Client.HTTPCode, x.Client.Local, x.Client.Remote, further(strings.TrimSpace(x.Client.Stderr)))
		for _, l := range x.Mesh {
			fmt.Fprintf(b, "      sidecar:     %s\n", accessLine(l))
		}
		if len(x.Mesh) == 0 {
			fmt.Fprintf(b, "      sidecar:     no line for this connection\n")
		}
		for _, h := range x.Hops {
			if h.Line != nil {
				fmt.Fprintf(b, "      gateway:     %s: %s\n", printable.Line(h.Gateway), accessLine(*h.Line))
			} else {
				fmt.Fprintf(b, "      gateway:     %s: no line for this connection\n", printable.Line(h.Gateway))
			}
		}
		for _, a := range x.Arrivals {
			fmt.Fprintf(b, "      destination: %s\n", arrivalLine(a))
		}
		if len(x.Arrivals) == 0 && !x.Blind {
			fmt.Fprintf(b, "      destination: nothing of it arrived\n")
		}
	}
	for _, a := range p.Unexplained {
		fmt.Fprintf(b, "    unexplained arrival: %s\n", arrivalLine(a))
	}
	if p.Control != nil {
		fmt.Fprintf(b, "    control client: reached: %t, %s\n", p.Control.Reached, further(p.Control.Detail))
	}
}

func arrivalLine(a egress.Arrival) string {
	return printable.Line(fmt.Sprintf("%s at %s from %s, %s %s%s", a.Server, a.Local, a.Peer, a.Kind, a.Method, a.Path))
}

func accessLine(l egress.AccessLog) string {
	return printable.Line(fmt.Sprintf("%d %s cluster %q route %q upstream %s from %s, details %s", l.ResponseCode, l.ResponseFlags, l.UpstreamCluster, l.RouteName, l.UpstreamHost, l.UpstreamLocal, l.ResponseDetails))
}

func indent(s, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+by) + "\n"
}
