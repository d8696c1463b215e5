//go:build browser

// These tests open the page in a real Chromium: package browsertest.
package html

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/browsertest"
)

func write(t *testing.T, c *compare.Comparison) (url string) {
	t.Helper()
	b, err := Render(c)
	if err != nil {
		t.Fatal(err)
	}
	return browsertest.Write(t, File, b)
}

const shown = `[...document.querySelectorAll("tbody.case")].filter(b => b.checkVisibility()).length`

// chip is a step that clicks on a class of changes.
func chip(class compare.Class) browsertest.Step {
	return chromedp.Click(chromedp.CSS(`.chip.k-` + string(class) + ` span`))
}

func TestBrowser(t *testing.T) {
	chromium := browsertest.Start(t)
	url, long := write(t, all(t)), write(t, many(t, 60, 3, 10))

	t.Run("filters", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		if n := browsertest.JS[int](t, w, shown); n != 11 {
			t.Fatalf("%d cases are shown", n)
		}
		left := func(what string, n int) {
			t.Helper()
			w.Until(t, fmt.Sprintf("%s === %d", shown, n))
			if said, want := browsertest.JS[string](t, w, `document.getElementById("f-count").textContent`), fmt.Sprintf("%d of 11 cases", n); said != want {
				t.Errorf("%s: it says %q, want %q", what, said, want)
			}
			if areas := browsertest.JS[int](t, w, `[...document.querySelectorAll(".area")].filter(a => a.checkVisibility() && !a.querySelector("tbody:not([hidden])")).length`); areas > 0 {
				t.Errorf("%s: %d empty areas are shown", what, areas)
			}
		}
		reset := func() {
			w.Do(t, chromedp.Click(chromedp.CSS("#filter button[type=reset]")))
			w.Until(t, shown+" === 11")
		}
		for _, c := range []struct {
			what, id, value string
			n               int
		}{
			{"area", "f-area", "dns", 2}, {"another area", "f-area", "http", 5}, {"verdict", "f-verdict", "violates", 3}, {"a verdict of one", "f-verdict", "skipped", 1}, {"no such case", "f-verdict", "-", 8},
			{"text of a claim", "f-text", "host, as tls-other", 1}, {"an outcome and a name", "f-text", "reset tls", 1}, {"a source", "f-text", "releasenotes/notes/1", 1}, {"nothing", "f-text", "zebra", 0},
		} {
			w.Set(t, c.id, c.value)
			left(c.what, c.n)
			reset()
		}
		w.Do(t, chip(compare.Regression))
		left("regressions", 1)
		w.Do(t, chip(compare.Explained))
		left("regressions and known changes", 2)
		w.Set(t, "f-area", "tls")
		left("known changes of an area", 1)
		reset()
		w.Do(t, chromedp.Click(chromedp.CSS(`label:has(> #f-only) span`)))
		left("only what changed", 8+1)
		w.Set(t, "f-verdict", "skipped")
		left("nothing that changed", 0)
		reset()
	})

	t.Run("many cases begin with what has changed", func(t *testing.T) {
		w := browsertest.Open(t, chromium, long)
		w.Until(t, shown+" === 10")
		w.Do(t, chromedp.Click(chromedp.CSS("#filter button[type=reset]")))
		w.Until(t, shown+" === 60")
	})

	t.Run("a row by keyboard", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		const row = `document.querySelector('tbody[data-name="http-worse"]')`
		w.Do(t, chromedp.Focus(chromedp.CSS(`tbody[data-name="http-worse"] summary`)), chromedp.KeyEvent(kb.Enter))
		w.Until(t, row+`.querySelector("details").open`)
		text := browsertest.JS[string](t, w, row+".innerText")
		for _, want := range []string{"regression 1.29 → 1.31", "because of http-worse", "client → http://httpbin.org/http-worse", "applied", "blocked (502)", "wanted allowed"} {
			if !strings.Contains(text, want) {
				t.Errorf("the row lacks %q in\n%s", want, text)
			}
		}
		w.Do(t, chromedp.KeyEvent(kb.Enter))
		w.Until(t, "!"+row+`.querySelector("details").open`)
		for _, id := range []string{"f-text", "f-area", "f-verdict", "f-only"} { // one after another with the Tab key
			w.Do(t, chromedp.Focus(chromedp.CSS("#"+id)), chromedp.KeyEvent(kb.Tab))
			if browsertest.JS[string](t, w, `document.activeElement.id || document.activeElement.name`) == id {
				t.Errorf("the focus stays at %s", id)
			}
		}
		w.Do(t, chromedp.Focus(chromedp.CSS(`#f-only`)), chromedp.KeyEvent(" "))
		w.Until(t, shown+" === 9")
	})

	t.Run("a link opens its case", func(t *testing.T) {
		w := browsertest.Open(t, chromium, long+"#case=case-0059") // which has not changed, and is not shown at first
		w.Until(t, `document.querySelector('tbody[data-name="case-0059"]').checkVisibility()`)
		w = browsertest.Open(t, chromium, url+"#case=tls-other")
		w.Until(t, `document.querySelector('tbody[data-name="tls-other"] details').open`)
	})

	t.Run("for a screen reader", func(t *testing.T) {
		for _, width := range []int{browsertest.Desktop, browsertest.Phone} {
			w := browsertest.Open(t, chromium, url, chromedp.EmulateViewport(int64(width), 900))
			w.Do(t, chromedp.Evaluate[chromedp.Void](`{
				document.querySelectorAll("details").forEach((d) => { d.open = true; });
				document.querySelectorAll(".area").forEach((a) => { a.style.contentVisibility = "visible"; }); // as when a reader has come there
			}`))
			w.HasNames(t, map[string]int{"table": 10, "rowheader": 11, "cell": 44, "columnheader": 5, "heading": 7, "main": 1, "banner": 1, "navigation": 1, "search": 1, "status": 1, "checkbox": 9})
			w.Fits(t, width)
		}
	})

	t.Run("dark", func(t *testing.T) {
		browsertest.Open(t, chromium, url, browsertest.Scheme("dark")).Dark(t)
	})

	t.Run("print", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		w.Prints(t, 10_000)
		if n := browsertest.JS[int](t, w, shown); n != 11 {
			t.Errorf("%d cases are printed", n)
		}
	})
}

