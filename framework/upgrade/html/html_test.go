package html

import (
	"encoding/xml"
	"errors"
	"html"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/report/csp"
	"mesh-egress-conformance/framework/report/reporttest"
	"mesh-egress-conformance/framework/upgrade"
)

var start = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// seen is a report in which everything occurs, with what hosts and pods say in it.
func seen(words string) *upgrade.Report {
	r := upgrade.Record{
		From: "1.29", To: "1.31", Strategy: "revision", Sabotage: "open-policy", Pace: 250 * time.Millisecond,
		Targets: []upgrade.Target{{Name: "http", URL: "http://httpbin.org/headers"}, {Name: "held", Held: true}, {Name: "gw", Through: "gateway"}, {Name: "evil", Blocked: true}},
		Phases:  []upgrade.Phase{{Name: "before", From: at(0), To: at(4000), Versions: []upgrade.Version{{Pod: "a", Proxy: "1.29.1", Envoy: "1.37", Istiod: "1.29.1"}}}, {Name: "canary", From: at(4000), To: at(8000)}},
		Moments: []upgrade.Moment{{At: at(5000), What: words}},
	}
	add := func(target string, ms int, o upgrade.Outcome) {
		r.Samples = append(r.Samples, upgrade.Sample{Stream: upgrade.Stream{Pod: "a", Target: target}, Began: at(ms), Outcome: o, Seen: upgrade.Witnesses{Client: words, Sidecar: "200 - by " + words, Destination: "arrival 5"}})
	}
	for ms := 0; ms < 8000; ms += 250 {
		add("http", ms, upgrade.Fine)
		add("held", ms, upgrade.Fine)
		add("gw", ms, upgrade.Fine)
	}
	add("http", 1100, upgrade.Failed)
	for ms := 0; ms < 40_000; ms += 250 { // more than are shown
		add("evil", ms, upgrade.Leaked)
	}
	add("unheard.example", 5100, upgrade.Leaked)
	return upgrade.Of(r)
}

// The reports that are shown here are such as are written.
func TestReports(t *testing.T) {
	for _, words := range []string{"status 200", "\x1b\xff"} {
		b, err := seen(words).JSON()
		if err == nil {
			err = reporttest.ValidateUpgrade(b)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestPage(t *testing.T) {
	b, err := Render(seen("status 200"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{
		"Blocked traffic got out: attempts 32, leak-seconds 8.00", "Istio 1.29 to 1.31", "Sabotaged on purpose", "open-policy",
		`>before</text>`, `<title>phase canary, 4.00 s to 8.00 s</title>`, `<title>drop at http, 1.10 s for 0.15 s, 1 attempts</title>`, "5.00 s: status 200",
		`<b class="leak">leak</b> at evil, 0.00 s, for 40.00 s: 160 attempts of a`, "The first 100 of 160 are shown.",
		`<td class="n">1.100</td><td>a</td><td>status 200</td><td>200 - by status 200</td><td>arrival 5</td>`,
		"allowed through gateway alone", "one connection that is held", "1.29.1", ">unheard.example for",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	for what, is := range map[string]string{"a script": `<script`, "another file": `(src|href)="[^#d"]`, "a style of its own": `style="`} {
		if m := regexp.MustCompile(is).FindString(page); m != "" {
			t.Errorf("the page has %s: %s", what, m)
		}
	}
	// The policy knows the style as it stands in the page, and allows no script.
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	meta := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if len(style) != 2 || len(meta) != 2 || html.UnescapeString(meta[1]) != csp.SelfContained(style[1], "") {
		t.Errorf("its policy is %q", meta)
	}
}

// A report of the first egressctl that upgraded has no moments; what it has of an incident is shown.
func TestPageOfAnOlderReport(t *testing.T) {
	for file, want := range map[string]string{
		"v1-first.json": `<p>The first attempt: a saw it</p><p class="soft">The egressctl that made this report noted no others.</p>`,
		"v1-last.json":  `<td class="n">0.250</td><td>a</td><td>a saw it</td>`,
	} {
		r, err := upgrade.Read("../testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Render(r)
		if page := string(b); err != nil || !strings.Contains(page, want) || strings.Contains(page, "The first 0 of") || strings.Count(page, "noted no others") != 2*strings.Count(file, "first") {
			t.Errorf("%s: %v\n%s", file, err, page)
		}
	}
}

// Every row and bar of the drawing lies within it, and its elements are well formed.
func TestChart(t *testing.T) {
	r := seen("x")
	c := chartOf(r)
	if len(c.Rows) != 4 || len(c.Phases) != 2 || len(c.Bars) != 3 || len(c.Events) != 1 || len(c.Ticks) != 9 {
		t.Errorf("%+v", c)
	}
	for _, b := range append(append(c.Bars, c.Events...), c.Phases...) {
		if b.X < chartLeft || b.X+b.W > c.Width+leastBar || b.Y > c.Foot {
			t.Errorf("outside of %g × %g: %+v", c.Width, c.Height, b)
		}
	}
	page, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	svg := regexp.MustCompile(`(?s)<svg.*</svg>`).FindString(string(page))
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for f, want := range map[float64]float64{0.7: 1, 1: 1, 1.1: 2, 12: 20, 34: 50, 70: 100} {
		if got := nice(f); got != want {
			t.Errorf("%g for %g, not %g", got, f, want)
		}
	}
}

func TestHeadlines(t *testing.T) {
	for want, r := range map[string]upgrade.Report{
		"good Nothing got out, and nothing failed":                            {},
		"drop Nothing got out; allowed attempts failed: 2, drop-seconds 0.50": {Failures: 2, DropSeconds: 0.5},
		"unsure It is not proven that nothing got out":                        {Failures: 2, Faults: []string{"x"}},
		"leak Blocked traffic got out: attempts 1, leak-seconds 0.25":         {Leaks: 1, LeakSeconds: 0.25, Faults: []string{"x"}},
	} {
		class, text := headline(&r)
		if class+" "+text != want {
			t.Errorf("%s %s, not %s", class, text, want)
		}
		if b, err := Render(&r); err != nil || !strings.Contains(string(b), text) {
			t.Errorf("%v", err)
		}
	}
}

// What hosts say does not become part of the page.
func TestEscapes(t *testing.T) {
	b, err := Render(seen("<img src=x>\x1b[31m\u202e</title></svg>"))
	if err != nil {
		t.Fatal(err)
	}
	if page := string(b); strings.Contains(page, "<img") || strings.ContainsAny(page, "\x1b\u202e") || strings.Count(page, "</svg>") != 1 || !strings.Contains(page, `&lt;img src=x&gt;\x1b[31m\u202e`) {
		t.Error(page)
	}
}
