package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/html"
)

func reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Render the report of an earlier run",
		Args:  subcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(renderCommand("html", "Render a report.json as one page for people", html.Page))
	return cmd
}

// renderCommand reads a report.json and writes it in another form, beside it unless told otherwise.
func renderCommand(name, short string, form report.Rendering) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   name + " REPORT.json",
		Short: short,
		Long:  short + ". No cluster is needed.\n\nExit status: 0 it is written, 2 it could not be read or written, 64 wrong usage.",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				out = filepath.Join(filepath.Dir(args[0]), form.File)
			}
			to, err := report.OpenFile(out) // first: reading a long report takes a while
			if err != nil {
				return err
			}
			r, err := report.Read(args[0])
			if err != nil {
				return err
			}
			b, err := form.Make(r)
			if err != nil {
				return err
			}
			if err := to.Write(b); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "report: %s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the file to write (default: "+form.File+" beside the report.json)")
	return cmd
}
