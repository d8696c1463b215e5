package harness_test

import (
	"context"
	"fmt"
	"os"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

// A session with the cases of a folder, on a cluster of somebody else's. The program that has this must call
// provider.ChildMain at the beginning of main (or TestMain): it plays the hermetic internet in the cluster.
func ExampleOpen() {
	ctx := context.Background()
	cases, clients, err := suites.LoadMore(input.Dir("cases"))
	if err != nil {
		fmt.Println(err) // every mistake, with file and line
		return
	}
	session, err := harness.Open(ctx, harness.Options{
		Provider: provider.Existing, Place: provider.Options{Kubeconfig: os.Getenv("KUBECONFIG")},
		Cases: cases, OwnCases: true, Clients: clients, Fixtures: input.Dir("cases"), Log: os.Stderr,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := session.Close(context.WithoutCancel(ctx)); err != nil {
			fmt.Println(err)
		}
	}()
	folder, err := report.OpenFolder("reports")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer folder.Close()
	fmt.Println(session.Run(ctx, cases, folder, nil).Summary())
}

// One probe, with all witnesses, in a session that is open.
func ExampleSession_Observe() {
	var session *harness.Session // of harness.Open
	r, err := session.Observe(context.Background(), egress.GET("client", "https://httpbin.org/headers"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Got)
}
