// Package html renders the report of an upgrade as one page for people: a file that holds everything it shows, has no script,
// and asks nothing of any network, which its content security policy forbids besides. Every text of a report is data, which the
// template escapes.
package html

import (
	"bytes"
	_ "embed" // the parts of the page
	"fmt"
	"html/template"
	"math"
	"slices"
	"time"

	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report/csp"
	"mesh-egress-conformance/framework/report/page"
	"mesh-egress-conformance/framework/upgrade"
)

// File is the page's name.
const File = "upgrade.html"

var (
	//go:embed page.html.tmpl
	pageText string
	//go:embed page.css
	ownCSS string
)

// pageCSS is the style as it stands in the page.
var pageCSS = page.CSS + ownCSS

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"s": func(f float64) string { return fmt.Sprintf("%.2f", f) }}).Parse(pageText))

// view is all that the template shows.
type view struct {
	*upgrade.Report

	CSS      template.CSS
	CSP      string
	Class    string // of the headline
	Headline string
	Facts    []fact
	Chart    chart
	Incident []upgrade.TimelineItem // drops and leaks alone
}

// fact is a name with its value.
type fact struct{ Name, Value string }

// Render makes the page. What is in the report is shown with control characters escaped.
func Render(r *upgrade.Report) ([]byte, error) {
	shown := printable.Copy(*r)
	shown.Started = r.Started
	v := view{Report: &shown, CSS: template.CSS(pageCSS), CSP: csp.SelfContained(pageCSS, ""), Facts: facts(&shown), Chart: chartOf(&shown)}
	v.Class, v.Headline = headline(&shown)
	v.Incident = slices.DeleteFunc(slices.Clone(shown.Timeline), func(i upgrade.TimelineItem) bool { return !bad(i) })
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("render %s: %w", File, err)
	}
	return b.Bytes(), nil
}

func bad(i upgrade.TimelineItem) bool {
	return i.Kind == upgrade.ItemDrop || i.Kind == upgrade.ItemLeak
}

// headline is the upgrade in one sentence, and the class of its colour.
func headline(r *upgrade.Report) (class, text string) {
	switch {
	case r.Leaked():
		return "leak", fmt.Sprintf("Blocked traffic got out: attempts %d, leak-seconds %.2f", r.Leaks, r.LeakSeconds)
	case len(r.Faults) > 0:
		return "unsure", "It is not proven that nothing got out"
	case r.Failures > 0:
		return "drop", fmt.Sprintf("Nothing got out; allowed attempts failed: %d, drop-seconds %.2f", r.Failures, r.DropSeconds)
	}
	return "good", "Nothing got out, and nothing failed"
}

func facts(r *upgrade.Report) []fact {
	out := []fact{
		{"Istio", r.From + " → " + r.To},
		{"Strategy", r.Strategy},
		{"Requests", fmt.Sprint(r.Requests)},
		{"Failed", fmt.Sprintf("%d (%.2f s)", r.Failures, r.DropSeconds)},
		{"Leaked", fmt.Sprintf("%d (%.2f s)", r.Leaks, r.LeakSeconds)},
		{"Unknown", fmt.Sprint(r.Unknown)},
		{"Pace", time.Duration(r.Pace * float64(time.Second)).String()},
		{"Started", r.Started.UTC().Format("2006-01-02 15:04:05 UTC")},
		{"Took", fmt.Sprintf("%.1f s", r.Took)},
	}
	if r.Sabotage != "" {
		out = append(out, fact{"Sabotaged on purpose", r.Sabotage})
	}
	return out
}

// Sizes of the chart, in its own units.
const (
	chartLeft  = 110.0 // for the names of targets
	chartWidth = 1000.0
	chartRight = 14.0 // for half of the last second's text
	rowHeight  = 22.0
	headHeight = 34.0 // for the names of phases
	footHeight = 20.0 // for the seconds
	barHeight  = 14.0
	leastBar   = 2.0 // a short incident can be seen too
	ticks      = 8.0 // about so many
)

// chart is a drawing of the timeline: a column for each phase, a row for each target, a bar for each incident.
type chart struct {
	Width, Height   float64
	Rows            []row
	Phases          []box
	Bars            []box
	Events          []box
	Ticks           []box
	Foot, EventsTop float64
}

// row is a target's, at the height of its text.
type row struct {
	Name string
	Y    float64
}

// box is a part of the drawing, and the words that stand for it.
type box struct {
	X, Y, W float64
	Class   string
	Text    string
	Title   string
}

func chartOf(r *upgrade.Report) chart {
	c := chart{Width: chartLeft + chartWidth + chartRight}
	total := max(r.Took, 0.001)
	x := func(at float64) float64 {
		return round(chartLeft + chartWidth*min(1, max(0, at/total)))
	}
	at := map[string]float64{}
	for i, t := range r.Targets {
		at[t.Name] = headHeight + float64(i)*rowHeight
		c.Rows = append(c.Rows, row{t.Name, at[t.Name] + rowHeight/2})
	}
	c.EventsTop = headHeight + float64(len(r.Targets))*rowHeight
	c.Foot = c.EventsTop + rowHeight
	c.Height = c.Foot + footHeight
	for i, p := range r.Phases {
		c.Phases = append(c.Phases, box{X: x(p.From), W: round(x(p.To) - x(p.From)), Class: [...]string{"even", "odd"}[i%2], Text: p.Name, Title: fmt.Sprintf("phase %s, %.2f s to %.2f s", p.Name, p.From, p.To)})
	}
	for _, i := range r.Timeline {
		switch {
		case bad(i):
			y, known := at[i.Target]
			if !known { // a host of which no target is known
				y = c.EventsTop
			}
			c.Bars = append(c.Bars, box{
				X: x(i.At), Y: y + (rowHeight-barHeight)/2, W: max(leastBar, round(x(i.At+i.Seconds)-x(i.At))), Class: i.Kind,
				Title: fmt.Sprintf("%s at %s, %.2f s for %.2f s, %d attempts", i.Kind, i.Target, i.At, i.Seconds, i.Count),
			})
		case i.Kind == upgrade.ItemEvent:
			c.Events = append(c.Events, box{X: x(i.At), Y: c.EventsTop + rowHeight/2, Title: fmt.Sprintf("%.2f s: %s", i.At, i.What)})
		}
	}
	for s, step := 0.0, nice(total/ticks); s <= total; s += step {
		c.Ticks = append(c.Ticks, box{X: x(s), Text: fmt.Sprintf("%g s", round(s))})
	}
	return c
}

// nice is the next of 1, 2 and 5 times a power of ten.
func nice(f float64) float64 {
	ten := math.Pow(10, math.Floor(math.Log10(f)))
	for _, n := range []float64{1, 2, 5} {
		if f <= n*ten {
			return n * ten
		}
	}
	return 10 * ten
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
