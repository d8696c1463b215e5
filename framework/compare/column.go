// Package compare says what has changed between runs of the cases: on other Istio versions, in other places, at other
// times. It reads reports of any age and needs no cluster. docs/compare.md explains the classes of changes.
package compare

import (
	encjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/report"
)

// schemas are those of the reports that can be read, oldest first.
var schemas = []string{"mesh-egress-conformance/report/v1", report.Schema}

// Column is one run, as far as a comparison needs it.
type Column struct {
	Name        string
	Environment report.Environment
	Counts      report.Counts
	Seconds     float64
	Faults      []string
	// Failed says why there was no run; "" where there was one.
	Failed string
	// Page is the file of the run's own page, relative to the folder of the comparison; "" where it is not known.
	Page  string
	Cases []Case
}

// Case is one case with what came of it in one run.
type Case struct {
	Name, Area, Claim, Source, Row string
	Since, Until                   string // Istio minor versions of which the claim holds
	Verdict                        egress.Verdict
	Why                            string
	Unfinished                     bool
	Phases                         []Phase

	raw     jsontext.Value // the case as the report has it
	applied []string       // YAML of what it applied
}

// Phase is one phase with the outcomes of its probes, in the order of the case.
type Phase struct {
	Phase  egress.Phase `json:"phase"`
	Probes []Probe      `json:"probes"`
}

// Probe is one probe in one phase.
type Probe struct {
	Probe string         `json:"probe"`
	Want  egress.Outcome `json:"want"`
	Got   egress.Outcome `json:"got"`
}

// document is what is read of a report. What it does not name is passed over, so the observations, which are most of a
// report, cost next to nothing.
type document struct {
	Schema      string             `json:"schema"`
	Started     time.Time          `json:"started"`
	Took        float64            `json:"tookSeconds"`
	Environment report.Environment `json:"environment"`
	Counts      report.Counts      `json:"counts"`
	Faults      []string           `json:"faults"`
	Cases       []struct {
		Case       jsontext.Value `json:"case"`
		Verdict    egress.Verdict `json:"verdict"`
		Why        string         `json:"why"`
		Unfinished bool           `json:"unfinished"`
		Applied    []string       `json:"applied"`
		Phases     []Phase        `json:"phases"`
	} `json:"cases"`
}

// Read reads a report.json of any schema that there has been. One that is cut off, contradicts itself or is no report of
// egressctl is an error that names the file. The column has the name of the file until Name gives it another.
func Read(path string) (*Column, error) {
	b, err := input.ReadFile(path, input.MaxReport)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	c, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	c.Name = filepath.Base(path)
	return c, nil
}

// ReadAll reads several reports at once, in their order.
func ReadAll(paths ...string) ([]*Column, error) {
	out, errs := make([]*Column, len(paths)), make([]error, len(paths))
	done := make(chan struct{})
	for i, p := range paths {
		go func() {
			defer func() { done <- struct{}{} }()
			out[i], errs[i] = Read(p)
		}()
	}
	for range paths {
		<-done
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	Name(out, paths)
	return out, nil
}

// Of makes a column of a run that has just ended.
func Of(name string, r *report.Report) (*Column, error) {
	b, err := encjson.Marshal(r.Brief())
	if err != nil {
		return nil, fmt.Errorf("encode the report of %s: %w", name, err)
	}
	c, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read the report of %s: %w", name, err)
	}
	c.Name, c.Seconds = name, r.Took
	return c, nil
}

// NoRun is the column of a run that could not begin.
func NoRun(name string, why error) *Column { return &Column{Name: name, Failed: why.Error()} }

func parse(b []byte) (*Column, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, unreadable(b, err)
	}
	if !slices.Contains(schemas, d.Schema) {
		return nil, foreign(d.Schema)
	}
	c := &Column{Environment: d.Environment, Counts: d.Counts, Seconds: d.Took, Faults: d.Faults}
	seen := map[string]bool{}
	var counts report.Counts
	for _, r := range d.Cases {
		var words struct {
			Name   string `json:"name"`
			Area   string `json:"area"`
			Claim  string `json:"claim"`
			Source string `json:"source"`
			Row    string `json:"row"`
			Since  string `json:"since"`
			Until  string `json:"until"`
		}
		if err := json.Unmarshal(r.Case, &words); err != nil {
			return nil, err
		}
		x := Case{
			Name: words.Name, Area: words.Area, Claim: words.Claim, Source: words.Source, Row: words.Row, Since: words.Since, Until: words.Until,
			Verdict: r.Verdict, Why: r.Why, Unfinished: r.Unfinished, Phases: r.Phases, raw: r.Case, applied: r.Applied,
		}
		if !counts.Add(x.Verdict) {
			return nil, fmt.Errorf("case %q has the unknown verdict %q", x.Name, x.Verdict)
		}
		if seen[x.Name] {
			return nil, fmt.Errorf("case %q is in it twice", x.Name)
		}
		seen[x.Name] = true
		c.Cases = append(c.Cases, x)
	}
	if counts != d.Counts {
		return nil, fmt.Errorf("its counts are %+v, and its cases are %+v", d.Counts, counts)
	}
	return c, nil
}

// unreadable says in the reader's words what is wrong with a file.
func unreadable(b []byte, err error) error {
	var head struct {
		Schema string `json:"schema"`
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is cut off after %d bytes: take the whole file, or run the cases again: %w", len(b), err)
	case json.Unmarshal(b, &head) == nil && !slices.Contains(schemas, head.Schema):
		return foreign(head.Schema)
	}
	return fmt.Errorf("it is no report of egressctl: %w", err)
}

func foreign(schema string) error {
	known := strings.Join(schemas, ", ")
	if strings.HasPrefix(schema, "mesh-egress-conformance/report/") {
		return fmt.Errorf("its schema %q is of another egressctl, a newer one: this one reads %s", schema, known)
	}
	return fmt.Errorf("schema %q is no report of egressctl: give the report.json of a run (%s)", schema, known)
}

// Name names columns after what tells them apart: the Istio version if that is enough, then the place too, else the file.
func Name(columns []*Column, files []string) {
	version := func(i int) string { return columns[i].Environment.Istio }
	for _, name := range []func(int) string{
		version,
		func(i int) string { return strings.TrimSpace(version(i) + " " + columns[i].Environment.Provider) },
		func(i int) string { return strings.TrimSpace(version(i) + " " + filepath.Base(files[i])) },
		func(i int) string { return strings.TrimSpace(version(i) + " " + files[i]) },
	} {
		seen := map[string]bool{"": true}
		apart := true
		for i, c := range columns {
			c.Name = name(i)
			apart = apart && !seen[c.Name]
			seen[c.Name] = true
		}
		if apart {
			return
		}
	}
	for i, c := range columns { // a file with itself
		c.Name = fmt.Sprintf("%s (%d)", c.Name, i+1)
	}
}

// find returns a case; nil where the column has none of that name.
func (c *Column) find(name string) *Case {
	for i := range c.Cases {
		if c.Cases[i].Name == name {
			return &c.Cases[i]
		}
	}
	return nil
}

// unfinished counts the cases that have no verdict because the run ended before they did.
func (c *Column) unfinished() int {
	n := 0
	for _, x := range c.Cases {
		if x.Unfinished {
			n++
		}
	}
	return n
}
