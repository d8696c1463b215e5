// Package html renders a comparison of runs as one page for people: a file that holds everything it shows and asks nothing of any
// network, which its content security policy forbids besides. The grid of cases and versions is plain HTML; a script filters it.
// Every text of a comparison is data, which the template escapes.
package html

import (
	"bytes"
	_ "embed" // the parts of the page
	"fmt"
	"html/template"
	"strings"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/csp"
	"mesh-egress-conformance/framework/report/page"
)

// File is the page's name.
const File = "comparison.html"

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

// view is all that the template shows.
type view struct {
	CSS template.CSS
	JS  template.JS
	CSP string

	Title    string
	Outcome  string // class of the headline: a verdict
	Headline string
	Exit     []string // what the exit status is, and why
	Facts    []fact
	Columns  []run
	Troubles []trouble
	Classes  []tally
	Verdicts []string // that occur
	Areas    []area
	Only     bool // the grid begins with what has changed
	Unseen   []unseen
}

// fact is a name with its value.
type fact struct{ Name, Value string }

// tally is how many cases have a change of a class.
type tally struct {
	Class   compare.Class
	N       int
	Meaning string
}

// run is a column.
type run struct {
	Name    string
	Link    string // of its own page; "" where that is not known
	Failed  string
	Env     report.Environment
	Counts  report.Counts
	Seconds string
}

// trouble is what a column says besides verdicts.
type trouble struct{ Column, What string }

// unseen is a known change that no case has shown.
type unseen struct{ Since, What, By, Cases string }

// meanings say what the classes are, as docs/compare.md does.
var meanings = map[compare.Class]string{
	compare.Regression: "conforms, then violates",
	compare.Unproven:   "one of the two is inconclusive: neither a regression nor none",
	compare.Itself:     "the case itself is another one in the two reports, so what differs says nothing about Istio",
	compare.Behaviour:  "both conform or both violate, and something came out otherwise",
	compare.Gone:       "the case has run, and does not any more",
	compare.New:        "the case runs, and has not before",
	compare.Fixed:      "violates, then conforms",
	compare.Explained:  "any of these, explained with its source",
}

// Render makes the page. What is in the comparison is shown with control characters escaped.
func Render(c *compare.Comparison) ([]byte, error) {
	v := viewOf(c)
	v.CSS, v.JS, v.CSP = template.CSS(pageCSS), template.JS(pageJS), csp.SelfContained(pageCSS, pageJS)
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("render %s: %w", File, err)
	}
	return b.Bytes(), nil
}

func viewOf(c *compare.Comparison) view {
	var v view
	var names []string
	for _, col := range c.Columns {
		names = append(names, printable.Line(col.Name))
		v.Columns = append(v.Columns, run{
			Name: printable.Line(col.Name), Link: col.Link(), Failed: printable.Text(col.Failed), Env: printable.Copy(col.Environment),
			Counts: col.Counts, Seconds: fmt.Sprintf("%.0f", col.Seconds),
		})
		for _, t := range col.Troubles() {
			v.Troubles = append(v.Troubles, trouble{printable.Line(col.Name), printable.Text(t)})
		}
	}
	v.Title = "Comparison of " + strings.Join(names, ", ")
	v.Outcome, v.Headline = headline(c)
	v.Exit = exit(c)
	v.Facts = []fact{{"Cases", fmt.Sprint(len(c.Cases))}, {"Runs", fmt.Sprint(len(c.Columns))}}
	for _, class := range compare.Classes() {
		if n := len(c.Of(class)); n > 0 {
			v.Facts = append(v.Facts, fact{string(class), fmt.Sprint(n)})
		}
	}
	for _, k := range printable.Copy(c.Unseen) {
		v.Unseen = append(v.Unseen, unseen{k.Since, k.What, k.By(), strings.Join(k.Cases, ", ")})
	}
	v.grid(c, names)
	return v
}

// headline is the comparison in one sentence, and the verdict whose colour it has.
func headline(c *compare.Comparison) (class, text string) {
	of := func(class compare.Class) int { return len(c.Of(class)) }
	switch n := of(compare.Regression); {
	case n > 0:
		return string(egress.Violates), counted(n, "regression") + " that nobody has explained"
	case c.ExitCode(false) != 0:
		return string(egress.Inconclusive), "No regression was seen, and not everything is proven"
	case c.ExitCode(true) != 0:
		n := 0
		for _, x := range c.Changes {
			if x.Fails(true) {
				n++
			}
		}
		return string(egress.Conforms), "No regression; " + counted(n, "other change") + " that nobody has explained"
	case len(c.Changes) > 0:
		return string(egress.Conforms), "No regression; each change is explained"
	}
	return string(egress.Conforms), "Nothing has changed"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// exit says what the exit status of the comparison is and what that means; with --strict too, where it is another one.
func exit(c *compare.Comparison) []string {
	lenient, strict := c.ExitCode(false), c.ExitCode(true)
	out := []string{map[int]string{
		0: "Exit status 0: no regression, and all runs are there.",
		1: "Exit status 1: there is a regression that nobody has explained.",
		2: "Exit status 2: something is not proven, a run is missing, or a run had faults.",
	}[lenient]}
	switch {
	case strict != lenient:
		out = append(out, "With --strict it is 1: there are changes that nobody has explained.")
	case strict == 0:
		out = append(out, "With --strict it is 0 too: each change is explained.")
	}
	return out
}
