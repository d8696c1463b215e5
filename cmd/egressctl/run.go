package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
)

func runCommand(o *options) *cobra.Command {
	var (
		keep          bool
		sabotage, out string
		lanes         int
		strict        bool
		sel           selection
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run cases and print the truth table",
		Long: "Run uses the running cluster of that name; if there is none it brings one up and takes it down again.\n\n" +
			"Exit status: 0 all cases conform, 1 a violation, 2 an inconclusive case or a fault of the harness, 64 wrong usage.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what, err := sel.load()
			if err != nil {
				return usage(err)
			}
			ho, err := o.session(cmd, what)
			if err != nil {
				return err
			}
			if ho.Sabotage, err = harness.ParseSabotage(sabotage); err != nil {
				return usage(err)
			}
			ho.Lanes, ho.StrictCluster = lanes, strict
			s, err := harness.Open(cmd.Context(), ho)
			if err != nil {
				return err
			}
			rep := s.Run(cmd.Context(), what.cases, out, func(r egress.Result) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%-14s %-32s %5.2fs\n", r.Verdict, r.Case.Name, r.Took.Seconds())
			})
			return finish(cmd, s, rep, keep, out)
		},
	}
	o.addUpFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&keep, "keep", false, "leave a cluster that this run brought up")
	f.StringVar(&sabotage, "sabotage", "", "break the world on purpose: allow-any or internet-down")
	f.StringVar(&out, "out", "reports/out", "folder for report.json, junit.xml and debug bundles")
	f.IntVar(&lanes, "lanes", 0, fmt.Sprintf("how many cases may run side by side (0 means %d)", harness.DefaultLanes))
	f.BoolVar(&strict, "strict-cluster", inCI(), "refuse a running cluster that has egress objects or mesh configuration which the harness has not installed (default: in CI)")
	f.Uint64Var(&sel.shuffle, "shuffle", 0, "seed for a random order (0 keeps the order of the list)")
	sel.addFlags(cmd)
	return cmd
}

// inCI says whether a CI system runs this; GitHub, GitLab, Jenkins pipelines and most others set CI.
func inCI() bool {
	v := os.Getenv("CI")
	return v != "" && v != "false" && v != "0"
}

// finish closes the session and reports, in this order: what the clean-up finds is part of the report.
func finish(cmd *cobra.Command, s *harness.Session, rep *report.Report, keep bool, out string) error {
	var err error
	if keep {
		err = s.Keep()
	}
	if err := errors.Join(err, s.Close(context.WithoutCancel(cmd.Context()))); err != nil {
		rep.Faults = append(rep.Faults, "clean-up: "+err.Error())
	}
	if err := rep.WriteAll(out); err != nil {
		return err
	}
	rep.WriteText(cmd.OutOrStdout(), term.IsTerminal(int(os.Stdout.Fd())))
	fmt.Fprintf(cmd.OutOrStdout(), "report: %[1]s/report.json, %[1]s/junit.xml\n", out)
	if code := rep.ExitCode(); code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(err)
		}
		return nil
	}
}
