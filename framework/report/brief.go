package report

import (
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Brief is the report without evidence, times and whatever else is another in every run: what came out, of which cases.
// It is a report itself, of some hundred kilobytes, which does not change while nothing does. Baselines are such.
func (r *Report) Brief() *Report {
	e := r.Environment
	out := &Report{
		Schema: r.Schema, Counts: r.Counts, Faults: r.Faults,
		Environment: Environment{
			Provider: e.Provider, Kubernetes: e.Kubernetes, Istio: e.Istio, Envoy: e.Envoy, Source: e.Source,
			Internet: e.Internet, Sabotage: e.Sabotage, Deviations: e.Deviations, Foreign: e.Foreign,
		},
	}
	for _, c := range r.Cases {
		b := egress.Result{Case: c.Case, Verdict: c.Verdict, Why: c.Why, Unfinished: c.Unfinished}
		if c.Verdict == egress.Conforms {
			b.Why = ""
		}
		if len(c.Case.Fixtures) > 0 { // which lie elsewhere: only what they made shows that they change
			for _, y := range c.Applied {
				b.Applied = append(b.Applied, WithoutRun(y))
			}
		}
		for _, ph := range c.Phases {
			x := egress.PhaseResult{Phase: ph.Phase, Acknowledged: ph.Acknowledged, Probes: []egress.ProbeResult{}}
			for _, p := range ph.Probes {
				x.Probes = append(x.Probes, egress.ProbeResult{Probe: p.Probe, From: p.From, Phase: p.Phase, Want: p.Want, Got: p.Got, Verdict: p.Verdict, Why: p.Why})
			}
			b.Phases = append(b.Phases, x)
		}
		out.Cases = append(out.Cases, b)
	}
	if out.Cases == nil {
		out.Cases = []egress.Result{}
	}
	out.Started = time.Time{}
	return out
}

// runLabel begins the line of an applied object that names its run.
const runLabel = "mesh-egress-conformance/run:"

// WithoutRun is the YAML of applied objects without the label of the run that has made them.
func WithoutRun(yaml string) string {
	var out strings.Builder
	for line := range strings.Lines(yaml) {
		if !strings.HasPrefix(strings.TrimSpace(line), runLabel) {
			out.WriteString(line)
		}
	}
	return out.String()
}
