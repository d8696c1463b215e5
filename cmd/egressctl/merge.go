package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/report"
)

func mergeCommand() *cobra.Command {
	var (
		out            string
		table, verbose bool
	)
	cmd := &cobra.Command{
		Use:   "merge REPORT.json...",
		Short: "Put the reports of several machines together",
		Long: "Merge makes one report of those of egressctl run --shard, or of runs of different cases: report.json, report.html, report.md\n" +
			"and junit.xml, and prints it as run does. The runs must have been of the same versions, provider and internet. A shard that\n" +
			"is missing is a fault of the merged report. No cluster is needed.\n\n" +
			"Exit status: as that of run for all cases together; 2 also where reports do not belong together, a shard is missing, or a\n" +
			"report cannot be read; 64 wrong usage.",
		Example: `  egressctl run --shard 1/2 --out shard-1     # on one machine
  egressctl run --shard 2/2 --out shard-2     # on another
  egressctl merge shard-*/report.json --out merged`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := apartFrom(out, args); err != nil {
				return usage(err)
			}
			parts := make([]report.Part, len(args))
			var errs error
			for i, file := range args {
				r, err := report.Read(file)
				errs = errors.Join(errs, err)
				parts[i] = report.Part{File: file, Report: r}
			}
			if errs != nil {
				return errs
			}
			merged, err := report.Merge(parts)
			if err != nil {
				return err
			}
			to, err := openReports(out)
			if err != nil {
				return err
			}
			defer to.Close()
			return finish(cmd, merged, to, report.Text{Table: table || verbose, Codes: verbose})
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "reports/out/merged", "folder for the merged reports")
	f.BoolVar(&table, "table", false, "print the whole truth table too, not only the cases that do not conform")
	f.BoolVarP(&verbose, "verbose", "v", false, "as --table, with the codes of outcomes, as case files have them, beside the words")
	return cmd
}

// apartFrom makes sure that no report that is read lies in the folder that is written: what is in that goes first.
func apartFrom(out string, files []string) error {
	to, err := os.Stat(out)
	if err != nil {
		return nil //nolint:nilerr // a folder that is not there has no report; one that cannot be used is found out later
	}
	for _, file := range files {
		if dir, err := os.Stat(filepath.Dir(file)); err == nil && os.SameFile(to, dir) {
			return fmt.Errorf("%s lies in the folder that the merged report is written into: choose another --out", file)
		}
	}
	return nil
}
