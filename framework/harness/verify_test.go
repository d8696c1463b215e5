package harness

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// What is unproven is asked again, and nothing else; what stays so has its last reason.
func TestProven(t *testing.T) {
	probes := []egress.Probe{{URL: "http://a"}, {URL: "http://late"}, {URL: "http://never"}}
	var asked []string
	got := proven(3, probes, func(some []egress.Probe) []egress.ProbeResult {
		var urls []string
		var out []egress.ProbeResult
		for _, p := range some {
			urls = append(urls, strings.TrimPrefix(p.URL, "http://"))
			r := egress.ProbeResult{Probe: p.URL, Got: egress.OK, Verdict: egress.Conforms}
			if p.URL == "http://never" || p.URL == "http://late" && len(asked) == 0 {
				r.Verdict, r.Why = egress.Inconclusive, "not proven"
			}
			out = append(out, r)
		}
		asked = append(asked, strings.Join(urls, " "))
		return out
	})
	if want := []string{"a late never", "late never", "never"}; !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
	for i, want := range []egress.Verdict{egress.Conforms, egress.Conforms, egress.Inconclusive} {
		if got[i].Probe != probes[i].URL || got[i].Verdict != want {
			t.Errorf("%+v", got[i])
		}
	}
}
