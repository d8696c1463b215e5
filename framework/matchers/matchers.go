// Package matchers has Gomega matchers for what the harness finds out, for test suites of anybody's:
//
//	Expect(run.Case(ctx, c, nil)).To(Conform())
//	Expect(session.Observe(ctx, egress.GET("client", "https://httpbin.org/"))).To(BeBlocked())
//
// A failure explains itself: what was wanted and what came out in words, the failing phase in full with all witnesses,
// and the command that runs the case again. What is not proven satisfies none of them.
package matchers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/format"
	"github.com/onsi/gomega/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// Conform succeeds where a case has come out as it claims, in every phase. The actual value is an egress.Result, or a
// *report.Report, of which every case that could run must conform and which must have no faults. A single case that did
// not run does not conform: a spec that means to skip asks for the verdict first.
func Conform() types.GomegaMatcher { return conform{} }

type conform struct{}

func (conform) Match(actual any) (bool, error) {
	switch a := actual.(type) {
	case egress.Result:
		return a.Verdict == egress.Conforms, nil
	case *egress.Result:
		if a == nil {
			return false, fmt.Errorf("Conform has got no result: the pointer is nil")
		}
		return a.Verdict == egress.Conforms, nil
	case *report.Report:
		if a == nil {
			return false, fmt.Errorf("Conform has got no report: the pointer is nil")
		}
		return a.ExitCode() == 0, nil
	}
	return false, fmt.Errorf("Conform wants an egress.Result or a *report.Report, and has got\n%s", format.Object(actual, 1))
}

func (conform) FailureMessage(actual any) string {
	switch a := actual.(type) {
	case egress.Result:
		return explain(a)
	case *egress.Result:
		return explain(*a)
	case *report.Report:
		return explainAll(a)
	}
	return format.Message(actual, "to conform")
}

func (conform) NegatedFailureMessage(actual any) string {
	name := "the run"
	switch a := actual.(type) {
	case egress.Result:
		name = a.Case.Name
	case *egress.Result:
		name = a.Case.Name
	}
	return fmt.Sprintf("Expected %s not to conform, and it conforms", printable.Line(name))
}

func explain(r egress.Result) string {
	switch r.Verdict {
	case egress.Skipped, egress.NotApplicable:
		return fmt.Sprintf("Expected %s to conform, and it did not run (%s): %s", printable.Line(r.Case.Name), r.Verdict, printable.Line(r.Why))
	case egress.Conforms, egress.Violates, egress.Inconclusive:
	}
	return "Expected the mesh to conform to a case.\n" + report.Explain(r)
}

func explainAll(r *report.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Expected every case to conform: %s\n", r.Summary())
	for _, c := range r.Cases {
		if slices.Contains([]egress.Verdict{egress.Violates, egress.Inconclusive}, c.Verdict) {
			fmt.Fprintf(&b, "\n%s", report.Explain(c))
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "\nFAULT outside any case: %s\n", printable.Text(f))
	}
	if r.Counts.Total == 0 {
		b.WriteString("\nNo case was selected.\n")
	}
	return b.String()
}

// BeBlocked succeeds where a probe is proven to be blocked by the mesh, as bytes or as a request. Its actual value is
// what Session.Observe returns.
func BeBlocked() types.GomegaMatcher { return HaveOutcome(egress.Blocked) }

// BeAllowed succeeds where a probe is proven to be answered by its host through a service that the mesh knows.
// Answers through PassthroughCluster or past the sidecar are others: HaveOutcome(egress.Reached) accepts all.
func BeAllowed() types.GomegaMatcher { return HaveOutcome(egress.OK) }

// HaveOutcome succeeds where a probe is proven to have come to one of the outcomes of a set, at the host that it
// names. Its actual value is an egress.ProbeResult.
func HaveOutcome(want egress.Outcome) types.GomegaMatcher { return outcome{want} }

type outcome struct{ want egress.Outcome }

func (m outcome) Match(actual any) (bool, error) {
	r, err := probeResult(actual)
	if err != nil {
		return false, err
	}
	if r.Verdict == egress.Inconclusive {
		return false, nil
	}
	// Where the wanted outcome of the probe itself was another, only that is the violation.
	elsewhere := r.Verdict == egress.Violates && r.Want.Has(r.Got)
	return m.want.Has(r.Got) && !elsewhere, nil
}

func (m outcome) FailureMessage(actual any) string { return m.message(actual, "to be") }

func (m outcome) NegatedFailureMessage(actual any) string { return m.message(actual, "not to be") }

func (m outcome) message(actual any, to string) string {
	r, err := probeResult(actual)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("Expected %s %s: %s\n%s", printable.Line(r.Probe), to, m.want.Words(), report.ExplainProbe(r))
}

func probeResult(actual any) (egress.ProbeResult, error) {
	switch a := actual.(type) {
	case egress.ProbeResult:
		return a, nil
	case *egress.ProbeResult:
		if a != nil {
			return *a, nil
		}
	}
	return egress.ProbeResult{}, fmt.Errorf("the matcher wants an egress.ProbeResult, as Session.Observe returns it, and has got\n%s", format.Object(actual, 1))
}
