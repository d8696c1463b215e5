package report

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func ran(name string, v egress.Verdict, want egress.Outcome, got ...egress.Outcome) egress.Result {
	r := egress.Result{Case: egress.Case{Name: name}, Verdict: v}
	for i, g := range got {
		r.Phases = append(r.Phases, egress.PhaseResult{Phase: egress.Phases()[i], Probes: []egress.ProbeResult{{Probe: "p", Want: want, Got: g}}})
	}
	return r
}

func TestParity(t *testing.T) {
	a := &Report{Environment: Environment{Provider: "embedded"}, Cases: []egress.Result{
		ran("same", egress.Conforms, egress.OK, egress.OK),
		ran("verdict", egress.Conforms, egress.OK, egress.OK),
		ran("outcome", egress.Conforms, egress.OK, egress.OK, egress.BRST),
		ran("either", egress.Conforms, egress.Blocked, egress.B502),
		ran("here", egress.Skipped, egress.OK),
		ran("unsure", egress.Inconclusive, egress.OK),
		ran("shorter", egress.Conforms, egress.OK, egress.OK, egress.OK),
	}}
	b := &Report{Environment: Environment{Provider: "kind"}, Cases: []egress.Result{
		ran("same", egress.Conforms, egress.OK, egress.OK),
		ran("verdict", egress.Violates, egress.OK, egress.OK),
		ran("outcome", egress.Conforms, egress.OK, egress.OK, egress.TMO),
		ran("either", egress.Conforms, egress.Blocked, egress.BRST),
		ran("there", egress.Skipped, egress.OK),
		ran("unsure", egress.Inconclusive, egress.OK),
		ran("shorter", egress.Conforms, egress.OK, egress.OK),
	}}
	var got []string
	for _, d := range Parity(a, b) {
		got = append(got, d.String())
	}
	want := []string{
		"verdict: conforms / violates",
		"outcome, applied, p: BRST / TMO",
		"either, before, p: B502 / BRST (the case accepts both)",
		"here: skipped / not run",
		"unsure: inconclusive / inconclusive",
		"shorter, phases: 2 / 1",
		"there: not run / skipped",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var text strings.Builder
	if same, err := WriteParity(&text, a, b); same || err != nil || !strings.Contains(text.String(), "6 differences, and 1 where") {
		t.Errorf("same %t %v:\n%s", same, err, text.String())
	}
	a.Cases = a.Cases[:5]
	if same, err := WriteParity(&text, a, a); !same || err != nil {
		t.Errorf("a report differs from itself: %v", err)
	}
}
