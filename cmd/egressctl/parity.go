package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/report"
)

func parityCommand(o *options) *cobra.Command {
	var (
		providers, old, oneAlone []string
		out, to                  string
		sel                      selection
	)
	cmd := &cobra.Command{
		Use:     "parity",
		Short:   "Run the cases in two places and fail where a verdict or an outcome differs",
		Example: "  egressctl parity --providers embedded,kind\n  egressctl parity --reports a/report.json,b/report.json",
		Long: "Parity runs the cases with two providers, one after the other, and compares every verdict and every outcome.\n" +
			"With --reports it compares two report.json and needs no cluster.\n\n" +
			"Exit status: 0 no difference, 1 a difference, 2 a fault of the harness, 64 wrong usage.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var columns []*compare.Column
			var dest *report.File
			if to != "" {
				var err error
				if dest, err = report.OpenFile(to); err != nil {
					return err
				}
			}
			switch {
			case len(old) == 2:
				var err error
				if columns, err = compare.ReadAll(old...); err != nil {
					return err
				}
			case len(old) == 0 && len(providers) == 2:
				what, err := sel.load(cmd.Context())
				if err != nil {
					return usage(err)
				}
				for _, p := range providers { // before the first has run all cases
					if err := o.answers(cmd.Context(), p); err != nil {
						return err
					}
				}
				for _, p := range providers {
					r, err := o.runWith(cmd, p, what, filepath.Join(out, p))
					if err != nil {
						return fmt.Errorf("run the cases with provider %s: %w", p, err)
					}
					c, err := compare.Of(p, r)
					if err != nil {
						return err
					}
					columns = append(columns, c)
				}
			default:
				return usage(errors.New("give two providers, or two reports"))
			}
			var text bytes.Buffer
			same, err := compare.WriteParity(&text, columns[0], columns[1], oneAlone...)
			if err != nil {
				return err
			}
			written := bytes.Clone(text.Bytes())
			_, err = text.WriteTo(cmd.OutOrStdout()) // first: what cannot be written is not lost
			if dest != nil {
				err = errors.Join(err, dest.Write(written))
			}
			switch {
			case err != nil:
				return fmt.Errorf("write the comparison: %w", err)
			case len(columns[0].Faults)+len(columns[1].Faults) > 0:
				return &exitError{code: exitFault}
			case !same:
				return &exitError{code: 1}
			}
			return nil
		},
	}
	o.addUpFlags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&providers, "providers", []string{"embedded", "kind"}, "two providers")
	f.StringSliceVar(&old, "reports", nil, "two report.json of earlier runs, to compare without running anything")
	f.StringSliceVar(&oneAlone, "one-alone", nil, "cases that one of the two alone can carry: that the other skips them is no difference (that it does not is one)")
	f.StringVar(&out, "out", "reports/out/parity", "folder for the two reports")
	f.StringVar(&to, "write", "", "also write the comparison into this file (Markdown)")
	sel.addFlags(cmd)
	return cmd
}

// at are the options with another provider.
func (o *options) at(provider string) *options {
	p := *o
	p.provider = provider
	return &p
}

// answers says whether a provider can be asked for its clusters, as kind cannot where no Docker daemon answers.
func (o *options) answers(ctx context.Context, provider string) error {
	p, err := o.at(provider).open(ctx)
	if err != nil {
		return err
	}
	if _, err := p.List(ctx); err != nil {
		return fmt.Errorf("nothing was run: provider %s: %w", p.Name(), err)
	}
	return nil
}

// runWith runs cases with one provider and keeps the report.
func (o *options) runWith(cmd *cobra.Command, provider string, what selected, out string) (*report.Report, error) {
	ho, err := o.at(provider).session(cmd, what)
	if err != nil {
		return nil, err
	}
	to, err := openReports(out)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	w := o.steps(cmd)
	how := conducted{to: to, tell: tell(&ho, w, plain{w: w, prefix: fmt.Sprintf("%-10s ", provider)}, provider, false)}
	rep, err := o.conduct(cmd.Context(), ho, how)
	if err != nil {
		return nil, err
	}
	if _, err := writeReports(rep, to); err != nil { // the comparison needs the results alone
		rep.Faults = append(rep.Faults, err.Error())
	}
	return rep, nil
}
