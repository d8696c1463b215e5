package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report/junit"
)

// runName is the JUnit test case that stands for the run itself.
const runName = "run"

// JUnit renders the report as JUnit XML: one test case for each case, with its phases as its output; a violation is a
// failure, an inconclusive case an error, both with their table and the command that runs the case again; a skip has its
// reason. Faults of the run are the error of one more test case. What XML 1.0 cannot carry is escaped.
func (r *Report) JUnit() ([]byte, error) {
	r = printable.Copy(r)
	suite := junit.Suite{
		Name: "mesh-egress-conformance", Time: junit.Seconds(r.Took), Timestamp: r.Started.Format("2006-01-02T15:04:05"), Properties: r.properties(),
	}
	for _, c := range r.Cases {
		suite.Cases = append(suite.Cases, junitCaseOf(c))
	}
	if len(r.Faults) > 0 {
		first, _, _ := strings.Cut(r.Faults[0], "\n")
		suite.Cases = append(suite.Cases, junit.Case{
			Name: runName, Classname: "egress." + runName, Time: junit.Seconds(r.Took),
			Error: &junit.Why{Message: first, Type: "fault", Text: strings.Join(r.Faults, "\n")},
		})
	}
	return junit.Write(suite.Name, suite)
}

// properties are what the run happened in; what is not known has none.
func (r *Report) properties() junit.Properties {
	e := r.Environment
	var out junit.Properties
	shard := ""
	if r.Shard != nil {
		shard = r.Shard.String()
	}
	for _, p := range [][2]string{
		{"provider", e.Provider},
		{"cluster", e.Cluster},
		{"kubernetes", e.Kubernetes},
		{"istio", e.Istio},
		{"envoy", e.Envoy},
		{"componentSource", e.Source},
		{"internet", e.Internet},
		{"sabotage", e.Sabotage},
		{"shard", shard},
	} {
		if p[1] != "" {
			out = append(out, junit.Property{Name: p[0], Value: p[1]})
		}
	}
	return out
}

func junitCaseOf(c egress.Result) junit.Case {
	out := junit.Case{Name: c.Case.Name, Classname: "egress." + c.Case.Area, Time: junit.Seconds(c.Took.Seconds()), SystemOut: phasesOf(c)}
	message, _, _ := strings.Cut(Text{}.reason(c), "\n")
	switch c.Verdict {
	case egress.Violates:
		out.Failure = &junit.Why{Message: message, Type: "violates", Text: tableAndMore(c)}
	case egress.Inconclusive:
		out.Error = &junit.Why{Message: message, Type: "inconclusive", Text: tableAndMore(c)}
	case egress.Skipped, egress.NotApplicable:
		out.Skipped = &junit.Why{Message: fmt.Sprintf("%s: %s", c.Verdict, c.Why), Type: string(c.Verdict)}
	case egress.Conforms:
	}
	return out
}

// tableAndMore is the case's own table, and all else that is to be said of it.
func tableAndMore(c egress.Result) string {
	var b bytes.Buffer
	Text{}.table(&b, &Report{Cases: []egress.Result{c}})
	b.WriteString("\n" + Explain(c))
	return b.String()
}

// phasesOf says what a case claims and what came out in each phase.
func phasesOf(c egress.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "claim:  %s\nsource: %s\n", further(c.Case.Claim), further(c.Case.Source))
	for _, ph := range c.Phases {
		fmt.Fprintf(&b, "%s (%s)\n", ph.Phase, seconds(ph.Took))
		for i, p := range ph.Probes {
			name := p.Probe
			if name == "" && i < len(c.Case.Probes) {
				name = c.Case.Probes[i].String()
			}
			fmt.Fprintf(&b, "  %s %s: %s\n", mark(p.Verdict), printable.Line(name), Text{}.came(p))
			if p.Evidence != "" {
				fmt.Fprintf(&b, "      %s\n", printable.Line(p.Evidence))
			}
		}
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
