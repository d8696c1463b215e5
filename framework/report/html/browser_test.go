//go:build browser

// These tests open the page in a real Chromium: package browsertest.
package html

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/browsertest"
)

// write renders a report into a file.
func write(t *testing.T, r *report.Report) (url string) {
	t.Helper()
	b, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return browsertest.Write(t, "report.html", b)
}

const shown = `[...document.querySelectorAll(".area tbody")].filter(b => b.checkVisibility()).length`

func TestBrowser(t *testing.T) {
	chromium := browsertest.Start(t)
	url, long := write(t, all()), write(t, many(200))

	t.Run("filters", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		if n := browsertest.JS[int](t, w, shown); n != 6 {
			t.Fatalf("%d cases are shown", n)
		}
		reset := func() {
			w.Do(t, chromedp.Click(chromedp.CSS("#filter button[type=reset]")))
			w.Until(t, shown+" === 6")
		}
		for _, c := range []struct {
			what, id, value string
			n               int
		}{
			{"area", "f-area", "http", 3}, {"label", "f-label", "smoke", 5}, {"another label", "f-label", "nightly", 1}, {"text of a claim", "f-text", "host, as DNS-good", 1},
			{"an outcome", "f-text", "passthrough http-bad", 1}, {"nothing", "f-text", "no such thing", 0},
		} {
			w.Set(t, c.id, c.value)
			w.Until(t, fmt.Sprintf("%s === %d", shown, c.n))
			said := browsertest.JS[string](t, w, `document.getElementById("f-count").textContent`)
			if want := fmt.Sprintf("%d of 6 cases", c.n); c.n < 6 && said != want {
				t.Errorf("%s: it says %q, want %q", c.what, said, want)
			}
			if areas := browsertest.JS[int](t, w, `[...document.querySelectorAll(".area")].filter(a => a.checkVisibility() && !a.querySelector("tbody:not([hidden])")).length`); areas > 0 {
				t.Errorf("%s: %d empty areas are shown", c.what, areas)
			}
			reset()
		}
		w.Do(t, chromedp.Click(chromedp.CSS(`.chip.v-violates span`)))
		w.Until(t, shown+" === 1")
		w.Do(t, chromedp.Click(chromedp.CSS(`.chip.v-inconclusive span`)))
		w.Until(t, shown+" === 2")
		w.Do(t, chromedp.SendKeys(chromedp.CSS("#f-text"), "tls"))
		w.Until(t, shown+" === 1")
		reset()
	})

	t.Run("witnesses by keyboard", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		w.Do(t, chromedp.Focus(chromedp.CSS(`button[data-c="1"][data-ph="applied"][data-p="0"]`)), chromedp.KeyEvent(kb.Enter))
		w.Until(t, `document.querySelector("#witness").open`)
		text := browsertest.JS[string](t, w, `document.querySelector("#witness").innerText`)
		for _, want := range []string{
			"http-bad", "allowed, unregistered (passthrough)", "curl http://httpbin.org/", "10.244.0.18:19557 → 198.51.100.10:80", "outbound|80||istio-egressgateway",
			"the proxy's own end of that connection", "DelayInjected: delayed, as a fault injection orders", "DownstreamConnectionTermination", "via_upstream", "the upstream answered", "istio-system/gateway",
			"host that owns the address", "1 arrivals of other attempts", "Control client",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the witnesses lack %q", want)
			}
		}
		if got := browsertest.JS[string](t, w, `[...document.querySelectorAll(".path .role")].map(n => n.firstChild.data).join(" → ")`); got != "client → sidecar → gateway → destination" {
			t.Errorf("the path is %s", got)
		}
		if got := browsertest.JS[string](t, w, `location.hash`); got != "#case=http-bad&phase=applied&probe=0" {
			t.Error(got)
		}
		w.Do(t, chromedp.KeyEvent(kb.ArrowRight))
		w.Until(t, `document.querySelector(".tabs [aria-pressed=true]").textContent.includes("removed")`)
		if text := browsertest.JS[string](t, w, `document.querySelector("#witness").innerText`); !strings.Contains(text, "block_all") || !strings.Contains(text, "Nothing of it arrived") || !strings.Contains(text, "ended here") {
			t.Errorf("phase removed: %s", text)
		}
		if !browsertest.JS[bool](t, w, `document.querySelector("#witness").contains(document.activeElement)`) {
			t.Error("the focus left the dialog")
		}
		w.Do(t, chromedp.KeyEvent(kb.Escape))
		w.Until(t, `!document.querySelector("#witness").open && location.hash === ""`) // the event that clears the address comes later
		if got := browsertest.JS[string](t, w, `document.activeElement.dataset.ph`); got != "applied" {
			t.Errorf("after it was closed, the focus is at %q", got)
		}
		w.Do(t, chromedp.Click(chromedp.CSS(`th .name[data-c="1"]`)))
		w.Until(t, `document.querySelector("#witness").open && document.querySelector("#witness").innerText.includes("egressctl run --case http-bad")`)
	})

	t.Run("links within the page", func(t *testing.T) {
		w := browsertest.Open(t, chromium, long)
		for _, id := range []string{"time", "area-area-19", "environment", "area-area-03"} {
			w.Do(t, chromedp.Click(chromedp.CSS(`a[href="#`+id+`"]`)))
			w.Until(t, fmt.Sprintf(`Math.abs(document.getElementById(%q).getBoundingClientRect().top - innerHeight / 2) <= innerHeight / 2 + 2`, id)) // the top may be at the edge, or a pixel beyond
		}
	})

	t.Run("a link opens its cell", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url+"#case=dns-good&phase=before&probe=1")
		w.Until(t, `document.querySelector("#witness").open && document.querySelector("#witness-title").textContent === "dns-good"`)
	})

	t.Run("for a screen reader", func(t *testing.T) {
		for _, width := range []int{browsertest.Desktop, browsertest.Phone} {
			w := browsertest.Open(t, chromium, url, chromedp.EmulateViewport(int64(width), 900))
			w.HasNames(t, map[string]int{"table": 5, "rowheader": 6, "cell": 24, "heading": 6, "main": 1, "banner": 1, "navigation": 1, "search": 1, "status": 1})
			w.Fits(t, width)
		}
	})

	t.Run("print", func(t *testing.T) {
		w := browsertest.Open(t, chromium, url)
		w.Prints(t, 10_000)
		if n := browsertest.JS[int](t, w, shown); n != 6 {
			t.Errorf("%d cases are printed", n)
		}
	})
}

