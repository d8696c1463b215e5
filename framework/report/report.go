// Package report is one run as plain, versioned data, and its renderings. It needs no cluster, so old
// reports can be read and compared anywhere.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Schema names the format of report.json; docs/report.md describes it. A reader refuses others.
const Schema = "mesh-egress-conformance/report/v2"

// Report is one run.
type Report struct {
	Schema      string          `json:"schema"`
	Started     time.Time       `json:"started"`
	Took        float64         `json:"tookSeconds"`
	Environment Environment     `json:"environment"`
	Counts      Counts          `json:"counts"`
	Cases       []egress.Result `json:"cases"`
	// Faults are what went wrong outside any case, such as a clean-up that failed.
	Faults []string `json:"faults,omitempty"`
}

// Environment is what the run happened in.
type Environment struct {
	Provider   string             `json:"provider"`
	Cluster    string             `json:"cluster"`
	Kubernetes string             `json:"kubernetes"`
	Istio      string             `json:"istio"`
	Envoy      string             `json:"envoy"`
	Source     string             `json:"componentSource"`
	Internet   string             `json:"internet,omitempty"` // hermetic, or live and what of it was reached
	Sabotage   string             `json:"sabotage,omitempty"`
	Deviations []string           `json:"deviations,omitempty"` // from an installation by the charts' defaults
	Timings    map[string]float64 `json:"timingsSeconds,omitempty"`
	// Foreign is what decides about egress in the cluster, too, and is not the harness's: verdicts may be about it.
	Foreign []string `json:"foreign,omitempty"`
	// Components are the programs and images of the cluster, and what they were made of.
	Components []Component `json:"components,omitempty"`
}

// Component is one program, image, or thing that one of them was made of.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Source  string `json:"source"` // build or image; for what it was made of: wheel, deb, image, module, go.sum
	Digest  string `json:"digest"` // sha256:..., or h1:... for Go modules
}

// Counts are the verdicts.
type Counts struct {
	Total         int `json:"total"`
	Conforms      int `json:"conforms"`
	Violates      int `json:"violates"`
	Inconclusive  int `json:"inconclusive"`
	Skipped       int `json:"skipped"`
	NotApplicable int `json:"notApplicable"`
}

// New makes a report of results.
func New(env Environment, started time.Time, results []egress.Result, faults ...string) *Report {
	r := &Report{Schema: Schema, Started: started.UTC(), Took: time.Since(started).Seconds(), Environment: env, Cases: results, Faults: faults}
	for _, c := range results {
		r.Counts.Total++
		switch c.Verdict {
		case egress.Conforms:
			r.Counts.Conforms++
		case egress.Violates:
			r.Counts.Violates++
		case egress.Inconclusive:
			r.Counts.Inconclusive++
		case egress.Skipped:
			r.Counts.Skipped++
		case egress.NotApplicable:
			r.Counts.NotApplicable++
		}
	}
	return r
}

// ExitCode is the exit status that the run deserves: 0 all conform, 1 a violation, 2 an inconclusive
// case or a fault of the harness.
func (r *Report) ExitCode() int {
	vs := make([]egress.Verdict, len(r.Cases))
	for i, c := range r.Cases {
		vs[i] = c.Verdict
	}
	code := egress.ExitCode(vs)
	if code == 0 && (len(r.Faults) > 0 || r.Counts.Total == 0) {
		code = 2
	}
	return code
}

// Read reads a report.json.
func Read(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("read report %s: schema %q is not %q", path, r.Schema, Schema)
	}
	return &r, nil
}

// WriteAll writes report.json and junit.xml into a folder. Each appears whole or not at all.
func (r *Report) WriteAll(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the report folder: %w", err)
	}
	j, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := replace(filepath.Join(dir, "report.json"), append(j, '\n')); err != nil {
		return err
	}
	x, err := r.JUnit()
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, "junit.xml"), x)
}

func replace(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