// many is a comparison of n cases in twenty areas and so many columns. The first ones change in every other column.
func many(t testing.TB, n, columns, changed int) *compare.Comparison {
	t.Helper()
	var all []*compare.Column
	for k := range columns {
		cases := make([]egress.Result, n)
		for i := range cases {
			v, got := conforms, ok
			if i < changed && k%2 == 1 {
				v, got = []egress.Verdict{violates, conforms, egress.Inconclusive}[i%3], b502
			}
			cases[i] = result(fmt.Sprintf("case-%04d", i), fmt.Sprintf("area-%02d", i%20), v, ok, got, ok)
		}
		c := column(t, fmt.Sprintf("1.%d", 27+k), cases...)
		c.Page = c.Name + "/report.html"
		all = append(all, c)
	}
	return compared(t, nil, all...)
}

// loadMax is what a thousand cases of five versions may take until the page has been used for the first time.
const loadMax = time.Second

func TestLoad(t *testing.T) {
	chromium := browsertest.Start(t)
	for _, changed := range []int{0, 100, 1000} {
		url := write(t, many(t, 1000, 5, changed))
		load, filtered := browsertest.Load(t, chromium, url, "case-0042", 1, loadMax)
		st, err := os.Stat(strings.TrimPrefix(url, "file://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("1000 cases × 5 versions, %d changed, %.1f MB: loaded in %s, filtered in %s", changed, float64(st.Size())/1e6, load.Round(time.Millisecond), filtered.Round(time.Millisecond))
		if load+filtered > loadMax {
			t.Errorf("1000 cases × 5 versions, %d changed, need %s and %s until they are filtered, more than %s", changed, load, filtered, loadMax)
		}
	}
}

// TestScreenshots keeps pictures of COMPARISON, a comparison.json, where that is given, else of a small one.
func TestScreenshots(t *testing.T) {
	c := all(t)
	if file := os.Getenv("COMPARISON"); file != "" {
		var err error
		if c, err = compare.ReadComparison(file); err != nil {
			t.Fatal(err)
		}
	}
	browsertest.Screenshots(t, browsertest.Start(t), "comparison", write(t, c), browsertest.View{Fits: true},
		browsertest.View{Suffix: "-open", Hash: "#case=" + c.Changes[0].Names()[0], Before: `document.querySelector(".more details[open]")`, Fits: true})
}
