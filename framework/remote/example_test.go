package remote_test

import (
	"context"
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/remote"
	"mesh-egress-conformance/framework/schedule"
)

// conforming stands for a *harness.Run, which is a remote.Runner.
type conforming struct{}

func (conforming) Case(_ context.Context, c egress.Case, hear schedule.Listener) egress.Result {
	hear(schedule.Event{Case: c.Name, Stage: schedule.StageApplied})
	return egress.Result{Case: c, Verdict: egress.Conforms}
}

// One process has the session, and offers its cases; others, such as the nodes of ginkgo -p, get the address and run them.
func ExampleServe() {
	var run remote.Runner = conforming{}
	server, err := remote.Serve([]egress.Case{{Name: "payments-bank"}}, run)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	client := remote.Dial(server.Address())
	result, err := client.Case(context.Background(), "payments-bank", func(e schedule.Event) { fmt.Println("stage", e.Stage) })
	fmt.Println(result.Verdict, err)
	// Output:
	// stage applied
	// conforms <nil>
}

func ExampleDial() {
	server, err := remote.Serve(nil, conforming{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	_, err = remote.Dial(server.Address()).Case(context.Background(), "payments-bank", nil)
	fmt.Println(err != nil, "no such case is offered")
	// Output: true no such case is offered
}
