package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/harness"
)

func cleanCommand(o *options) *cobra.Command {
	var (
		run    string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "clean",
		Short:   "Remove what runs that were cut off have left in a cluster",
		Example: "  egressctl clean --kubeconfig prod.yaml\n  egressctl clean --run run-1f2e3d4c5b --json",
		Long: "Clean removes what the journals of such runs on this machine tell of, and every object that carries a run's label, of\n" +
			"whatever kind. A run that is under way on this machine is left alone. One on another machine cannot be told from\n" +
			"one that was cut off: name a run with --run where others may work.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := o.choose(cmd.Context())
			if err != nil {
				return err
			}
			swept, err := harness.Clean(cmd.Context(), harness.Options{Provider: name, Place: o.place, Name: o.name}, run)
			if asJSON {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), struct { // not nil: JSON has lists
					Removed []string `json:"removed"`
					Alive   []string `json:"alive"` // runs that are still at work on this machine
					Notes   []string `json:"notes"`
				}{append([]string{}, swept.Removed...), append([]string{}, swept.Alive...), append([]string{}, swept.Notes...)}))
			}
			for _, n := range swept.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", n)
			}
			for _, r := range swept.Alive {
				fmt.Fprintln(cmd.OutOrStdout(), r, "is still at work on this machine: left alone")
			}
			for _, n := range swept.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
			}
			if err == nil && len(swept.Removed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing of any ended run is left")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&run, "run", "", "only this run's (the value of the label mesh-egress-conformance/run)")
	return cmd
}
