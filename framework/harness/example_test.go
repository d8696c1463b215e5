package harness_test

import (
	"context"
	"fmt"
	"os"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
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

// Case by case, as a suite of one's own does it: each is run when the suite comes to it, and the report has all.
func ExampleRun_Case() {
	ctx := context.Background()
	cases, _, err := suites.Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	folder, err := report.OpenFolder("reports")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer folder.Close()
	var session *harness.Session             // of harness.Open
	run := session.Begin(ctx, cases, folder) // a *harness.Run
	for _, c := range cases {
		fmt.Println(c.Name, run.Case(ctx, c, func(e schedule.Event) { fmt.Println(e.Stage) }).Verdict)
	}
	fmt.Println(run.End(ctx).Summary())
}

// A cluster that lives on when the program ends; harness.Open with the same name finds it.
func ExampleUp() {
	ctx := context.Background()
	_, clients, err := suites.Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		fmt.Println(err)
		return
	}
	options := harness.Options{
		Provider: provider.Auto, Name: "mine", Components: components.Options{Istio: "1.31", Source: components.Source("auto")}, Hosts: hosts,
		Internet: cluster.InternetKind("hermetic"), Profile: cluster.Profile(""), Clients: clients, Log: os.Stderr,
	}
	session, err := harness.Up(ctx, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := session.Keep(); err != nil {
		fmt.Println(err)
	}
}

// What runs that were killed have left in somebody's cluster goes away, and nothing else does.
func ExampleClean() {
	removed, err := harness.Clean(context.Background(), harness.Options{
		Provider: provider.Existing, Place: provider.Options{Kubeconfig: os.Getenv("KUBECONFIG")}, Log: os.Stderr,
	}, "") // a run's name removes that one's alone
	fmt.Println(removed, err)
}
