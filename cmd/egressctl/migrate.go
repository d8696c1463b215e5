package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/migrate"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "migrate FILE",
		Short:   "Turn a file of legacy EgressRules into ServiceEntries (- reads standard input)",
		Example: "  egressctl migrate egress-rules.yaml > service-entries.yaml",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var b []byte
			var err error
			if args[0] == "-" {
				b, err = input.ReadAll(cmd.InOrStdin(), "standard input", input.MaxFile)
			} else {
				b, err = input.ReadFile(args[0], input.MaxFile)
			}
			if err != nil {
				return usage(fmt.Errorf("read the EgressRules: %w", err))
			}
			r, err := migrate.EgressRules(args[0], b)
			if err != nil {
				return usage(err)
			}
			for _, n := range r.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
			}
			_, err = cmd.OutOrStdout().Write(r.YAML)
			return err
		},
	}
}
