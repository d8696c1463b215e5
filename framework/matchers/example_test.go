package matchers_test

import (
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/matchers"
)

// In a suite it reads Expect(run.Case(ctx, c, nil)).To(Conform()).
func ExampleConform() {
	result := egress.Result{Case: egress.Case{Name: "payments-bank"}, Verdict: egress.Conforms}
	ok, err := matchers.Conform().Match(result)
	fmt.Println(ok, err)

	result.Verdict = egress.Inconclusive // not proven is not conforming
	ok, err = matchers.Conform().Match(result)
	fmt.Println(ok, err)
	// Output:
	// true <nil>
	// false <nil>
}

// In a suite it reads Expect(session.Observe(ctx, egress.GET("client", "https://httpbin.org/"))).To(BeBlocked()).
func ExampleBeBlocked() {
	observed := egress.ProbeResult{Probe: "client → https://httpbin.org/", Got: egress.BRST}
	blocked, err := matchers.BeBlocked().Match(observed)
	fmt.Println(blocked, err)
	// Output: true <nil>
}

func ExampleBeAllowed() {
	observed := egress.ProbeResult{Probe: "client → https://httpbin.org/", Got: egress.OK}
	allowed, err := matchers.BeAllowed().Match(observed)
	fmt.Println(allowed, err)
	// Output: true <nil>
}

// Where the way of being blocked matters.
func ExampleHaveOutcome() {
	observed := egress.ProbeResult{Probe: "client → http://httpbin.org/", Got: egress.B502}
	asWanted, err := matchers.HaveOutcome(egress.B502).Match(observed)
	fmt.Println(asWanted, err)
	// Output: true <nil>
}
