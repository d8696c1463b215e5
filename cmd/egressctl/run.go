package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

func runCommand(o *options) *cobra.Command {
	var (
		keep          bool
		sabotage, out string
		lanes         int
		strict        bool
		verbose       bool
		table         bool
		sel           selection
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run cases, say which do not conform, and write reports",
		Long: "Run uses the running cluster of that name; if there is none it brings one up and takes it down again.\n\n" +
			"Exit status: 0 all cases conform, 1 a violation, 2 an inconclusive case, a mistake in the case files or a fault of the harness, 64 wrong usage.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel.against = o.circumstances(cmd)
			what, err := sel.load(cmd.Context())
			if err != nil {
				return chosen(err)
			}
			ho, err := o.session(cmd, what)
			if err != nil {
				return err
			}
			if ho.Sabotage, err = harness.ParseSabotage(sabotage); err != nil {
				return usage(err)
			}
			ho.Lanes, ho.StrictCluster = lanes, strict
			to, err := openReports(out)
			if err != nil {
				return err
			}
			defer to.Close()
			rep, err := conduct(cmd.Context(), ho, to, keep, func(r egress.Result) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%-14s %-32s %5.2fs\n", r.Verdict, r.Case.Name, r.Took.Seconds())
			})
			if err != nil {
				return err
			}
			return finish(cmd, rep, to, report.Text{Table: table || verbose, Codes: verbose})
		},
	}
	o.addUpFlags(cmd)
	o.addAlsoFlag(cmd)
	f := cmd.Flags()
	f.BoolVar(&keep, "keep", false, "leave a cluster that this run brought up")
	f.StringVar(&sabotage, "sabotage", "", "break the world on purpose: allow-any or internet-down")
	f.StringVar(&out, "out", "reports/out", "folder for the reports and debug bundles")
	f.IntVar(&lanes, "lanes", 0, fmt.Sprintf("how many cases may run side by side (0 means %d)", harness.DefaultLanes))
	f.BoolVar(&table, "table", false, "print the whole truth table too, not only the cases that do not conform")
	f.BoolVarP(&verbose, "verbose", "v", false, "as --table, with the codes of outcomes, as case files have them, beside the words")
	f.BoolVar(&strict, "strict-cluster", inCI(), "refuse a running cluster that has egress objects or mesh configuration which the harness has not installed (default: in CI)")
	f.Uint64Var(&sel.shuffle, "shuffle", 0, "seed for a random order (0 keeps the order of the list)")
	sel.addFlags(cmd)
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

// inCI says whether a CI system runs this; GitHub, GitLab, Jenkins pipelines and most others set CI.
func inCI() bool {
	v := os.Getenv("CI")
	return v != "" && v != "false" && v != "0"
}

// conduct opens a session, runs its cases and closes it; what the clean-up finds is part of the report. Where no
// session can be opened, which is the error, the reports in the folder say of every case that it has not run.
func conduct(ctx context.Context, o harness.Options, to *report.Folder, keep bool, each func(egress.Result)) (*report.Report, error) {
	start := time.Now()
	s, err := harness.Open(ctx, o)
	if err != nil {
		env := report.Environment{Provider: o.Provider, Cluster: o.Name, Istio: o.Istio, Sabotage: string(o.Sabotage)}
		_, unwritten := writeReports(report.None(env, start, o.Cases, err), to)
		return nil, errors.Join(err, unwritten)
	}
	rep := s.Run(ctx, o.Cases, to, each)
	err = nil
	if keep {
		err = s.Keep()
	}
	if err := errors.Join(err, s.Close(context.WithoutCancel(ctx))); err != nil {
		rep.Faults = append(rep.Faults, "clean-up: "+err.Error())
	}
	return rep, nil
}

// finish reports: the verdicts are printed whether or not the files can be written.
func finish(cmd *cobra.Command, rep *report.Report, to *report.Folder, text report.Text) error {
	files, err := writeReports(rep, to)
	if err != nil {
		rep.Faults = append(rep.Faults, err.Error())
	}
	text.Color = term.IsTerminal(int(os.Stdout.Fd()))
	err = errors.Join(err, rep.WriteText(printable.Raw(cmd.OutOrStdout()), text))
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "report: %s\n", strings.Join(files, ", "))
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
