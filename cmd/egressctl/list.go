package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/egress"
)

func listCommand() *cobra.Command {
	var (
		sel    selection
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the cases and what each claims",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what, err := sel.load()
			if err != nil {
				return usage(err)
			}
			cases := what.cases
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(struct {
					Count int            `json:"count"`
					Areas map[string]int `json:"areas"`
					Cases []egress.Case  `json:"cases"`
				}{len(cases), areas(cases), cases})
			}
			for _, c := range cases {
				fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n%-28s source: %s\n", c.Name, c.Claim, "", c.Source)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d cases\n", len(cases))
			return nil
		},
	}
	sel.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func areas(cases []egress.Case) map[string]int {
	n := map[string]int{}
	for _, c := range cases {
		n[c.Area]++
	}
	return n
}
