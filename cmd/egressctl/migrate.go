package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/migrate"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate FILE",
		Short: "Turn traffic rules of early Istio versions into networking.istio.io/v1 (- reads standard input)",
		Long: "Migrate prints the file with EgressRules, RouteRules and DestinationPolicies (config.istio.io), ExternalServices, and\n" +
			"objects of networking.istio.io/v1alpha3 and v1beta1 turned into objects of networking.istio.io/v1. Comments, order and\n" +
			"objects of other kinds stay as they are. What means something else now, and what could not be carried over, goes to\n" +
			"standard error with file and line. docs/migrate.md has the whole list.\n\n" +
			"Exit status: 0 migrated, or nothing to do, 2 an object has no current counterpart and was left as it is, 64 the file\n" +
			"cannot be read.",
		Example: "  egressctl migrate egress_httpbin.yml > httpbin.yaml\n  kubectl get egressrules -o yaml | egressctl migrate -",
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
				return usage(fmt.Errorf("read what is to be migrated: %w", err))
			}
			r, err := migrate.File(args[0], b)
			if err != nil {
				return usage(err)
			}
			for _, n := range r.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), n)
			}
			if _, err = cmd.OutOrStdout().Write(r.YAML); err != nil {
				return err
			}
			if r.Changed == 0 && r.Left == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: nothing to migrate\n", args[0])
			}
			if r.Left > 0 {
				return &exitError{code: exitFault}
			}
			return nil
		},
	}
}
