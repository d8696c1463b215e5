package main

import (
	"errors"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func TestPrintProbe(t *testing.T) {
	for name, x := range map[string]struct {
		r           egress.ProbeResult
		want, lacks string
	}{
		"as wanted":    {egress.ProbeResult{Want: egress.Blocked, Got: egress.B502, Verdict: egress.Conforms}, "blocked (502) [B502]: blocked on an HTTP listener", "wanted"},
		"another":      {egress.ProbeResult{Want: egress.Blocked, Got: egress.Pass, Verdict: egress.Violates, Why: "PASS, wanted blocked"}, "wanted: blocked [blocked]", "nothing is proven"},
		"another host": {egress.ProbeResult{Want: egress.OK, Got: egress.OK, Verdict: egress.Violates, Why: "arrived at a, wanted b"}, "but arrived at a, wanted b", "wanted:"},
		"unproven":     {egress.ProbeResult{Want: egress.OK, Got: egress.TMO, Verdict: egress.Inconclusive, Why: "TMO, wanted OK"}, "but nothing is proven", "wanted:"},
		"unknown":      {egress.ProbeResult{Verdict: egress.Inconclusive, Why: "the command failed"}, "inconclusive: the command failed", "wanted"},
		"nobody saw it": {
			egress.ProbeResult{Want: egress.OK, Got: egress.B502, Verdict: egress.Violates, Observations: []egress.Observation{{}}},
			"destination  nothing arrived", "reached:",
		},
		"live": {
			egress.ProbeResult{Want: egress.OK, Got: egress.OK, Verdict: egress.Conforms, Observations: []egress.Observation{{Blind: true}}, Control: &egress.Control{Reached: true}},
			"reached: true", "nothing arrived",
		},
	} {
		var b strings.Builder
		if err := printProbe(&b, x.r); err != nil || !strings.Contains(b.String(), x.want) || strings.Contains(b.String(), x.lacks) {
			t.Errorf("%s: %v\n%s", name, err, b.String())
		}
	}
	if err := printProbe(broken{}, egress.ProbeResult{}); err == nil {
		t.Error("nothing was printed, and that is no error")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }
