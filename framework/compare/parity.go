package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Parity compares runs of the same cases in two places: verdicts, and the outcome of every probe in every phase. What is
// skipped in one of them counts as a difference too, and so does what is inconclusive, in both too: it says nothing, so
// there is nothing in which they agree. The name of each difference is its case's. Of the cases in oneAlone it is known that one
// place alone can carry them: that the other skips them is no difference, and that none does is one.
func Parity(a, b *Column, oneAlone ...string) (names []string, all []Difference) {
	add := func(name string, d ...Difference) {
		for _, x := range d {
			names, all = append(names, name), append(all, x)
		}
	}
	for i := range a.Cases {
		x := &a.Cases[i]
		y := b.find(x.Name)
		switch {
		case y == nil:
			add(x.Name, Difference{From: string(x.Verdict), To: notRun})
		case slices.Contains(oneAlone, x.Name) && (x.Verdict == egress.Skipped) != (y.Verdict == egress.Skipped) && (x.Verdict == egress.Conforms || y.Verdict == egress.Conforms):
		case slices.Contains(oneAlone, x.Name) && x.Verdict == y.Verdict:
			add(x.Name, Difference{What: "in both places alike, though named as one that one place alone can carry:", From: string(x.Verdict), To: string(y.Verdict)})
		case x.Verdict == egress.Inconclusive && y.Verdict == egress.Inconclusive:
			add(x.Name, Difference{From: string(x.Verdict), To: string(y.Verdict)})
		default:
			add(x.Name, differences(x, y, a.Environment.Istio, b.Environment.Istio)...)
		}
	}
	for _, y := range b.Cases {
		if a.find(y.Name) == nil {
			add(y.Name, Difference{From: notRun, To: string(y.Verdict)})
		}
	}
	return names, all
}

// notRun is the verdict of a case that one place does not have.
const notRun = "not run"

// WriteParity writes what a comparison of places came to as Markdown, and says whether they agree. Faults of a run are
// in it; whether they forbid a comparison is the caller's business.
func WriteParity(w io.Writer, a, b *Column, oneAlone ...string) (same bool, err error) {
	here, there := line(a.Environment.Provider), line(b.Environment.Provider)
	names, all := Parity(a, b, oneAlone...)
	var real, either []string
	for i, d := range all {
		text := fmt.Sprintf("- %s: %s\n", line(names[i]), line(d.String()))
		if d.Either {
			either = append(either, strings.TrimSuffix(text, "\n")+" (the case accepts both)\n")
		} else {
			real = append(real, text)
		}
	}
	probes := 0
	for _, c := range a.Cases {
		for _, ph := range c.Phases {
			probes += len(ph.Probes)
		}
	}
	var s strings.Builder
	fmt.Fprintf(&s, "# Parity of %s and %s\n\n", here, there)
	fmt.Fprintf(&s, "| | %s | %s |\n|---|---|---|\n", here, there)
	row := func(name string, f func(*Column) any) {
		fmt.Fprintf(&s, "| %s | %s | %s |\n", name, line(fmt.Sprint(f(a))), line(fmt.Sprint(f(b))))
	}
	row("Kubernetes", func(c *Column) any { return c.Environment.Kubernetes })
	row("Istio", func(c *Column) any { return c.Environment.Istio })
	row("Envoy", func(c *Column) any { return c.Environment.Envoy })
	row("cases", func(c *Column) any { return c.Counts.Total })
	row("conform", func(c *Column) any { return c.Counts.Conforms })
	row("violate", func(c *Column) any { return c.Counts.Violates })
	row("inconclusive", func(c *Column) any { return c.Counts.Inconclusive })
	row("skipped", func(c *Column) any { return c.Counts.Skipped })
	row("seconds", func(c *Column) any { return fmt.Sprintf("%.0f", c.Seconds) })
	fmt.Fprintf(&s, "\n%d outcomes of %d cases compared: %d differences", probes, a.Counts.Total, len(real))
	if len(either) > 0 {
		fmt.Fprintf(&s, ", and %d where the case itself accepts both outcomes", len(either))
	}
	s.WriteString(".\n\n")
	for _, d := range slices.Concat(real, either) {
		s.WriteString(d)
	}
	for _, c := range []*Column{a, b} {
		for _, x := range c.Cases {
			if x.Verdict == egress.Skipped && slices.Contains(oneAlone, x.Name) && !slices.Contains(names, x.Name) {
				fmt.Fprintf(&s, "- %s: skipped on %s, as is known: %s\n", line(x.Name), line(c.Environment.Provider), line(x.Why))
			}
		}
		for _, f := range c.Faults {
			fmt.Fprintf(&s, "- FAULT of the run on %s: %s\n", line(c.Environment.Provider), line(f))
		}
	}
	_, err = io.WriteString(w, s.String())
	return len(real) == 0, err
}
