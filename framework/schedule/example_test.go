package schedule_test

import (
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/schedule"
)

// What harness.Run.Case tells while a case runs.
func ExampleListener() {
	var last schedule.Stage
	hear := schedule.Listener(func(e schedule.Event) {
		last = e.Stage
		fmt.Println(e.Case, e.Stage)
	})
	for _, stage := range []schedule.Stage{schedule.StageStarted, schedule.StageBefore, schedule.StageApplied} {
		hear.Hear(egress.Case{Name: "payments-bank"}, stage)
	}
	fmt.Println(last == schedule.StageApplied)
	// Output:
	// payments-bank started
	// payments-bank before
	// payments-bank applied
	// true
}
