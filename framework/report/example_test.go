package report_test

import (
	"fmt"
	"os"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

func ExampleNew() {
	r := report.New(report.Environment{Provider: "embedded", Istio: "1.31"}, time.Now(), []egress.Result{
		{Case: egress.Case{Name: "payments-bank", Area: "payments"}, Verdict: egress.Conforms},
		{Case: egress.Case{Name: "payments-ipv6", Area: "payments"}, Verdict: egress.Skipped, Why: "needs ipv6"},
	})
	fmt.Println(r.Counts.Conforms, "conforms,", r.Counts.Skipped, "skipped; exit status", r.ExitCode())
	// Output: 1 conforms, 1 skipped; exit status 0
}

// A folder is opened before the run, so that one that cannot be written is known before anything starts.
func ExampleReport_WriteAll() {
	dir, err := os.MkdirTemp("", "report-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	folder, err := report.OpenFolder(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer folder.Close()
	r := report.New(report.Environment{}, time.Now(), []egress.Result{{Case: egress.Case{Name: "payments-bank"}, Verdict: egress.Conforms}})
	written, err := r.WriteAll(folder)
	fmt.Println(len(written) > 0, err)
	// Output: true <nil>
}

func ExampleRead() {
	r, err := report.Read("../../reports/baselines/1.31/embedded.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("Istio", r.Environment.Istio, "on", r.Environment.Provider)
	// Output: Istio 1.31 on embedded
}
