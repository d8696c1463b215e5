package html

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/reporttest"
)

// result is a case with one probe, which wants an outcome in every phase, and what it came to in each.
func result(name, area string, v egress.Verdict, got ...egress.Outcome) egress.Result {
	want := egress.OK
	if v == egress.Conforms && len(got) > 0 {
		want = egress.OK | egress.B502 | egress.BRST
	}
	probe := egress.GET("client", "http://httpbin.org/"+name).Want(egress.OK|egress.B502|egress.BRST, egress.OK|egress.B502|egress.BRST, egress.OK|egress.B502|egress.BRST)
	c := egress.Case{Name: name, Area: area, Claim: "a ServiceEntry opens its host, as " + name + " claims", Source: "a document", Probes: []egress.Probe{probe}}
	r := egress.Result{Case: c, Verdict: v}
	if v != egress.Conforms {
		r.Why = "because of " + name
	}
	for i, g := range got {
		r.Phases = append(r.Phases, egress.PhaseResult{Phase: egress.Phases()[i], Probes: []egress.ProbeResult{{Probe: probe.String(), Want: want, Got: g, Verdict: v}}})
	}
	return r
}

func column(t testing.TB, version string, results ...egress.Result) *compare.Column {
	t.Helper()
	c, err := compare.Of(version, report.New(report.Environment{Istio: version, Envoy: "1.39.3", Provider: "embedded"}, time.Now(), results))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func compared(t testing.TB, known []compare.Known, columns ...*compare.Column) *compare.Comparison {
	t.Helper()
	c, err := compare.Run(columns, known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	ok       = egress.OK
	b502     = egress.B502
	conforms = egress.Conforms
	violates = egress.Violates
)

// all is a comparison in which every class occurs, of four columns, one of which has no run.
func all(t testing.TB) *compare.Comparison {
	t.Helper()
	known := []compare.Known{
		{Since: "1.31", Cases: []string{"tls-known"}, What: "it is announced", Source: "releasenotes/notes/1.yaml", Issue: "58244", From: "OK", To: "B502"},
		{Since: "1.31", Cases: []string{"http-same"}, What: "nobody saw it", Source: "releasenotes/notes/2.yaml"},
	}
	a := column(t, "1.29",
		result("http-same", "http", conforms, ok, ok), result("http-worse", "http", conforms, ok, ok), result("http-better", "http", violates, b502), result("http-gone", "http", conforms, ok),
		result("tls-known", "tls", conforms, ok), result("tls-other", "tls", conforms, ok, ok), result("dns-open", "dns", conforms, ok), result("dns-changed", "dns", conforms, ok), result("quiet-same", "quiet", conforms, ok),
		result("quiet-idle", "quiet", egress.Skipped))
	b := column(t, "1.31",
		result("http-same", "http", conforms, ok, ok), result("http-worse", "http", violates, ok, b502), result("http-better", "http", conforms, ok), result("http-new", "http", conforms, ok),
		result("tls-known", "tls", conforms, b502), result("tls-other", "tls", conforms, b502, egress.BRST), result("dns-open", "dns", egress.Inconclusive, 0), result("dns-changed", "dns", conforms, ok), result("quiet-same", "quiet", conforms, ok),
		result("quiet-idle", "quiet", egress.Skipped))
	b.Faults, b.Page = []string{"clean-up: a namespace stayed"}, "1.31/report.html"
	c := result("dns-changed", "dns", violates, b502)
	c.Case.Probes[0].URL = "http://other.example/"
	last := column(t, "1.32", result("http-same", "http", conforms, ok, ok), result("http-worse", "http", violates, ok, b502), c)
	return compared(t, known, a, compare.NoRun("1.30", errors.New("no such image")), b, last)
}

// rendered is a rendered comparison, parsed.
type rendered struct {
	text string
	root *html.Node
}

func render(t *testing.T, c *compare.Comparison) rendered {
	t.Helper()
	b, err := Render(c)
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return rendered{string(b), root}
}

func TestGridHasEveryCell(t *testing.T) {
	c := all(t)
	p := render(t, c)
	bodies := reporttest.Elements(p.root, "tbody", "case")
	if len(bodies) != len(c.Cases) {
		t.Errorf("%d cases of %d", len(bodies), len(c.Cases))
	}
	got := map[string]string{}
	for _, b := range bodies {
		var cells []string
		for i, td := range reporttest.Elements(b, "td", "cell") {
			if reporttest.Attr(td, "data-h") != c.Columns[i].Name {
				t.Errorf("%s: a cell of %s in the place of %s", reporttest.Attr(b, "data-name"), reporttest.Attr(td, "data-h"), c.Columns[i].Name)
			}
			cells = append(cells, reporttest.Text(td))
		}
		got[reporttest.Attr(b, "data-name")] = strings.Join(cells, " | ")
	}
	for _, r := range c.Rows() {
		for i, v := range r.Verdicts {
			if cells := strings.Split(got[r.Name], " | "); len(cells) != 4 || !strings.Contains(cells[i], v) && v != compare.NoCase {
				t.Errorf("%s: %q has no verdict %s at %d", r.Name, got[r.Name], v, i)
			}
		}
	}
	for name, want := range map[string]string{
		"http-same":   "✓ conforms | – no run | ✓ conforms | ✓ conforms",
		"http-worse":  "✓ conforms | – no run | ✗ violatesregressionapplied: allowed → blocked (502) | ✗ violates",
		"http-better": "✗ violates | – no run | ✓ conformsfixedbefore: blocked (502) → allowed | –no such casegone",
		"http-new":    "–no such case | – no run | ✓ conformsnew | –no such casegone",
		"tls-known":   "✓ conforms | – no run | ✓ conformsknownbefore: allowed → blocked (502) | –no such casegone",
		"tls-other":   "✓ conforms | – no run | ✓ conformsbehaviour-changedbefore: allowed → blocked (502), and 1 more | –no such casegone",
		"dns-open":    "✓ conforms | – no run | ? inconclusiveunprovenbefore: allowed → nothing proven | –no such casegone",
		"quiet-idle":  "– skipped | – no run | – skipped | –no such case",
	} {
		if got[name] != want {
			t.Errorf("%s:\n%s, want\n%s", name, got[name], want)
		}
	}
	for _, h := range reporttest.Elements(p.root, "th", "") {
		if reporttest.Attr(h, "scope") == "" {
			t.Errorf("a header without scope: %s", reporttest.Text(h))
		}
	}
	main := reporttest.Text(reporttest.Elements(p.root, "main", "")[0])
	for _, want := range []string{
		"1.30: NO RUN: no such image", "no run: no such image", "1.31: FAULT: clean-up: a namespace stayed", // a column that failed says so
		"known (behaviour-changed) 1.29 → 1.31: it is announced", "releasenotes/notes/1.yaml, issue 58244", "because of http-worse", "the case itself changed", "nobody saw it", "releasenotes/notes/2.yaml",
	} {
		if !strings.Contains(main, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// What differs is in the row that opens: phase, attempt, and the outcomes of all columns.
func TestWhatDiffers(t *testing.T) {
	p := render(t, all(t))
	if !strings.Contains(p.text, `<td class="mono">client → http://httpbin.org/tls-other</td><td>blocked or allowed</td><td>allowed</td><td>–</td><td>blocked (502)</td>`) {
		t.Error("what all versions wanted is not said once")
	}
	for _, b := range reporttest.Elements(p.root, "tbody", "case") {
		name, open := reporttest.Attr(b, "data-name"), reporttest.Elements(b, "details", "")
		if quiet := strings.HasSuffix(name, "same") || name == "quiet-idle"; quiet != (len(open) == 0) && name != "quiet-same" {
			t.Errorf("%s has %d parts that open", name, len(open))
		}
		if name != "http-worse" {
			continue
		}
		var rows []string
		for _, tr := range reporttest.Elements(reporttest.Elements(b, "table", "attempts")[0], "tr", "") {
			var cells []string
			for c := range tr.ChildNodes() {
				if c.Type == html.ElementNode {
					cells = append(cells, reporttest.Text(c))
				}
			}
			rows = append(rows, strings.Join(cells, " | "))
		}
		if want := []string{
			"Phase | Attempt | Wanted | 1.29 | 1.30 | 1.31 | 1.32",
			"before | client → http://httpbin.org/http-worse | by version | allowedwanted blocked or allowed | – | allowedwanted allowed | allowedwanted allowed",
			"applied | client → http://httpbin.org/http-worse | by version | allowedwanted blocked or allowed | – | blocked (502)wanted allowed | blocked (502)wanted allowed",
		}; !slices.Equal(rows, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
		}
	}
}

// The worst comes first: areas, and the cases of each.
func TestOrder(t *testing.T) {
	var got []string
	for _, b := range reporttest.Elements(render(t, all(t)).root, "tbody", "case") {
		got = append(got, reporttest.Attr(b, "data-name"))
	}
	if want := []string{"http-worse", "http-better", "http-gone", "http-new", "http-same", "dns-open", "dns-changed", "tls-other", "tls-known", "quiet-same", "quiet-idle"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHeadlines(t *testing.T) {
	one := func(v egress.Verdict, got egress.Outcome) egress.Result { return result("a", "x", v, got) }
	faulty := column(t, "1.31", one(conforms, ok))
	faulty.Faults = []string{"x"}
	known := []compare.Known{{Since: "1.31", Cases: []string{"a"}, What: "w", Source: "s", From: "OK", To: "B502"}}
	for _, x := range []struct {
		c                  *compare.Comparison
		class, text, exits string
	}{
		{compared(t, nil, column(t, "1.30", one(conforms, ok)), column(t, "1.31", one(violates, b502))), "violates", "1 regression that nobody has explained", "Exit status 1: there is a regression that nobody has explained."},
		{compared(t, nil, column(t, "1.30", one(conforms, ok)), column(t, "1.31", one(egress.Inconclusive, 0))), "inconclusive", "No regression was seen, and not everything is proven", "Exit status 2: something is not proven, a run is missing, or a run had faults."},
		{compared(t, nil, column(t, "1.30", one(conforms, ok)), faulty), "inconclusive", "No regression was seen, and not everything is proven", "Exit status 2: something is not proven, a run is missing, or a run had faults."},
		{compared(t, nil, column(t, "1.30", one(violates, b502)), column(t, "1.31", one(conforms, ok))), "conforms", "No regression; 1 other change that nobody has explained", "Exit status 0: no regression, and all runs are there. With --strict it is 1: there are changes that nobody has explained."},
		{compared(t, known, column(t, "1.30", one(conforms, ok)), column(t, "1.31", one(conforms, b502))), "conforms", "No regression; each change is explained", "Exit status 0: no regression, and all runs are there. With --strict it is 0 too: each change is explained."},
		{compared(t, nil, column(t, "1.30", one(conforms, ok)), column(t, "1.31", one(conforms, ok))), "conforms", "Nothing has changed", "Exit status 0: no regression, and all runs are there. With --strict it is 0 too: each change is explained."},
	} {
		p := render(t, x.c)
		h := reporttest.Elements(p.root, "h1", "")[0]
		if reporttest.Text(h) != x.text || reporttest.Attr(h, "class") != "v-"+x.class || reporttest.Text(reporttest.Elements(p.root, "p", "exit")[0]) != x.exits {
			t.Errorf("%s %q, %q; want %s %q, %q", reporttest.Attr(h, "class"), reporttest.Text(h), reporttest.Text(reporttest.Elements(p.root, "p", "exit")[0]), x.class, x.text, x.exits)
		}
	}
}

// The file holds everything that it shows, links to nothing but itself and the pages of its runs beside it, and its policy
// forbids it to ask for more.
func TestNothingIsAskedOfAnyNetwork(t *testing.T) {
	c := all(t)
	c.Columns[0].Page, c.Columns[3].Page = "javascript:alert(1)//x.html", "//evil.example/x.html"
	p := render(t, c)
	beside := 0
	for n := range p.root.Descendants() {
		for _, a := range n.Attr {
			switch a.Key {
			case "src", "srcset", "action", "formaction", "data", "poster", "background", "style", "onclick":
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			case "href":
				switch {
				case strings.HasPrefix(a.Val, "./1.31/report.html"):
					beside++
				case strings.HasPrefix(a.Val, "./javascript:alert%281%29/x.html"): // a file of that name
				case !strings.HasPrefix(a.Val, "#") && a.Val != "data:,":
					t.Errorf("<%s href=%q>", n.Data, a.Val)
				}
			}
		}
	}
	if beside != 11 { // of the run, and of each case that it has
		t.Errorf("%d links to the page of 1.31", beside)
	}
	var csp string
	for _, m := range reporttest.Elements(p.root, "meta", "") {
		if reporttest.Attr(m, "http-equiv") == "Content-Security-Policy" {
			csp = reporttest.Attr(m, "content")
		}
	}
	if !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "connect-src") {
		t.Error(csp)
	}
	if strings.Contains(pageCSS, "url(") || strings.Contains(pageCSS, "@import") {
		t.Error("the style asks for something")
	}
	for _, s := range append(reporttest.Elements(p.root, "style", ""), reporttest.Elements(p.root, "script", "")...) {
		sum := sha256.Sum256([]byte(reporttest.Text(s)))
		if !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) {
			t.Errorf("the policy has no digest of <%s>", s.Data)
		}
	}
}

// Whatever a text of the comparison is, it stays text: nothing of it becomes an element, and nothing hides itself.
func TestTextsStayTexts(t *testing.T) {
	const bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`--><!--\x1b[31m\u202e\x00"
	spoil := func(t *testing.T, bad string) *compare.Comparison {
		c := all(t)
		for i, col := range c.Columns {
			name := fmt.Sprint(i, bad)
			for k := range c.Changes {
				x := &c.Changes[k]
				if x.From == col.Name {
					x.From = name
				}
				if x.To == col.Name {
					x.To = name
				}
				x.What, x.Source, x.Issue, x.Why = bad, bad, bad, bad
				for n := range x.Parts {
					x.Parts[n].What, x.Parts[n].Probe, x.Parts[n].From = bad, bad, bad
				}
			}
			col.Name, col.Page = name, bad+"/x.html"
			col.Faults, col.Environment.Istio, col.Environment.Provider, col.Environment.Sabotage = []string{bad}, bad, bad, bad
			for k := range col.Cases {
				x := &col.Cases[k]
				x.Area, x.Claim, x.Why = x.Area+bad, bad, bad
				for n := range x.Phases {
					x.Phases[n].Probes[0].Probe = bad
				}
			}
		}
		c.Columns[1].Failed = bad
		c.Unseen[0].What, c.Unseen[0].Source, c.Unseen[0].Cases = bad, bad, []string{bad}
		return c
	}
	plain, p := render(t, spoil(t, "x")), render(t, spoil(t, bad))
	for _, tag := range []string{"script", "img", "style", "button", "table", "td", "a", "details"} {
		if got, want := len(reporttest.Elements(p.root, tag, "")), len(reporttest.Elements(plain.root, tag, "")); got != want || tag != "img" && want == 0 {
			t.Errorf("%d <%s>, without the hostile texts %d", got, tag, want)
		}
	}
	if i := strings.IndexFunc(p.text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
		t.Errorf("the page has %q", p.text[i:i+4])
	}
	if text := reporttest.Text(reporttest.Elements(p.root, "main", "")[0]); !strings.Contains(text, `<img src=x onerror=alert(2)>"'`+"`"+`--><!--\x1b[31m\u202e\x00`) {
		t.Error("the texts are lost")
	}
}

// Where there is much, what has changed is shown first, unless that is nothing.
func TestOnlyWhatChanged(t *testing.T) {
	for _, x := range []struct {
		cases, changed int
		want           bool
	}{{manyCases, 1, false}, {manyCases + 1, 1, true}, {manyCases + 1, 0, false}} {
		var a, b []egress.Result
		for i := range x.cases {
			name := fmt.Sprintf("case-%03d", i)
			a = append(a, result(name, "x", conforms, ok))
			if i < x.changed {
				b = append(b, result(name, "x", violates, b502))
			} else {
				b = append(b, result(name, "x", conforms, ok))
			}
		}
		p := render(t, compared(t, nil, column(t, "1.30", a...), column(t, "1.31", b...)))
		if got := strings.Contains(p.text, `id="f-only" data-first`); got != x.want {
			t.Errorf("%d of %d cases have changed: only they are shown: %t", x.changed, x.cases, got)
		}
	}
}

// Every class has a meaning, a colour, and a filter.
func TestClasses(t *testing.T) {
	p := render(t, all(t))
	for _, class := range compare.Classes() {
		if meanings[class] == "" || !strings.Contains(ownCSS, ".k-"+string(class)) {
			t.Errorf("%s has no meaning, or no colour", class)
		}
		if !slices.ContainsFunc(reporttest.Elements(p.root, "input", ""), func(n *html.Node) bool {
			return reporttest.Attr(n, "value") == string(class) && !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "disabled" })
		}) {
			t.Errorf("%s has no filter that can be chosen", class)
		}
	}
}
