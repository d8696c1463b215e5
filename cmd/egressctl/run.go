package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
)

// defaultOut is the folder into which run writes.
const defaultOut = "reports/out"

// runFlags are those of run, beside the selection.
type runFlags struct {
	o             *options
	sel           selection
	keep, strict  bool
	sabotage, out string
	lanes         int
	verbose       bool
	table         bool
	dry, asJSON   bool
	pause         bool
	timeout       time.Duration
	untilItFails  int
}

func runCommand(o *options) *cobra.Command {
	r := &runFlags{o: o}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run cases, say which do not conform, and write reports",
		Long: "Run uses the running cluster of that name; if there is none it brings one up and takes it down again.\n\n" +
			"--pause-on-fail stops as soon as a client's attempt does not come out as wanted, while the objects of the case are still\n" +
			"there, says how to get into the pod, and waits for Enter where it runs on a terminal. What only the other witnesses\n" +
			"tell, such as the host at which an attempt arrived, is known when the case is over.\n\n" +
			"Exit status: 0 all cases conform, 1 a violation, 2 an inconclusive case, a mistake in the case files or a fault of the harness, 64 wrong usage.",
		Example: `  egressctl run                                      # all cases
  egressctl run --area http,tcp --skip gateway       # some of them
  egressctl run --focus 'wikipedia' --dry-run        # which would that be?
  egressctl run --cases ./egress --case my-case      # a case of your own
  egressctl run --shard 2/5 --out shard-2            # the second of five machines; see egressctl merge
  egressctl run --rerun-failed                       # what did not conform in reports/out/report.json
  egressctl run --case http-serviceentry --until-it-fails 50 --timeout 10m
  egressctl run --case http-serviceentry --pause-on-fail`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	o.addUpFlags(cmd)
	o.addAlsoFlag(cmd)
	cmd.Flags().Lookup("also-istio").Usage += "; left out: those that the cases want and the cache has"
	f := cmd.Flags()
	f.BoolVar(&r.keep, "keep", false, "leave a cluster that this run brought up")
	f.StringVar(&r.sabotage, "sabotage", "", "break the world on purpose: allow-any or internet-down")
	f.StringVar(&r.out, "out", defaultOut, "folder for the reports and debug bundles")
	f.IntVar(&r.lanes, "lanes", 0, fmt.Sprintf("how many cases may run side by side (0 means %d)", harness.DefaultLanes))
	f.BoolVar(&r.table, "table", false, "print the whole truth table too, not only the cases that do not conform")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "as --table, with the codes of outcomes, as case files have them, beside the words")
	f.BoolVar(&r.dry, "dry-run", false, "only list the cases that would run on a cluster that has all that an embedded one has, and those that would not, with the reason")
	f.BoolVar(&r.asJSON, "json", false, "with --dry-run: print JSON")
	f.BoolVar(&r.pause, "pause-on-fail", false, "stop while a case fails, to look at it by hand; one lane")
	f.DurationVar(&r.timeout, "timeout", 0, "end the run after this time, such as 10m; what has not ended by then is inconclusive (0: no limit)")
	f.IntVar(&r.untilItFails, "until-it-fails", 0, "run the cases again and again in the same cluster until one does not conform, at most so many times")
	f.BoolVar(&r.strict, "strict-cluster", inCI(), "refuse a running cluster that has egress objects or mesh configuration which the harness has not installed (default: in CI)")
	f.Uint64Var(&r.sel.shuffle, "shuffle", 0, "seed for a random order (0 keeps the order of the list)")
	r.sel.addFlags(cmd)
	r.sel.addPartFlags(cmd)
	addHostsFlag(cmd, &r.sel.hosts)
	return cmd
}

// check finds flags that contradict each other.
func (r *runFlags) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case r.asJSON && !r.dry:
		return errors.New("--json is for --dry-run; a run writes report.json into the folder of --out")
	case r.o.quiet && (r.verbose || r.table):
		return errors.New("--quiet contradicts --verbose and --table")
	case r.timeout < 0 || given("timeout") && r.timeout == 0:
		return fmt.Errorf("--timeout %s: give a time such as 10m", r.timeout)
	case r.untilItFails < 0 || given("until-it-fails") && r.untilItFails == 0:
		return fmt.Errorf("--until-it-fails %d: give how many times the cases run at most", r.untilItFails)
	case r.pause && r.lanes > 1:
		return errors.New("--pause-on-fail runs one case at a time: leave out --lanes")
	}
	return nil
}

