package matchers_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"mesh-egress-conformance/framework/egress"
	. "mesh-egress-conformance/framework/matchers"
	"mesh-egress-conformance/framework/report"
)

func probe(v egress.Verdict, want, got egress.Outcome, why string) egress.ProbeResult {
	return egress.ProbeResult{
		Probe: "client → https://api.example.com/", Phase: egress.Applied, Want: want, Got: got, Verdict: v, Why: why,
		Observations: []egress.Observation{{
			Client:   egress.ClientWitness{HTTPCode: 200, Local: "10.0.0.1:4000", Remote: "198.51.100.9:443"},
			Mesh:     []egress.AccessLog{{ResponseCode: 200, UpstreamCluster: "PassthroughCluster"}},
			Arrivals: []egress.Arrival{{Server: "api.example.com", Peer: "10.0.0.1:4001", Kind: "http", Method: "GET", Path: "/"}},
		}},
		Control: &egress.Control{Reached: true, Detail: "arrived at api.example.com"},
	}
}

func result(v egress.Verdict, why string, p egress.ProbeResult) egress.Result {
	return egress.Result{
		Case: egress.Case{Name: "bank-only", Claim: "only the bank", Source: "runbook"}, Verdict: v, Why: why, Rerun: "egressctl run --cases 'our cases' --case bank-only",
		Phases: []egress.PhaseResult{{Phase: egress.Applied, Notes: []string{"no proxy was sent a push"}, Probes: []egress.ProbeResult{p}}},
	}
}

func TestConform(t *testing.T) {
	passed := probe(egress.Violates, egress.Blocked, egress.Pass, "PASS, wanted blocked")
	good := result(egress.Conforms, "", probe(egress.Conforms, egress.Pass, egress.Pass, ""))
	bad := result(egress.Violates, "phase applied, "+passed.Probe+": "+passed.Why, passed)
	unsure := result(egress.Inconclusive, "the control client could not reach the target", probe(egress.Inconclusive, egress.OK, egress.TMO, "TMO, wanted OK"))
	skipped := egress.Result{Case: egress.Case{Name: "six"}, Verdict: egress.Skipped, Why: "needs ipv6: pods with IPv6 addresses"}
	rep := func(faults []string, rs ...egress.Result) *report.Report {
		return report.New(report.Environment{}, time.Now(), rs, faults...)
	}
	for name, x := range map[string]struct {
		actual any
		want   []string // in the failure; nil where it conforms
	}{
		"conforms":    {good, nil},
		"by pointer":  {&good, nil},
		"violates":    {bad, []string{"bank-only", "allowed, unregistered (passthrough), wanted blocked", "phase applied", "note: no proxy was sent a push", `cluster "PassthroughCluster"`, "destination: api.example.com", "control client: reached: true", "rerun:  egressctl run --cases 'our cases' --case bank-only"}},
		"unsure":      {&unsure, []string{"INCONCLUSIVE bank-only", "no answer (timeout), wanted allowed", "rerun:"}},
		"skipped":     {skipped, []string{"six", "did not run (skipped)", "pods with IPv6"}},
		"report":      {rep(nil, good, skipped), nil},
		"bad report":  {rep([]string{"clean-up: a namespace stayed"}, good, bad), []string{"1 violate", "VIOLATES bank-only", "FAULT outside any case: clean-up"}},
		"with faults": {rep([]string{"clean-up: a namespace stayed"}, good), []string{"FAULT outside any case: clean-up"}},
		"nothing ran": {rep(nil), []string{"No case was selected"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, Conform(), x.actual, x.want) })
	}
	if ok, err := Conform().Match("bank-only"); ok || err == nil || !strings.Contains(err.Error(), "egress.Result") {
		t.Errorf("a string: %t %v", ok, err)
	}
	if ok, err := Conform().Match((*egress.Result)(nil)); ok || err == nil {
		t.Errorf("nil: %t %v", ok, err)
	}
	if m := Conform().NegatedFailureMessage(good); !strings.Contains(m, "bank-only not to conform") {
		t.Error(m)
	}
}

func check(t *testing.T, m types.GomegaMatcher, actual any, want []string) {
	t.Helper()
	ok, err := m.Match(actual)
	if err != nil || ok != (want == nil) {
		t.Fatalf("matches: %t %v", ok, err)
	}
	for _, w := range want {
		if got := m.FailureMessage(actual); !strings.Contains(got, w) {
			t.Errorf("the failure lacks %q:\n%s", w, got)
		}
	}
}

func TestOutcomes(t *testing.T) {
	anything := ^egress.Outcome(0)
	for name, x := range map[string]struct {
		matcher types.GomegaMatcher
		actual  egress.ProbeResult
		want    []string
	}{
		"blocked":         {BeBlocked(), probe(egress.Conforms, anything, egress.B502, ""), nil},
		"blocked, unsure": {BeBlocked(), probe(egress.Inconclusive, anything, egress.BRST, "blocked, but api.example.com has an unexplained arrival"), []string{"to be: blocked", "nothing is proven", "unexplained arrival"}},
		"passed":          {BeBlocked(), probe(egress.Conforms, anything, egress.Pass, ""), []string{"client → https://api.example.com/ to be: blocked", "it is: allowed, unregistered (passthrough)", "PassthroughCluster", "destination: api.example.com", "control client"}},
		"allowed":         {BeAllowed(), probe(egress.Conforms, anything, egress.OK, ""), nil},
		"another host":    {BeAllowed(), probe(egress.Violates, anything, egress.OK, "arrived at evil.example, wanted api.example.com"), []string{"to be: allowed", "but arrived at evil.example"}},
		"not by registry": {BeAllowed(), probe(egress.Conforms, anything, egress.Direct, ""), []string{"it is: allowed past the sidecar"}},
		"in any way":      {HaveOutcome(egress.Reached), probe(egress.Conforms, anything, egress.Direct, ""), nil},
		"wanted another":  {BeBlocked(), probe(egress.Violates, egress.OK, egress.B502, "B502, wanted OK"), nil},
		"unknown":         {BeBlocked(), probe(egress.Inconclusive, anything, 0, "the command failed"), []string{"nothing is proven: the command failed"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, x.matcher, x.actual, x.want) })
	}
	if ok, err := BeBlocked().Match(egress.Result{}); ok || err == nil || !strings.Contains(err.Error(), "egress.ProbeResult") {
		t.Errorf("a result: %t %v", ok, err)
	}
	if m := BeBlocked().NegatedFailureMessage(probe(egress.Conforms, anything, egress.B502, "")); !strings.Contains(m, "not to be: blocked") {
		t.Error(m)
	}
}

// As people write it: Expect takes what Session.Observe returns, error and all.
func TestAsWritten(t *testing.T) {
	observe := func() (egress.ProbeResult, error) { //nolint:unparam // as Session.Observe returns it
		return probe(egress.Conforms, ^egress.Outcome(0), egress.BRST, ""), nil
	}
	g := NewWithT(t)
	g.Expect(observe()).To(BeBlocked())
	g.Expect(observe()).NotTo(BeAllowed())
	g.Expect(result(egress.Conforms, "", probe(egress.Conforms, egress.OK, egress.OK, ""))).To(Conform())
}
