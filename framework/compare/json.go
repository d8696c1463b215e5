package compare

import (
	encjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// Written is a comparison as comparison.json has it; docs/compare.md describes it, and docs/comparison.schema.json is its schema.
type Written struct {
	Schema  string          `json:"schema"`
	Columns []WrittenColumn `json:"columns"`
	// Changes are the worst first.
	Changes []Change `json:"changes"`
	// Unseen are known changes that lie between the versions of two columns, and that no case shows.
	Unseen []Known `json:"unseen,omitempty"`
	// Cases are all of them, in the order in which columns have them.
	Cases []Row `json:"cases"`
}

// WrittenColumn is one run.
type WrittenColumn struct {
	Name        string             `json:"name"`
	Environment report.Environment `json:"environment"` // without components and timings, which the run's own report has
	Counts      report.Counts      `json:"counts"`
	Seconds     float64            `json:"tookSeconds"`
	Failed      string             `json:"failed,omitempty"`     // why there is no run
	Unfinished  int                `json:"unfinished,omitempty"` // cases without a verdict
	Faults      []string           `json:"faults,omitempty"`
	// Page is the file of the run's own page, relative to this one's folder, where it lies beside it.
	Page string `json:"page,omitempty"`
}

// JSON is the comparison for programs. A terminal finds no control characters in it.
func (c *Comparison) JSON() ([]byte, error) {
	out := Written{Schema: Schema, Changes: c.Changes, Unseen: c.Unseen, Cases: c.Rows()}
	if out.Changes == nil {
		out.Changes = []Change{}
	}
	for _, col := range c.Columns {
		env := col.Environment
		env.Components, env.Timings = nil, nil // the report has them
		out.Columns = append(out.Columns, WrittenColumn{col.Name, env, col.Counts, col.Seconds, col.Failed, col.unfinished(), col.Faults, col.Page})
	}
	b, err := encjson.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the comparison: %w", err)
	}
	return append(printable.JSON(b), '\n'), nil
}

// written is what comparison.json of any age begins its schema with.
const written = "mesh-egress-conformance/comparison/"

// IsSchema says whether a file that names this schema is a comparison, of any age.
func IsSchema(s string) bool { return strings.HasPrefix(s, written) }

// ReadComparison reads a comparison.json, to render it again. What the comparison.json does not have, such as attempts that came
// out alike, the result has not either. A file that is cut off, contradicts itself, or is of another schema, is an error that
// names the file.
func ReadComparison(file string) (*Comparison, error) {
	b, err := input.ReadFile(file, input.MaxReport)
	if err != nil {
		return nil, fmt.Errorf("read comparison: %w", err)
	}
	var w Written
	switch err := json.Unmarshal(b, &w); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read comparison %s: it is cut off after %d bytes: take the whole file, or compare again: %w", file, len(b), err)
	case w.Schema != Schema && IsSchema(w.Schema):
		return nil, fmt.Errorf("read comparison %s: its schema %q is of another egressctl, a newer one, which can render it: this one reads %q", file, w.Schema, Schema)
	case err != nil:
		return nil, fmt.Errorf("read comparison %s: it is no comparison of egressctl: %w", file, err)
	case w.Schema != Schema:
		return nil, fmt.Errorf("read comparison %s: schema %q is no comparison: give the comparison.json of egressctl compare or matrix (%s)", file, w.Schema, Schema)
	}
	c, err := w.comparison()
	if err != nil {
		return nil, fmt.Errorf("read comparison %s: %w", file, err)
	}
	return c, nil
}

// comparison is what was written, as far as it was.
func (w *Written) comparison() (*Comparison, error) {
	c := &Comparison{Changes: w.Changes, Unseen: w.Unseen}
	var names []string
	for _, x := range w.Columns {
		if slices.Contains(names, x.Name) {
			return nil, fmt.Errorf("column %q is in it twice", x.Name)
		}
		names = append(names, x.Name)
		c.Columns = append(c.Columns, &Column{Name: x.Name, Environment: x.Environment, Counts: x.Counts, Seconds: x.Seconds, Failed: x.Failed, Faults: x.Faults, Page: x.Page})
	}
	seen := map[string]bool{}
	for _, r := range w.Cases {
		if seen[r.Name] {
			return nil, fmt.Errorf("case %q is in it twice", r.Name)
		}
		seen[r.Name] = true
		c.Cases = append(c.Cases, r.Name)
		if err := c.take(r); err != nil {
			return nil, fmt.Errorf("case %q: %w", r.Name, err)
		}
	}
	for i, col := range c.Columns {
		if n := col.unfinished(); n != w.Columns[i].Unfinished {
			return nil, fmt.Errorf("column %q has %d cases without a verdict, and says %d", col.Name, n, w.Columns[i].Unfinished)
		}
	}
	for i := range c.Changes {
		x := &c.Changes[i]
		if !slices.Contains(Classes(), x.Class) || x.Kind != "" && !slices.Contains(Classes(), x.Kind) {
			return nil, fmt.Errorf("a change of %q has the unknown class %q", x.Case, string(x.Class)+string(x.Kind))
		}
		if !slices.Contains(names, x.To) || x.From != "" && !slices.Contains(names, x.From) {
			return nil, fmt.Errorf("a change of %q is between %q and %q, of which it has no columns", x.Case, x.From, x.To)
		}
		x.stated = len(x.Parts) > 0
		x.worse = c.says(x.To, x) == string(egress.Violates) && c.says(x.From, x) != string(egress.Violates)
	}
	return c, nil
}

// take gives a row's results to the columns.
func (c *Comparison) take(r Row) error {
	by := func(what string, n int) error {
		if n != len(c.Columns) {
			return fmt.Errorf("it has %d %s, and there are %d columns", n, what, len(c.Columns))
		}
		return nil
	}
	if err := by("verdicts", len(r.Verdicts)); err != nil {
		return err
	}
	for _, a := range r.Attempts {
		if err := errors.Join(by("outcomes of an attempt", len(a.Got)), by("wanted outcomes of an attempt", len(a.Want))); err != nil {
			return err
		}
	}
	for i, v := range r.Verdicts {
		col := c.Columns[i]
		x := Case{Name: r.Name, Area: r.Area, Claim: r.Claim, Verdict: egress.Verdict(v), Unfinished: v == Unrun}
		switch {
		case v == NoCase, x.Unfinished && col.Failed != "":
			continue
		case x.Unfinished:
			x.Verdict = egress.Inconclusive
		case !slices.Contains(verdicts, x.Verdict):
			return fmt.Errorf("its verdict %q is unknown", v)
		}
		for _, a := range r.Attempts {
			if a.Got[i] == nil || a.Want[i] == nil {
				continue
			}
			if n := len(x.Phases); n == 0 || x.Phases[n-1].Phase != a.Phase {
				x.Phases = append(x.Phases, Phase{Phase: a.Phase})
			}
			ph := &x.Phases[len(x.Phases)-1]
			ph.Probes = append(ph.Probes, Probe{a.Probe, *a.Want[i], *a.Got[i]})
		}
		col.Cases = append(col.Cases, x)
	}
	return nil
}

// says is the verdict of a column on the case of a change.
func (c *Comparison) says(column string, x *Change) string {
	for _, col := range c.Columns {
		if col.Name == column {
			return cell(col, x.Case)
		}
	}
	return NoCase
}
