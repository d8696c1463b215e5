package report_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// The truth table, every case that does not conform, and the counts.
func ExampleReport_WriteText() {
	var text strings.Builder
	r := report.New(report.Environment{}, time.Now(), []egress.Result{{Case: egress.Case{Name: "payments-bank", Claim: "payments may call the bank"}, Verdict: egress.Inconclusive, Why: "no answer"}})
	if err := r.WriteText(&text, report.Text{Table: true, Codes: true}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.Contains(text.String(), "INCONCLUSIVE payments-bank"))
	// Output: true
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

// A run that could not begin has a report as well: no case is forgotten.
func ExampleNone() {
	r := report.None(report.Environment{Provider: "kind"}, time.Now(), []egress.Case{{Name: "payments-bank"}}, errors.New("no Docker"))
	unproven := func(c report.Counts) int { return c.Inconclusive }
	fmt.Println(unproven(r.Counts), "inconclusive; exit status", r.ExitCode())
	// Output: 1 inconclusive; exit status 2
}

// One report of those of several machines.
func ExampleMerge() {
	part := func(number int, name string) report.Part {
		r := report.New(report.Environment{Istio: "1.31"}, time.Now(), []egress.Result{{Case: egress.Case{Name: name}, Verdict: egress.Conforms}})
		r.Shard = &report.Shard{Number: number, Of: 2, Selection: "sha256:1", Cases: 2}
		return report.Part{File: fmt.Sprintf("shard-%d/report.json", number), Report: r}
	}
	merged, err := report.Merge([]report.Part{part(1, "payments-bank"), part(2, "payments-dns")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(merged.Counts.Total, "cases, exit status", merged.ExitCode())
	// Output: 2 cases, exit status 0
}

// Everything about a case that does not conform.
func ExampleExplain() {
	text := report.Explain(egress.Result{Case: egress.Case{Name: "payments-bank", Claim: "payments may call the bank"}, Verdict: egress.Violates, Why: "it was blocked"})
	fmt.Println(len(text) > 0)
	// Output: true
}

// One file, of which is known before the work that it can be written.
func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "report-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var file *report.File
	if file, err = report.OpenFile(filepath.Join(dir, "summary.txt")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(file.Write([]byte("fine\n")))
	_, err = report.OpenFile(filepath.Join(dir, "summary.txt", "below a file"))
	fmt.Println(err != nil)
	// Output:
	// <nil>
	// true
}

// A rendering of one's own, beside the others.
func ExampleOpenFolder() {
	dir, err := os.MkdirTemp("", "report-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var folder *report.Folder
	if folder, err = report.OpenFolder(filepath.Join(dir, "out")); err != nil {
		fmt.Println(err)
		return
	}
	defer folder.Close()
	own := report.Rendering{File: "count.txt", Make: func(r *report.Report) ([]byte, error) {
		return fmt.Appendf(nil, "%d cases\n", r.Counts.Total), nil
	}}
	if _, err := report.New(report.Environment{}, time.Now(), nil).WriteAll(folder, own); err != nil {
		fmt.Println(err)
	}
	text, err := os.ReadFile(folder.Join("count.txt"))
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// 0 cases
	// <nil>
}

// What the cluster was made of, and what its proxies said of themselves.
func ExampleEnvironment() {
	e := report.Environment{
		Components: []report.Component{{Name: "envoy", Version: "1.37", Source: "build", Digest: "sha256:1"}},
		Clients:    []report.Client{{Name: "client", Proxy: "1.31.0", Envoy: "1.37"}},
	}
	r := report.New(e, time.Now(), nil)
	for _, c := range r.Environment.Components {
		fmt.Println(c.Name, c.Version, c.Digest)
	}
	// Output: envoy 1.37 sha256:1
}
