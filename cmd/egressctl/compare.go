package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/compare/html"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

// comparing says how changes are judged and shown; compare and matrix do it alike.
type comparing struct {
	strict, verbose, unseen bool
	asJSON                  bool
	known                   string // file with known changes of the user's own
}

func (o *comparing) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.strict, "strict", false, "exit 1 on any change that nobody has explained, not on regressions alone")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print every case with its verdict in each column too")
	f.BoolVar(&o.unseen, "unseen", false, "print the known changes between these versions that no case has shown")
	f.BoolVar(&o.asJSON, "json", false, "print JSON, as comparison.json has it")
	f.StringVar(&o.known, "known", "", "file with known changes of your own, beside the built-in ones (docs/compare.md)")
}

const comparedExits = "Exit status: 0 no regression, 1 a regression that nobody has explained (with --strict: any such change), 2 something is\n" +
	"not proven, a run is missing or had faults, or a report cannot be read, 64 wrong usage."

func compareCommand() *cobra.Command {
	var (
		how comparing
		out string
	)
	cmd := &cobra.Command{
		Use:     "compare OLD.json NEW.json [MORE.json...]",
		Short:   "What has changed between runs: regressions, other behaviour, and what of it is known",
		Example: "  egressctl compare old/report.json new/report.json\n  egressctl compare old.json new.json --strict --out changes",
		Long: "Compare reads two or more report.json, of any provider and any version of egressctl, and needs no cluster. Each case is\n" +
			"compared with the last report before that proves something about it. docs/compare.md explains the classes of changes.\n\n" + comparedExits,
		Args: usageArgs(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := how.load()
			if err != nil {
				return err
			}
			var to *report.Folder
			if out != "" {
				for _, a := range args {
					if seenFrom(out, a) == report.JSONFile {
						return usage(fmt.Errorf("%s is in the folder of --out, from which the report.json of an earlier run is removed: name another folder", a))
					}
				}
				if to, err = openComparison(out); err != nil {
					return err
				}
				defer to.Close()
			}
			columns, err := compare.ReadAll(args...)
			if err != nil {
				return err
			}
			for i, c := range columns {
				c.Page = pageBeside(args[i], out)
			}
			return how.finish(cmd, columns, known, to)
		},
	}
	how.addFlags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "folder for comparison.html, comparison.json, comparison.md and junit.xml")
	return cmd
}

// load reads the known changes.
func (o *comparing) load() ([]compare.Known, error) {
	known, err := suites.KnownChanges()
	if err != nil || o.known == "" {
		return known, err
	}
	b, err := input.ReadFile(o.known, input.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read the known changes: %w", err)
	}
	own, err := compare.ReadKnown(filepath.Base(o.known), b)
	return append(known, own...), err
}

// finish compares columns and reports: what has changed is printed whether or not the files can be written. to may be nil.
func (o *comparing) finish(cmd *cobra.Command, columns []*compare.Column, known []compare.Known, to *report.Folder) error {
	c, err := compare.Run(columns, known)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = writeJSON(cmd.OutOrStdout(), c)
	} else {
		err = c.WriteText(cmd.OutOrStdout(), compare.Text{Color: colored(cmd.OutOrStdout()), All: o.verbose, Unseen: o.unseen})
	}
	if to != nil {
		err = errors.Join(err, writeComparison(c, to, o.strict))
	}
	if err != nil {
		return err
	}
	if to != nil && !o.asJSON {
		fmt.Fprintf(cmd.OutOrStdout(), "comparison: %s, %s, %s, %s\n", to.Join(comparisonJSON), to.Join(html.File), to.Join(comparisonMD), to.Join(comparisonJUnit))
	}
	if code := c.ExitCode(o.strict); code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// writeJSON prints what comparison.json has.
func writeJSON(w io.Writer, c *compare.Comparison) error {
	b, err := c.JSON()
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// Names of what a comparison leaves in its folder.
const (
	comparisonJSON  = "comparison.json"
	comparisonMD    = "comparison.md"
	comparisonJUnit = "junit.xml"
)

// openComparison opens the folder of a comparison. What an earlier one has left there goes: it would be taken for this one's.
func openComparison(dir string) (*report.Folder, error) {
	to, err := report.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	for _, old := range []string{comparisonJSON, html.File, comparisonMD} {
		err = errors.Join(err, to.RemoveAll(old))
	}
	if err != nil {
		to.Close()
		return nil, fmt.Errorf("what an earlier comparison has left in %s cannot be removed: %w", dir, err)
	}
	return to, nil
}

// pageBeside is the page of the run whose report.json is given, as seen from a folder: report.json has report.html beside it, and
// old.json old.html. It is "" where there is none, or no folder.
func pageBeside(reportJSON, folder string) string {
	page := strings.TrimSuffix(reportJSON, filepath.Ext(reportJSON)) + ".html"
	if st, err := os.Stat(page); err != nil || !st.Mode().IsRegular() || folder == "" {
		return ""
	}
	return seenFrom(folder, page)
}

// seenFrom is a file's path relative to a folder; "" where there is no such path.
func seenFrom(folder, file string) string {
	from, err := filepath.Abs(folder)
	to, err2 := filepath.Abs(file)
	if errors.Join(err, err2) != nil {
		return ""
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return ""
	}
	return filepath.ToSlash(rel)
}

func writeComparison(c *compare.Comparison, to *report.Folder, strict bool) error {
	j, err := c.JSON()
	if err == nil {
		err = to.Write(comparisonJSON, j)
	}
	page, failed := html.Render(c)
	if failed == nil {
		failed = to.Write(html.File, page)
	}
	err = errors.Join(err, failed)
	var md bytes.Buffer
	err = errors.Join(err, c.WriteMarkdown(&md), to.Write(comparisonMD, md.Bytes()))
	x, err2 := c.JUnit(strict)
	if err2 == nil {
		err2 = to.Write(comparisonJUnit, x)
	}
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("the comparison could not be written: %w", err)
	}
	return nil
}
