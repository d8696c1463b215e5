package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

func listCommand(o *options) *cobra.Command {
	var (
		sel    selection
		asJSON bool

		version string
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the cases and what each claims",
		Example: "  egressctl list --area tls\n  egressctl list --focus wikipedia --json\n  egressctl list --cases ./egress",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel.against = circumstances{istio: components.Options{Istio: version, Releases: o.releases}, notices: cmd.ErrOrStderr()}
			what, err := sel.load(cmd.Context())
			if err != nil && !errors.Is(err, errNoneFailed) {
				return chosen(err)
			}
			cases := append([]egress.Case{}, what.cases...) // not nil: JSON has a list
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
					Shard  *report.Shard          `json:"shard,omitempty"`
					Cases  []egress.Case          `json:"cases"`
				}{len(cases), areas(cases), states(plan(cases, version)), what.shard, cases})
			}
			for _, c := range cases {
				fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n%-28s source: %s\n", c.Name, printable.Line(c.Claim), "", printable.Line(c.Source))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d cases\n", len(cases))
			return nil
		},
	}
	sel.addFlags(cmd)
	sel.addPartFlags(cmd)
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
