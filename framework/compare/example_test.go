package compare_test

import (
	"fmt"
	"time"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// What has changed from one report to the next; reports on disk are read with compare.ReadAll.
func ExampleRun() {
	bank := egress.Case{Name: "payments-bank", Area: "payments", Claim: "payments may call the bank", Probes: []egress.Probe{egress.GET("client", "https://httpbin.org/").Want(egress.OK, egress.OK, egress.OK)}}
	on := func(version string, v egress.Verdict, got egress.Outcome) *compare.Column {
		probes := []egress.ProbeResult{{Probe: "client → https://httpbin.org/", Phase: egress.Applied, Want: egress.OK, Got: got, Verdict: v}}
		c, err := compare.Of(version, report.New(report.Environment{Istio: version}, time.Now(), []egress.Result{
			{Case: bank, Verdict: v, Phases: []egress.PhaseResult{{Phase: egress.Applied, Probes: probes}}},
		}))
		if err != nil {
			fmt.Println(err)
		}
		return c
	}
	c, err := compare.Run([]*compare.Column{on("1.30", egress.Conforms, egress.OK), on("1.31", egress.Violates, egress.B502)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, change := range c.Changes {
		fmt.Println(change.Class, change.Case, change.From, "to", change.To)
	}
	fmt.Println("exit status", c.ExitCode(false))
	// Output:
	// regression payments-bank 1.30 to 1.31
	// exit status 1
}