// What the policy is for: a page that was changed to ask for something gets nothing.
func TestPolicyForbidsRequests(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path) }))
	defer server.Close()
	b, err := Render(all())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(b), "<main>", `<main><img src="`+server.URL+`/img"><script>fetch("`+server.URL+`/fetch")</script><link rel="stylesheet" href="`+server.URL+`/css">`, 1)
	file := filepath.Join(t.TempDir(), "changed.html")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := chromedp.NewContext(browsertest.Start(t))
	defer stop()
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file), chromedp.WaitReady(chromedp.CSS("#f-count"))); err != nil {
		t.Fatal(err)
	}
	ask := fmt.Sprintf(`fetch(%q).then(() => "answered", () => "refused")`, server.URL+"/late")
	refused, err := chromedp.Run(ctx, chromedp.Evaluate[string](ask, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if refused != "refused" || len(asked) > 0 {
		t.Errorf("%v; the server was asked for %v", refused, asked)
	}
}

// many is a report of n cases in twenty areas, some of which do not conform.
func many(n int) *report.Report {
	cases := make([]egress.Result, n)
	for i := range cases {
		v := egress.Conforms
		switch {
		case i%97 == 0:
			v = egress.Violates
		case i%50 == 0:
			v = egress.Skipped
		}
		cases[i] = ran(fmt.Sprintf("case-%04d", i), fmt.Sprintf("area-%02d", i%20), v)
	}
	return run(cases...)
}

// loadMax is what a thousand cases may take until the page has been used for the first time.
const loadMax = time.Second

// TestLoad measures what browsertest.Load does. Five versions bring five times the witnesses for the same rows.
func TestLoad(t *testing.T) {
	chromium := browsertest.Start(t)
	for _, c := range []struct {
		what string
		r    *report.Report
		most time.Duration // 0 for no limit
	}{{"1000 cases", many(1000), loadMax}, {"1000 cases with five times the witnesses", fivefold(many(1000)), loadMax}, {"5000 cases", many(5000), 0}} {
		url := write(t, c.r)
		load, filtered := browsertest.Load(t, chromium, url, "case-0123", 1, c.most)
		st, err := os.Stat(strings.TrimPrefix(url, "file://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %.1f MB: loaded in %s, filtered in %s", c.what, float64(st.Size())/1e6, load.Round(time.Millisecond), filtered.Round(time.Millisecond))
		if c.most > 0 && load+filtered > c.most {
			t.Errorf("%s need %s and %s until they are filtered, more than %s", c.what, load, filtered, c.most)
		}
	}
}

// fivefold gives every probe five times its observations, no two of them alike, so that they cannot be compressed away.
func fivefold(r *report.Report) *report.Report {
	for _, c := range r.Cases {
		for i := range c.Phases {
			for k := range c.Phases[i].Probes {
				p := &c.Phases[i].Probes[k]
				for range 4 * len(p.Observations) {
					o := call("httpbin.org")
					o.ID, o.Mesh[0].RequestID, o.Arrivals[0].RequestID = rand.Text(), rand.Text(), rand.Text()
					o.Arrivals[0].ProbeID = o.ID
					p.Observations = append(p.Observations, o)
				}
			}
		}
	}
	return r
}

// TestScreenshots keeps pictures of the page in the folder that SCREENSHOTS names: of REPORT, a report.json, where that
// is given, else of a small report.
func TestScreenshots(t *testing.T) {
	r := all()
	if file := os.Getenv("REPORT"); file != "" {
		var err error
		if r, err = report.Read(file); err != nil {
			t.Fatal(err)
		}
	}
	views := []browsertest.View{{}, {Suffix: "-time", Hash: "#time"}}
	if i := slices.IndexFunc(r.Cases, func(c egress.Result) bool { return len(c.Phases) > 1 }); i >= 0 { // else no case of REPORT was run
		views = append(views, browsertest.View{Suffix: "-witnesses", Hash: "#case=" + r.Cases[i].Case.Name + "&phase=applied&probe=0", Before: `document.querySelector("#witness").open`})
	}
	browsertest.Screenshots(t, browsertest.Start(t), "report", write(t, r), views...)
}
