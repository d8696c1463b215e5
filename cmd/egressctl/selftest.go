package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

func selftestCommand(o *options) *cobra.Command {
	var (
		only   []string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "selftest",
		Short:   "Break the mesh on purpose, in every way of the list, and demand the right verdicts",
		Example: "  egressctl selftest\n  egressctl selftest --sabotage allow-any --json",
		Long: "Selftest runs cases against meshes that are broken on purpose (suites/sabotages.yaml). It fails when a\n" +
			"case gets another verdict than the list demands: an engine that calls a broken mesh conforming.\n\n" +
			"Exit status: 0 every sabotage was noticed, 1 one was not, 2 a fault of the harness, 64 wrong usage.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := suites.Sabotages()
			if err != nil {
				return err
			}
			for _, n := range only {
				if !slices.ContainsFunc(all, func(s suites.Sabotage) bool { return s.Name == n }) {
					return usage(fmt.Errorf("no sabotage is named %q", n))
				}
			}
			down, err := o.ensureCluster(cmd)
			if err != nil {
				return err
			}
			tried, err := o.sabotages(cmd, all, only)
			if asJSON {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), tried))
			} else {
				writeSabotages(cmd.OutOrStdout(), tried)
			}
			if err := errors.Join(err, down()); err != nil {
				return err
			}
			if slices.ContainsFunc(tried, func(s triedSabotage) bool { return len(s.Wrong) > 0 }) {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	o.addUpFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringSliceVar(&only, "sabotage", nil, "only the named ones")
	return cmd
}

// ensureCluster brings a cluster up if there is none of that name. down takes it away again.
func (o *options) ensureCluster(cmd *cobra.Command) (down func() error, err error) {
	if _, err := o.cluster(cmd); err == nil {
		return func() error { return nil }, nil
	} else if !errors.Is(err, cluster.ErrNotFound) {
		return nil, err
	}
	what, err := (&selection{}).load(cmd.Context())
	if err != nil {
		return nil, err
	}
	ho, err := o.session(cmd, what)
	if err != nil {
		return nil, err
	}
	s, err := raise(cmd.Context(), ho, o.steps(cmd), harness.Up)
	if err != nil {
		return nil, err
	}
	if err := s.Close(cmd.Context()); err != nil {
		return nil, err
	}
	return func() error {
		p, err := o.open(cmd.Context())
		if err != nil {
			return err
		}
		return p.Down(context.WithoutCancel(cmd.Context()), o.name)
	}, nil
}

// triedSabotage is what became of one.
type triedSabotage struct {
	Name    string   `json:"name"`
	What    string   `json:"what"` // is broken
	Cases   int      `json:"cases"`
	Wrong   []string `json:"wrong"` // cases with another verdict than they must have; none where it was noticed
	Seconds float64  `json:"tookSeconds"`
}

// words say whether it was noticed.
func (t triedSabotage) words() string {
	if len(t.Wrong) > 0 {
		return "NOT NOTICED: " + strings.Join(t.Wrong, "; ")
	}
	return "as they must be"
}

// sabotages tries each. An error leaves those that were tried before.
func (o *options) sabotages(cmd *cobra.Command, all []suites.Sabotage, only []string) ([]triedSabotage, error) {
	out := []triedSabotage{} // not nil: JSON has a list
	for _, sab := range all {
		if len(only) > 0 && !slices.Contains(only, sab.Name) {
			continue
		}
		start := time.Now()
		rep, err := o.sabotage(cmd, sab)
		if err != nil {
			return out, fmt.Errorf("sabotage %s: %w", sab.Name, err)
		}
		t := triedSabotage{sab.Name, sab.What, len(sab.Cases()), append([]string{}, unnoticed(sab, rep)...), time.Since(start).Seconds()}
		fmt.Fprintf(o.steps(cmd), "%-22s %5.1fs  %s\n", t.Name, t.Seconds, t.words())
		out = append(out, t)
	}
	return out, cmd.Context().Err()
}

func writeSabotages(w io.Writer, all []triedSabotage) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"sabotage", "what is broken", "cases", "verdicts", "s"})
	for _, s := range all {
		t.AppendRow(table.Row{s.Name, s.What, s.Cases, s.words(), fmt.Sprintf("%.1f", s.Seconds)})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 60}, {Number: 4, WidthMax: 80}})
	t.Render()
}

func (o *options) sabotage(cmd *cobra.Command, sab suites.Sabotage) (*report.Report, error) {
	what, err := (&selection{names: sab.Cases()}).load(cmd.Context())
	if err != nil {
		return nil, err
	}
	ho, err := o.session(cmd, what)
	if err != nil {
		return nil, err
	}
	ho.Log, ho.Lanes = nil, 1
	if ho.Sabotage, err = harness.ParseSabotage(sab.Do); err != nil {
		return nil, err
	}
	s, err := harness.Open(cmd.Context(), ho)
	if err != nil {
		return nil, err
	}
	rep := s.Run(cmd.Context(), what.cases, nil, nil)
	return rep, s.Close(context.WithoutCancel(cmd.Context()))
}

// unnoticed lists the cases with another verdict than the sabotage demands.
func unnoticed(sab suites.Sabotage, rep *report.Report) []string {
	want := map[string]egress.Verdict{}
	for v, names := range map[egress.Verdict][]string{egress.Conforms: sab.Conforms, egress.Violates: sab.Violates, egress.Inconclusive: sab.Inconclusive} {
		for _, n := range names {
			want[n] = v
		}
	}
	var out []string
	for _, r := range rep.Cases {
		if r.Unfinished { // its verdict says nothing
			continue
		}
		if r.Verdict != want[r.Case.Name] {
			out = append(out, fmt.Sprintf("%s %s, wanted %s (%.120s)", r.Case.Name, r.Verdict, want[r.Case.Name], r.Why))
		}
		delete(want, r.Case.Name)
	}
	for n := range want {
		out = append(out, n+" did not run")
	}
	slices.Sort(out)
	return out
}
