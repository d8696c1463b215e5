package html_test

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/html"
)

func example() *report.Report {
	return report.New(report.Environment{Istio: "1.31"}, time.Now(), []egress.Result{{Case: egress.Case{Name: "payments-bank", Area: "payments"}, Verdict: egress.Conforms}})
}

func ExampleRender() {
	page, err := html.Render(example())
	fmt.Println(bytes.Contains(page, []byte("payments-bank")), err)
	// Output: true <nil>
}

// The page beside the other files of a run.
func ExampleRender_besideTheReport() {
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
	_, err = example().WriteAll(folder, html.Page)
	if err != nil {
		fmt.Println(err)
	}
	_, err = os.Stat(folder.Join(report.HTMLFile))
	fmt.Println(err)
	// Output: <nil>
}
