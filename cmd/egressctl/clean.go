package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/harness"
)

func cleanCommand(o *options) *cobra.Command {
	var run string
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove what runs that were cut off have left in an existing cluster",
		Long: "Clean removes the namespaces that carry the label of a run, and with them everything that the run has made.\n" +
			"It does not tell a run that was cut off from one that is under way: name one with --run where others may work.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := o.choose(cmd.Context())
			if err != nil {
				return err
			}
			removed, err := harness.Clean(cmd.Context(), harness.Options{Provider: name, Place: o.place, Name: o.name}, run)
			for _, n := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed namespace", n)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing of any run is left")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "only this run's (the value of the label mesh-egress-conformance/run)")
	return cmd
}
