package engine

import (
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func TestSteady(t *testing.T) {
	for _, c := range []struct {
		name   string
		steady bool
		later  string
		want   egress.Verdict
	}{
		{"the same answer", true, "NOERROR 240.240.0.1", egress.Conforms},
		{"another answer", true, "NOERROR 240.240.0.2", egress.Violates},
		{"nobody asked", false, "NOERROR 240.240.0.2", egress.Conforms},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &run{}
			for i, out := range []string{"NOERROR 240.240.0.1", "NOERROR 240.240.0.1", c.later} {
				r.tries = append(r.tries, &try{
					probe: egress.Probe{URL: "dns:///x", SameOutput: c.steady}, phase: egress.Phase(i),
					rounds: []round{{}, {client: egress.ClientWitness{Stdout: out}}},
				})
			}
			res := egress.Result{Verdict: egress.Conforms}
			r.checkSteady(&res)
			if res.Verdict != c.want {
				t.Fatalf("%s (%s), wanted %s", res.Verdict, res.Why, c.want)
			}
		})
	}
}
