package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

func runCommand(o *options) *cobra.Command {
	var (
		keep          bool
		sabotage, out string
		names         []string
		filter        string
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run cases and print the truth table",
		Long: "Run uses the running cluster of that name; if there is none it brings one up and takes it down again.\n\n" +
			"Exit status: 0 all cases conform, 1 a violation, 2 an inconclusive case or a fault of the harness, 64 wrong usage.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cases, err := selectCases(names, filter)
			if err != nil {
				return usage(err)
			}
			ho, err := o.session(cmd)
			if err != nil {
				return err
			}
			if ho.Sabotage, err = harness.ParseSabotage(sabotage); err != nil {
				return usage(err)
			}
			s, err := harness.Open(cmd.Context(), ho)
			if err != nil {
				return err
			}
			rep := s.Run(cmd.Context(), cases, out, func(r egress.Result) {
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
	f.StringSliceVar(&names, "case", nil, "run only the named cases")
	f.StringVar(&filter, "label-filter", "", "run only cases whose labels match, in Ginkgo's language; labels are the case's own and its area")
	return cmd
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

// selectCases picks cases by name and by label filter.
func selectCases(names []string, filter string) ([]egress.Case, error) {
	all := suites.Cases()
	if err := suites.Check(all, suites.Clients()); err != nil {
		return nil, err
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(c egress.Case) bool { return c.Name == n }) {
			return nil, fmt.Errorf("no case is named %q; egressctl list shows them", n)
		}
	}
	match, err := types.ParseLabelFilter(filter)
	if err != nil {
		return nil, fmt.Errorf("label filter %q: %s", filter, strings.TrimSpace(err.Error()))
	}
	var out []egress.Case
	for _, c := range all {
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		if match(append(slices.Clone(c.Labels), c.Area)) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no case matches the label filter %q", filter)
	}
	return out, nil
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
