// Package report is one run as plain, versioned data, and its renderings. It needs no cluster, so old
// reports can be read and compared anywhere.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Schema names the format of report.json; docs/report.md describes it. A reader refuses others.
const Schema = "mesh-egress-conformance/report/v2"

// Report is one run.
type Report struct {
	Schema      string      `json:"schema"`
	Started     time.Time   `json:"started"`
	Took        float64     `json:"tookSeconds"`
	Environment Environment `json:"environment"`
	// Shard says which part of the selected cases the run was of; absent where it was of all.
	Shard  *Shard          `json:"shard,omitempty"`
	Counts Counts          `json:"counts"`
	Cases  []egress.Result `json:"cases"`
	// Faults are what went wrong outside any case, such as a clean-up that failed. A report with faults is no success.
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
	// Clients are the versions of the clients that ran, as their proxies and istiods say.
	Clients []Client `json:"clients,omitempty"`
}

// Client says of a client's proxy which version it is, and which istiod serves it.
type Client struct {
	Name  string `json:"name"`
	Proxy string `json:"proxy"` // its Istio version, as it says
	Envoy string `json:"envoy"` // and that of its Envoy
	// Revision and Istiod are of the istiod to which it is connected, as that says; "" for none.
	Revision string `json:"revision,omitempty"`
	Istiod   string `json:"istiod,omitempty"`
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
	return &Report{
		Schema: Schema, Started: started.UTC(), Took: time.Since(started).Seconds(), Environment: env,
		Counts: count(results), Cases: results, Faults: faults,
	}
}

// None is the report of a run that could not begin.
func None(env Environment, started time.Time, cases []egress.Case, cause error) *Report {
	results := make([]egress.Result, len(cases))
	for i, c := range cases {
		results[i] = egress.NotRun(c, egress.Inconclusive, "the run could not begin: "+cause.Error())
		results[i].Started, results[i].Unfinished = started.UTC(), true
	}
	return New(env, started, results, "the run could not begin: "+cause.Error(), fmt.Sprintf("%d cases have no verdict", len(cases)))
}

func count(results []egress.Result) Counts {
	var n Counts
	for _, c := range results {
		n.Add(c.Verdict)
	}
	return n
}

// Add counts one more case, and says whether its verdict is one.
func (n *Counts) Add(v egress.Verdict) bool {
	switch v {
	case egress.Conforms:
		n.Conforms++
	case egress.Violates:
		n.Violates++
	case egress.Inconclusive:
		n.Inconclusive++
	case egress.Skipped:
		n.Skipped++
	case egress.NotApplicable:
		n.NotApplicable++
	default:
		return false
	}
	n.Total++
	return true
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

// Unfinished is how many cases have no verdict because the run ended before they did.
func (r *Report) Unfinished() int {
	n := 0
	for _, c := range r.Cases {
		if c.Unfinished {
			n++
		}
	}
	return n
}

// Names of the reports in their folder.
const (
	// JSONFile is the report itself, as data.
	JSONFile  = "report.json"
	junitFile = "junit.xml"
	// summaryFile is for the page of a CI job.
	summaryFile = "report.md"
	// HTMLFile is that of the page for people, which framework/report/html makes.
	HTMLFile = "report.html"
	// bundles is the folder of the debug bundles.
	bundles = "bundles"
)

// Rendering is one form of a report beside report.json.
type Rendering struct {
	File string // its name in the folder
	Make func(*Report) ([]byte, error)
}

// Summary is the rendering for the page of a CI job.
var Summary = Rendering{summaryFile, (*Report).Markdown}

// renderings are those that need no more than this package.
var renderings = []Rendering{{junitFile, (*Report).JUnit}, Summary}

// WriteAll writes report.json, junit.xml, report.md and further renderings into a folder; where one fails, the others are written
// all the same. It returns the paths of the files that are there.
func (r *Report) WriteAll(to *Folder, further ...Rendering) (written []string, err error) {
	for _, x := range slices.Concat([]Rendering{{JSONFile, (*Report).JSON}}, renderings, further) {
		b, failed := x.Make(r)
		if failed == nil {
			failed = to.Write(x.File, b)
		}
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		written = append(written, to.Join(x.File))
	}
	if err != nil {
		return written, fmt.Errorf("the reports could not be written: %w", err)
	}
	return written, nil
}

// JSON is report.json.
func (r *Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", JSONFile, err)
	}
	return append(b, '\n'), nil
}
