package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/migrate"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate FILE",
		Short: "Turn a file of legacy EgressRules into ServiceEntries (- reads standard input)",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var b []byte
			var err error
			if args[0] == "-" {
				b, err = io.ReadAll(cmd.InOrStdin())
			} else {
				b, err = os.ReadFile(args[0])
			}
			if err != nil {
				return usage(fmt.Errorf("read the EgressRules: %w", err))
			}
			r, err := migrate.EgressRules(b)
			if err != nil {
				return usage(fmt.Errorf("%s: %w", args[0], err))
			}
			for _, n := range r.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
			}
			_, err = cmd.OutOrStdout().Write(r.YAML)
			return err
		},
	}
}
