package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// planned is what a case comes to before it runs.
type planned struct {
	Name  string         `json:"name"`
	Area  string         `json:"area"`
	State egress.Verdict `json:"state"` // run, skipped or not-applicable
	Why   string         `json:"why,omitempty"`
}

// willRun is the state of a case that can run.
const willRun egress.Verdict = "run"

// plan says what each case comes to on an embedded cluster with locally built parts; what others have only they know.
func plan(cases []egress.Case, version string) []planned {
	e := &engine.Engine{Version: version, Features: harness.EmbeddedFeatures}
	out := make([]planned, len(cases))
	for i, c := range cases {
		v, why := e.Applicable(c)
		if v == "" {
			v = willRun
		}
		out[i] = planned{c.Name, c.Area, v, why}
	}
	return out
}

// states counts what cases come to.
func states(cases []planned) map[egress.Verdict]int {
	n := map[egress.Verdict]int{}
	for _, c := range cases {
		n[c.State]++
	}
	return n
}

// list prints what a run would do.
func (r *runFlags) list(cmd *cobra.Command, what selected) error {
	version := r.o.istio
	if r.o.istioSource == "" {
		istio, err := components.Find(cmd.Context(), components.Options{Istio: r.o.istio, Releases: r.o.releases})
		if err != nil {
			return usage(err)
		}
		version = istio.Version
	}
	cases := plan(what.cases, version)
	n := states(cases)
	if r.asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Count  int                    `json:"count"`
			Shard  *report.Shard          `json:"shard,omitempty"`
			States map[egress.Verdict]int `json:"states"`
			Cases  []planned              `json:"cases"`
		}{len(cases), what.shard, n, cases})
	}
	var b strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&b, "%-14s %-32s %s\n", c.State, c.Name, printable.Line(c.Why))
	}
	fmt.Fprintf(&b, "%d cases: %d would run, %d be skipped, %d not apply to Istio %s", len(cases), n[willRun], n[egress.Skipped], n[egress.NotApplicable], version)
	if what.shard != nil {
		fmt.Fprintf(&b, " (shard %s of %d cases)", what.shard, what.shard.Cases)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), b.String())
	return err
}
