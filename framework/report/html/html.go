// Package html renders a report as one page for people: a file that holds everything it shows and asks nothing of any
// network, which its content security policy forbids besides. The truth table is plain HTML; what the witnesses of a
// cell have seen is compressed data that a script shows when somebody opens the cell. Every text of a report is data:
// the template escapes it, and the script puts it into text nodes only.
//
// The page has sections, each a template of its own and a field of the view; another kind of report is another list of
// sections.
package html

import (
	"bytes"
	_ "embed" // the parts of the page
	"encoding/json"
	"fmt"
	"html/template"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/csp"
	"mesh-egress-conformance/framework/report/page"
)

var (
	//go:embed page.html.tmpl
	pageText string
	//go:embed page.css
	ownCSS string
	//go:embed page.js
	ownJS string
)

// The style and the script as they stand in the page.
var (
	pageCSS = page.CSS + ownCSS
	pageJS  = page.FilterJS + ownJS
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"inc": func(n int) int { return n + 1 }}).Parse(pageText))

// Page is the rendering for report.WriteAll.
var Page = report.Rendering{File: report.HTMLFile, Make: Render}

// view is all that the template shows.
type view struct {
	CSS  template.CSS
	JS   template.JS
	CSP  string
	Data template.JS // data, as JSON: encoding/json escapes <, > and &, so nothing in it ends the script

	Title    string
	Outcome  string // class of the headline: a verdict
	Headline string
	Facts    []fact
	Counts   []tally
	Faults   []string
	Foreign  []string
	Labels   []string
	Phases   []egress.Phase
	Areas    []area
	Failures []failure
	Time     timing
	Env      environment
	Skipped  []skip
}

// fact is a name with its value.
type fact struct{ Name, Value string }

// tally is how many cases have a verdict.
type tally struct {
	Verdict egress.Verdict
	Mark    string
	N       int
}

// failure is a case that does not conform, explained.
type failure struct {
	Index   int
	Name    string
	Verdict egress.Verdict
	Mark    string
	Reason  string
	Text    string
}

// skip is one reason, with the cases that were not run for it.
type skip struct {
	Verdict egress.Verdict
	Why     string
	Cases   []string
}

// data is what the script reads.
type data struct {
	Glossary glossary `json:"glossary"`
	// Cases has, for each case, its detail: JSON, compressed with gzip, in base64.
	Cases []string `json:"cases"`
}

// Render makes the page. What is in the report is shown with control characters escaped.
func Render(r *report.Report) ([]byte, error) {
	d := data{Glossary: words, Cases: make([]string, len(r.Cases))}
	shown := *r
	shown.Cases = make([]egress.Result, len(r.Cases))
	for i, c := range r.Cases {
		slim, others := trim(c)
		slim = printable.Copy(slim)
		var err error
		if d.Cases[i], err = pack(detailOf(slim, others)); err != nil {
			return nil, fmt.Errorf("encode the witnesses of case %q: %w", c.Case.Name, err)
		}
		shown.Cases[i] = slim
	}
	shown.Environment, shown.Faults = printable.Copy(r.Environment), printable.Copy(r.Faults)
	encoded, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the data of the page: %w", err)
	}
	v := viewOf(&shown)
	v.CSS, v.JS = template.CSS(pageCSS), template.JS(pageJS)
	v.Data = template.JS(encoded)
	v.CSP = csp.SelfContained(pageCSS, pageJS)
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("render %s: %w", report.HTMLFile, err)
	}
	return b.Bytes(), nil
}

func viewOf(r *report.Report) view {
	e := r.Environment
	v := view{
		Title: "Egress conformance", Phases: egress.Phases(), Faults: r.Faults, Foreign: e.Foreign,
		Areas: areas(r.Cases), Labels: labels(r.Cases), Time: timingOf(r), Env: environmentOf(r),
		Facts: facts(r),
	}
	if e.Istio != "" {
		v.Title += ", Istio " + e.Istio
	}
	n := r.Counts
	v.Counts = []tally{
		{egress.Conforms, report.Mark(egress.Conforms), n.Conforms},
		{egress.Violates, report.Mark(egress.Violates), n.Violates},
		{egress.Inconclusive, report.Mark(egress.Inconclusive), n.Inconclusive},
		{egress.Skipped, report.Mark(egress.Skipped), n.Skipped},
		{egress.NotApplicable, report.Mark(egress.NotApplicable), n.NotApplicable},
	}
	v.Outcome, v.Headline = headline(r)
	reasons := map[string]int{}
	for i, c := range r.Cases {
		switch c.Verdict {
		case egress.Violates, egress.Inconclusive:
			v.Failures = append(v.Failures, failure{i, c.Case.Name, c.Verdict, report.Mark(c.Verdict), report.Reason(c), report.Explain(c)})
		case egress.Skipped, egress.NotApplicable:
			at, known := reasons[c.Why]
			if !known {
				at = len(v.Skipped)
				reasons[c.Why] = at
				v.Skipped = append(v.Skipped, skip{Verdict: c.Verdict, Why: c.Why})
			}
			v.Skipped[at].Cases = append(v.Skipped[at].Cases, c.Case.Name)
		case egress.Conforms:
		}
	}
	return v
}

// headline is the run in one sentence, and the verdict whose colour it has.
func headline(r *report.Report) (class, text string) {
	n := r.Counts
	ran := n.Conforms + n.Violates + n.Inconclusive
	switch {
	case n.Violates > 0:
		return string(egress.Violates), fmt.Sprintf("%d of %d cases %s proven otherwise than claimed", n.Violates, ran, are(n.Violates))
	case n.Inconclusive > 0:
		return string(egress.Inconclusive), fmt.Sprintf("%d of %d cases prove nothing either way", n.Inconclusive, ran)
	case len(r.Faults) > 0:
		return string(egress.Inconclusive), "The run had faults"
	case ran == 0:
		return string(egress.Inconclusive), "No case was run"
	}
	return string(egress.Conforms), fmt.Sprintf("All %d cases that were run conform", ran)
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// facts are what the reader must know of the run at once.
func facts(r *report.Report) []fact {
	e := r.Environment
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	add("Istio", e.Istio)
	add("Envoy", envoy(e))
	add("Kubernetes", e.Kubernetes)
	add("Cluster", e.Provider+" "+e.Cluster)
	add("Internet", e.Internet)
	add("Sabotaged on purpose", e.Sabotage)
	add("Started", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	add("Took", time.Duration(r.Took*float64(time.Second)).Round(100*time.Millisecond).String())
	return out
}