func (r *runFlags) run(cmd *cobra.Command) error {
	if err := r.check(cmd); err != nil {
		return usage(err)
	}
	ctx := cmd.Context()
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("it has taken longer than --timeout %s", r.timeout))
		defer cancel()
	}
	r.sel.against = r.o.circumstances(cmd)
	what, err := r.sel.load(cmd.Context()) // whatever the time: reports are of cases, which are read in a moment
	none := errors.Is(err, errNoneFailed)
	switch {
	case err != nil && !none:
		return chosen(err)
	case r.dry:
		return r.list(cmd, what)
	case none:
		fmt.Fprintln(cmd.OutOrStdout(), err)
		return nil
	}
	ho, err := r.o.session(cmd, what)
	if err != nil {
		return err
	}
	if ho.Sabotage, err = harness.ParseSabotage(r.sabotage); err != nil {
		return usage(err)
	}
	ho.Lanes, ho.StrictCluster = r.lanes, r.strict
	ho.AlsoOfCases = !cmd.Flags().Changed("also-istio")
	if r.pause {
		ho.Lanes, ho.OnFail = 1, newPause(cmd, r.o.kubectlLine()).wait
	}
	to, err := openReports(r.out)
	if err != nil {
		return err
	}
	defer to.Close()
	steps := r.o.steps(cmd)
	how := conducted{to: to, shard: what.shard, keep: r.keep, rounds: r.untilItFails, tell: tell(&ho, steps, plain{w: steps}, "", r.verbose || r.table)}
	rep, err := r.o.conduct(ctx, ho, how)
	if err != nil {
		return err
	}
	return finish(cmd, rep, to, report.Text{Table: r.table || r.verbose, Codes: r.verbose})
}

// inCI says whether a CI system runs this; GitHub, GitLab, Jenkins pipelines and most others set CI.
func inCI() bool { return isCI(os.Getenv("CI")) }

func isCI(v string) bool { return v != "" && v != "false" && v != "0" }

// conducted is how the cases of a session are run.
type conducted struct {
	to     *report.Folder
	shard  *report.Shard // of which the cases are; nil for none
	keep   bool          // a cluster that the session brings up
	rounds int           // how often at most, until a case does not conform; less than 2 is once
	tell   teller
}

// conductor is conduct, or what stands in for it.
type conductor func(context.Context, harness.Options, conducted) (*report.Report, error)

// conduct opens a session, runs its cases and closes it; what the clean-up finds is part of the report. Where no
// session can be opened, which is the error, the reports in the folder say of every case that it has not run.
func conduct(ctx context.Context, o harness.Options, how conducted) (*report.Report, error) {
	defer how.tell.over()
	start := time.Now()
	s, err := harness.Open(ctx, o)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) && cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		env := report.Environment{Provider: o.Provider, Cluster: o.Name, Istio: o.Components.Istio, Sabotage: string(o.Sabotage)}
		none := report.None(env, start, o.Cases, err)
		none.Shard = how.shard
		_, unwritten := writeReports(none, how.to)
		return nil, errors.Join(err, unwritten)
	}
	rep := rounds(how.rounds, o, func() *report.Report {
		how.tell.round(len(o.Cases))
		return s.Run(ctx, o.Cases, how.to, how.tell.result)
	})
	how.tell.closing()
	rep.Shard = how.shard
	err = nil
	if how.keep {
		err = s.Keep()
	}
	if err := errors.Join(err, s.Close(context.WithoutCancel(ctx))); err != nil {
		rep.Faults = append(rep.Faults, "clean-up: "+err.Error())
	}
	return rep, nil
}

// rounds runs cases until they do not all conform, so many times at most. The report is that of the last time.
func rounds(most int, o harness.Options, run func() *report.Report) *report.Report {
	for n := 1; ; n++ {
		rep := run()
		if most > 1 && o.Log != nil {
			fmt.Fprintf(o.Log, "round %d of %d: %s\n", n, most, rep.Summary())
		}
		if n >= most || rep.ExitCode() != exitOK {
			return rep
		}
	}
}

// finish reports: the verdicts are printed whether or not the files can be written.
func finish(cmd *cobra.Command, rep *report.Report, to *report.Folder, text report.Text) error {
	files, err := writeReports(rep, to)
	if err != nil {
		rep.Faults = append(rep.Faults, err.Error())
	}
	text.Color = colored(cmd.OutOrStdout())
	err = errors.Join(err, rep.WriteText(cmd.OutOrStdout(), text))
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
