package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
)

func listCommand(o *options) *cobra.Command {
	var (
		sel    selection
		asJSON bool

		version string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the cases and what each claims",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel.against = circumstances{istio: components.Options{Istio: version, Releases: o.releases}, notices: cmd.ErrOrStderr()}
			what, err := sel.load(cmd.Context())
			if err != nil {
				return chosen(err)
			}
			cases := what.cases
			cat, err := components.LoadCatalogue(o.releases)
			if err != nil {
				return err
			}
			istio, err := cat.FindIstio(version)
			if err != nil {
				return usage(err)
			}
			version = istio.Version
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Count int            `json:"count"`
					Areas map[string]int `json:"areas"`
					// States are what the cases come to on an embedded cluster with locally built parts.
					States map[egress.Verdict]int `json:"states"`
					Cases  []egress.Case          `json:"cases"`
				}{len(cases), areas(cases), states(cases, version), cases})
			}
			for _, c := range cases {
				fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n%-28s source: %s\n", c.Name, printable.Line(c.Claim), "", printable.Line(c.Source))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d cases\n", len(cases))
			return nil
		},
	}
	sel.addFlags(cmd)
	cmd.Flags().StringVar(&version, "istio", "", "Istio version for which the states are counted (default: the newest)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printJSON prints indented JSON in which a terminal finds no control characters.
func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(b), '\n'))
	return err
}

func areas(cases []egress.Case) map[string]int {
	n := map[string]int{}
	for _, c := range cases {
		n[c.Area]++
	}
	return n
}

// states counts what the cases come to before they are run: "" stands for run.
func states(cases []egress.Case, version string) map[egress.Verdict]int {
	e := &engine.Engine{Version: version, Features: harness.EmbeddedFeatures}
	n := map[egress.Verdict]int{}
	for _, c := range cases {
		v, _ := e.Applicable(c)
		if v == "" {
			v = "run"
		}
		n[v]++
	}
	return n
}
