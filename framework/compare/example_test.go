package compare_test

import (
	"fmt"
	"strings"
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

// column is the report of one run of one case.
func column(version string, v egress.Verdict) *compare.Column {
	c, err := compare.Of(version, report.New(report.Environment{Istio: version}, time.Now(), []egress.Result{{Case: egress.Case{Name: "payments-bank", Area: "payments", Claim: "payments may call the bank", Probes: []egress.Probe{egress.GET("client", "https://httpbin.org/")}}, Verdict: v}}))
	if err != nil {
		fmt.Println(err)
	}
	return c
}

// A report that is in memory.
func ExampleOf() {
	c := column("1.31", egress.Conforms)
	fmt.Println(c.Name, "ran", len(c.Cases), "case")
	// Output: 1.31 ran 1 case
}

func ExampleRead() {
	c, err := compare.Read("../../reports/baselines/1.31/embedded.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("Istio", c.Environment.Istio)
	// Output: Istio 1.31
}

// What is new is told by class, the gravest first.
func ExampleReadAll() {
	columns, err := compare.ReadAll("../../reports/baselines/1.30/embedded.json", "../../reports/baselines/1.31/embedded.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := compare.Run(columns, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(c.Columns), "versions;", len(c.Of(compare.Regression)), "regressions")
	// Output: 2 versions; 0 regressions
}

func ExampleClasses() {
	for _, class := range compare.Classes()[:1] {
		fmt.Println("the gravest:", class)
	}
	// Output: the gravest: regression
}

// A change that somebody has announced is no regression.
func ExampleReadKnown() {
	known, err := compare.ReadKnown("known.yaml", []byte(`
- since: "1.31"
  cases: [payments-bank]
  what: the bank is blocked
  source: releasenotes/notes/bank.yaml
  from: conforms
  to: violates
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	own := compare.Known{Since: "1.31", Cases: []string{"payments-dns"}, What: "names resolve", Evidence: "our runbook"}
	c, err := compare.Run([]*compare.Column{column("1.30", egress.Conforms), column("1.31", egress.Violates)}, append(known, own))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Changes[0].Class, "by", c.Changes[0].Source)
	// Output: known by releasenotes/notes/bank.yaml
}

// The same version in two places must come out alike.
func ExampleParity() {
	names, all := compare.Parity(column("1.31", egress.Conforms), column("1.31", egress.Violates))
	tell := func(name string, d compare.Difference) { fmt.Println(name, d.From, "and", d.To) }
	for i, name := range names {
		tell(name, all[i])
	}
	// Output: payments-bank conforms and violates
}

// The changes as `egressctl compare` prints them.
func ExampleComparison_WriteText() {
	c, err := compare.Run([]*compare.Column{column("1.30", egress.Conforms), column("1.31", egress.Conforms)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	count := func(changes []compare.Change) int { return len(changes) }
	fmt.Println(count(c.Changes), "changes")
	var text strings.Builder
	if err := c.WriteText(&text, compare.Text{}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.Contains(text.String(), "1 cases in 2 columns, no change"))
	// Output:
	// 0 changes
	// true
}
