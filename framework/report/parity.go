package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// Difference is something that came out otherwise in one run than in another.
type Difference struct {
	Case  string   `json:"case"`
	Probe string   `json:"probe,omitempty"` // with its phase; "" where the verdicts differ
	Got   []string `json:"got"`             // in the order of the runs
	// Allowed says that the case itself accepts both, because Istio is not stable there.
	Allowed bool `json:"allowed,omitempty"`
}

func (d Difference) String() string {
	s := d.Case
	if d.Probe != "" {
		s += ", " + d.Probe
	}
	s += ": " + strings.Join(d.Got, " / ")
	if d.Allowed {
		s += " (the case accepts both)"
	}
	return s
}

// Parity compares two runs of the same cases in different places: verdicts, and the outcome of every probe
// in every phase. What is skipped in one of them counts as a difference too, and so does what is inconclusive, in
// both too: it says nothing, so there is nothing in which they agree.
func Parity(a, b *Report) []Difference {
	var out []Difference
	other := map[string]egress.Result{}
	for _, c := range b.Cases {
		other[c.Case.Name] = c
	}
	for _, x := range a.Cases {
		y, ok := other[x.Case.Name]
		delete(other, x.Case.Name)
		switch {
		case !ok:
			out = append(out, Difference{Case: x.Case.Name, Got: []string{string(x.Verdict), "not run"}})
		case x.Verdict != y.Verdict || x.Verdict == egress.Inconclusive:
			out = append(out, Difference{Case: x.Case.Name, Got: []string{string(x.Verdict), string(y.Verdict)}})
		default:
			out = append(out, outcomes(x, y)...)
		}
	}
	for _, y := range b.Cases {
		if _, left := other[y.Case.Name]; left {
			out = append(out, Difference{Case: y.Case.Name, Got: []string{"not run", string(y.Verdict)}})
		}
	}
	return out
}

// outcomes compares two results with the same verdict, phase by phase. Probes are in the order of the case.
func outcomes(x, y egress.Result) []Difference {
	var out []Difference
	if len(x.Phases) != len(y.Phases) {
		return []Difference{{Case: x.Case.Name, Probe: "phases", Got: []string{strconv.Itoa(len(x.Phases)), strconv.Itoa(len(y.Phases))}}}
	}
	for i, ph := range x.Phases {
		if n, m := len(ph.Probes), len(y.Phases[i].Probes); n != m {
			out = append(out, Difference{Case: x.Case.Name, Probe: ph.Phase.String() + ", probes", Got: []string{strconv.Itoa(n), strconv.Itoa(m)}})
			continue
		}
		for k, p := range ph.Probes {
			if q := y.Phases[i].Probes[k]; p.Got != q.Got {
				out = append(out, Difference{
					Case: x.Case.Name, Probe: ph.Phase.String() + ", " + p.Probe,
					Got: []string{p.Got.String(), q.Got.String()}, Allowed: p.Want.Has(p.Got) && p.Want.Has(q.Got),
				})
			}
		}
	}
	return out
}

// WriteParity writes what a comparison came to as Markdown, and says whether the places agree. Faults of a run are
// in it; whether they forbid a comparison is the caller's business.
func WriteParity(w io.Writer, a, b *Report) (same bool, err error) {
	a, b = printable.Copy(a), printable.Copy(b)
	here, there := printable.Line(a.Environment.Provider), printable.Line(b.Environment.Provider)
	all := Parity(a, b)
	allowed := slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return !d.Allowed })
	real := slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return d.Allowed })
	probes := 0
	for _, c := range a.Cases {
		for _, ph := range c.Phases {
			probes += len(ph.Probes)
		}
	}
	var s strings.Builder
	fmt.Fprintf(&s, "# Parity of %s and %s\n\n", here, there)
	fmt.Fprintf(&s, "| | %s | %s |\n|---|---|---|\n", here, there)
	row := func(name string, f func(*Report) any) {
		fmt.Fprintf(&s, "| %s | %s | %s |\n", name, printable.Line(fmt.Sprint(f(a))), printable.Line(fmt.Sprint(f(b))))
	}
	row("Kubernetes", func(r *Report) any { return r.Environment.Kubernetes })
	row("Istio", func(r *Report) any { return r.Environment.Istio })
	row("Envoy", func(r *Report) any { return r.Environment.Envoy })
	row("cases", func(r *Report) any { return r.Counts.Total })
	row("conform", func(r *Report) any { return r.Counts.Conforms })
	row("violate", func(r *Report) any { return r.Counts.Violates })
	row("inconclusive", func(r *Report) any { return r.Counts.Inconclusive })
	row("skipped", func(r *Report) any { return r.Counts.Skipped })
	row("seconds", func(r *Report) any { return fmt.Sprintf("%.0f", r.Took) })
	fmt.Fprintf(&s, "\n%d outcomes of %d cases compared: %d differences", probes, a.Counts.Total, len(real))
	if len(allowed) > 0 {
		fmt.Fprintf(&s, ", and %d where the case itself accepts both outcomes", len(allowed))
	}
	s.WriteString(".\n\n")
	for _, d := range append(real, allowed...) {
		fmt.Fprintf(&s, "- %s\n", printable.Line(d.String()))
	}
	for _, r := range []*Report{a, b} {
		for _, f := range r.Faults {
			fmt.Fprintf(&s, "- FAULT of the run on %s: %s\n", printable.Line(r.Environment.Provider), printable.Line(f))
		}
	}
	_, err = io.WriteString(w, s.String())
	return len(real) == 0, err
}
