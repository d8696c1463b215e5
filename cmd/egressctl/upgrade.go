package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/upgrade"
	"mesh-egress-conformance/framework/upgrade/html"
)

// Files of an upgrade's report.
const (
	upgradeJSON     = "upgrade.json"
	upgradeMarkdown = "upgrade.md"
)

func upgradeCommand(o *options) *cobra.Command {
	var (
		from, to, out string
		uo            harness.UpgradeOptions
	)
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade Istio under traffic, and say what failed and what got out meanwhile",
		Long: "Upgrade brings a cluster up with one version of Istio, lets a workload call allowed and blocked hosts all the time, upgrades Istio\n" +
			"under it, and takes the cluster down again.\n\n" +
			"Exit status: 0 nothing got out, 1 blocked traffic got out, 2 not proven or a fault of the harness, 64 wrong usage.",
		Example: "  egressctl upgrade --from 1.29 --to 1.31\n" +
			"  egressctl upgrade --from 1.30 --to 1.31 --strategy rollback\n" +
			"  egressctl upgrade --from 1.29 --to 1.31 --sabotage open-policy  # two leak-seconds, exit status 1",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.upgrades(cmd, from, to, &uo); err != nil {
				return usage(err)
			}
			what, err := new(selection).load(cmd.Context())
			if err != nil {
				return err
			}
			what.cases = nil
			ho, err := o.session(cmd, what)
			if err != nil {
				return err
			}
			dest, err := openReports(out)
			if err != nil {
				return err
			}
			defer dest.Close()
			steps := o.steps(cmd)
			told := tell(&ho, steps, plain{w: steps}, "", false)
			tellOfUpgrade(&uo, told)
			rep, err := upgraded(cmd.Context(), ho, uo, told)
			if err != nil {
				return err
			}
			files, err := writeUpgrade(rep, dest)
			if err := errors.Join(err, rep.WriteText(printable.Raw(cmd.OutOrStdout()))); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "report: %s\n", strings.Join(files, ", "))
			if code := rep.ExitCode(); code != exitOK {
				return &exitError{code: code}
			}
			return nil
		},
	}
	o.addUpFlags(cmd)
	f := cmd.Flags()
	for _, n := range notOfUpgrade {
		_ = f.MarkHidden(n) // it is there
	}
	f.StringVar(&from, "from", "", "Istio version that the cluster has")
	f.StringVar(&to, "to", "", "Istio version that it gets")
	f.StringVar(&uo.Strategy, "strategy", harness.ByRevision, "revision (canary), in-place, or rollback (canary, and back)")
	f.StringVar(&uo.Sabotage, "sabotage", "", "break the world on purpose: for two seconds, open-policy lets everything out, or closed-host an allowed host not")
	f.IntVar(&uo.Replicas, "replicas", 2, "pods of the workload")
	f.DurationVar(&uo.Pace, "pace", 250*time.Millisecond, "between two attempts of a pod at a host")
	f.DurationVar(&uo.Dwell, "dwell", 5*time.Second, "how long each phase goes on when its work is done")
	f.StringVar(&out, "out", "reports/out/upgrade", "folder for the reports")
	return cmd
}

// writeUpgrade writes all reports of an upgrade, and returns the files that are there, also with an error.
func writeUpgrade(r *upgrade.Report, to *report.Folder) (files []string, err error) {
	write := func(name string, text []byte, failed error) {
		if failed == nil {
			failed = to.Write(name, text)
		}
		if failed == nil {
			files = append(files, to.Join(name))
		}
		err = errors.Join(err, failed)
	}
	b, failed := r.JSON()
	write(upgradeJSON, b, failed)
	write(upgradeMarkdown, r.Markdown(), nil)
	b, failed = html.Render(r)
	write(html.File, b, failed)
	return files, errors.Join(err, appendSummary(r.Markdown()))
}

// notOfUpgrade are flags of commands that bring a cluster up which make no sense here.
var notOfUpgrade = []string{"istio", "istio-source", "internet", "allow-install", "client-image"}

// upgrades checks the flags, and completes what they say.
func (o *options) upgrades(cmd *cobra.Command, from, to string, uo *harness.UpgradeOptions) error {
	for _, n := range notOfUpgrade {
		if cmd.Flags().Changed(n) {
			return fmt.Errorf("an upgrade has no --%s: it makes a cluster of its own, with --from and --to and the hermetic internet", n)
		}
	}
	if from == "" || to == "" {
		return errors.New("name both versions: --from 1.29 --to 1.31")
	}
	var found [2]components.Istio
	for i, v := range []string{from, to} {
		var err error
		if found[i], err = components.Find(cmd.Context(), components.Options{Istio: v, Releases: o.releases}); err != nil {
			return err
		}
	}
	if found[0].Version == found[1].Version {
		return fmt.Errorf("%s and %s are one minor version, of which a cluster has one release", from, to)
	}
	name, err := o.choose(cmd.Context())
	if err != nil {
		return err
	}
	if name == provider.Existing {
		return errors.New("an upgrade needs a cluster of its own: --provider embedded or kind")
	}
	o.istio, o.also, uo.To = from, []string{to}, found[1].Version
	return uo.Check()
}

// upgraded upgrades a cluster that is made for it, and takes it down.
func upgraded(ctx context.Context, o harness.Options, uo harness.UpgradeOptions, t teller) (*upgrade.Report, error) {
	defer t.over()
	s, err := harness.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	rep, err := s.Upgrade(ctx, uo)
	t.closing()
	closed := s.Close(context.WithoutCancel(ctx))
	if err != nil {
		return nil, errors.Join(err, closed)
	}
	if closed != nil {
		rep.Faults = append(rep.Faults, "clean-up: "+closed.Error())
	}
	return rep, nil
}
