package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/docs"
	"mesh-egress-conformance/framework/compare"
	comparehtml "mesh-egress-conformance/framework/compare/html"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/html"
	"mesh-egress-conformance/framework/upgrade"
	upgradehtml "mesh-egress-conformance/framework/upgrade/html"
)

func reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Render the report of an earlier run",
		Args:  subcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		renderCommand("html", "as one page for people", forms{
			ofRun:        rendering(html.Page.File, report.Read, html.Page.Make),
			ofUpgrade:    rendering(upgradehtml.File, upgrade.Read, upgradehtml.Render),
			ofComparison: form{comparehtml.File, comparisonPage},
		}),
		renderCommand("markdown", "as the summary for the page of a CI job", forms{
			ofRun:     rendering(report.Summary.File, report.Read, report.Summary.Make),
			ofUpgrade: rendering(upgradeMarkdown, upgrade.Read, func(r *upgrade.Report) ([]byte, error) { return r.Markdown(), nil }),
			ofComparison: rendering(comparisonMD, compare.ReadComparison, func(c *compare.Comparison) ([]byte, error) {
				var b bytes.Buffer
				err := c.WriteMarkdown(&b)
				return b.Bytes(), err
			}),
		}),
		&cobra.Command{
			Use:       "schema [report|upgrade|comparison|verify]",
			Short:     "Print the JSON Schema of report.json, or of upgrade.json, comparison.json or verify.json",
			Example:   "  egressctl report schema > report.schema.json\n  egressctl report schema upgrade > upgrade.schema.json",
			ValidArgs: slices.Sorted(maps.Keys(published)),
			Args:      usageArgs(cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)),
			RunE: func(cmd *cobra.Command, args []string) error {
				of := "report"
				if len(args) > 0 {
					of = args[0]
				}
				_, err := cmd.OutOrStdout().Write(published[of])
				return err
			},
		})
	return cmd
}

// comparisonPage renders a comparison.json for the folder of out, which may be another one than its own: the runs' own pages are
// linked where they are still there.
func comparisonPage(file, out string) ([]byte, error) {
	c, err := compare.ReadComparison(file)
	if err != nil {
		return nil, err
	}
	for _, col := range c.Columns {
		if col.Link() == "" {
			col.Page = ""
			continue
		}
		page := filepath.Join(filepath.Dir(file), filepath.FromSlash(col.Page))
		col.Page = ""
		if st, err := os.Stat(page); err == nil && st.Mode().IsRegular() {
			col.Page = seenFrom(filepath.Dir(out), page)
		}
	}
	return comparehtml.Render(c)
}

// published are the JSON Schemas of docs, by what they are of.
var published = map[string][]byte{"report": docs.ReportSchema, "upgrade": docs.UpgradeSchema, "comparison": docs.ComparisonSchema, "verify": docs.VerifySchema}

// stepSummary is the variable with which GitHub Actions names the file whose Markdown a job's page shows; steps append to it.
const stepSummary = "GITHUB_STEP_SUMMARY"

// openReports makes sure, before anything runs, that the reports can be written: into the folder, and where a CI job
// has a page, there.
func openReports(dir string) (*report.Folder, error) {
	if err := appendSummary(nil); err != nil {
		return nil, err
	}
	return report.OpenFolder(dir)
}

// writeReports writes all reports of a run. It returns the files that are there, also with an error.
func writeReports(r *report.Report, to *report.Folder) ([]string, error) {
	files, err := r.WriteAll(to, html.Page)
	summary, failed := r.Markdown()
	if failed == nil {
		failed = appendSummary(summary)
	}
	return files, errors.Join(err, failed)
}

// appendSummary appends to the page of the CI job; without one it does nothing.
func appendSummary(text []byte) error {
	name := os.Getenv(stepSummary)
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("the summary cannot be appended to the file that %s names: %w", stepSummary, err)
	}
	return nil
}

// form is a form of one kind of report.
type form struct {
	file   string // its name, beside the report
	render func(report, out string) ([]byte, error)
}

// forms are those of all kinds of report.
type forms struct{ ofRun, ofUpgrade, ofComparison form }

// of is the form of a kind of report, by its schema; one that is not known is taken for a run's, whose reader says what it is.
func (f forms) of(schema string) form {
	switch {
	case upgrade.IsSchema(schema):
		return f.ofUpgrade
	case compare.IsSchema(schema):
		return f.ofComparison
	}
	return f.ofRun
}

// rendering is the form that write writes of what read reads.
func rendering[R any](file string, read func(string) (R, error), write func(R) ([]byte, error)) form {
	return form{file, func(path, _ string) ([]byte, error) {
		r, err := read(path)
		if err != nil {
			return nil, err
		}
		return write(r)
	}}
}

// renderCommand reads the report of a run, of an upgrade or of a comparison, and writes it in another form, beside it unless told
// otherwise.
func renderCommand(name, as string, forms forms) *cobra.Command {
	var out string
	short := "Render a report.json, an upgrade.json or a comparison.json " + as
	cmd := &cobra.Command{
		Use:   name + " REPORT.json",
		Short: short,
		Long:  short + ". No cluster is needed.\n\nExit status: 0 it is written, 2 it could not be read or written, 64 wrong usage.",
		Example: "  egressctl report " + name + " reports/out/report.json\n  egressctl report " + name + " old.json -o page\n  egressctl report " + name + " reports/out/upgrade/upgrade.json\n" +
			"  egressctl report " + name + " reports/out/matrix/comparison.json",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			as := forms.of(schemaOf(args[0]))
			if out == "" {
				out = filepath.Join(filepath.Dir(args[0]), as.file)
			}
			to, err := report.OpenFile(out) // first: reading a long report takes a while
			if err != nil {
				return err
			}
			b, err := as.render(args[0], out)
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
	cmd.Flags().StringVarP(&out, "output", "o", "", fmt.Sprintf("the file to write (default: %s, %s or %s beside the report)", forms.ofRun.file, forms.ofUpgrade.file, forms.ofComparison.file))
	return cmd
}

// schemaOf is the schema that a report names, near its beginning; "" where none can be read, about which whoever reads the whole
// report says more.
func schemaOf(file string) string {
	b, err := input.ReadFile(file, input.MaxReport)
	if err != nil {
		return ""
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return ""
		}
		var schema string
		if key == "schema" && json.Unmarshal(value, &schema) == nil {
			return schema
		}
	}
	return ""
}
