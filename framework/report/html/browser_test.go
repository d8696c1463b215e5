//go:build browser

// These tests open the page in a real Chromium, headless: scripts/verify-html.sh installs it and runs them. With the
// tag they fail where there is none, so that nobody takes a skip for a proof.
package html

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// step is an action that has no result.
type step = chromedp.Action[chromedp.Void]

// command is a step that sends a command of the protocol.
func command[P, R any](c cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// watched is a tab, and everything that it said or asked for.
type watched struct {
	ctx context.Context

	mu       sync.Mutex
	said     []string // on the console, by the policy, as exceptions
	requests []string // but for the page itself
}

// browser starts Chromium. A page may take a minute on a busy machine.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, // tests run as root in containers; the page is our own
		chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-background-networking", true))
	if bin := os.Getenv("CHROMIUM"); bin != "" {
		options = append(options, chromedp.ExecPath(bin))
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if _, err := chromedp.Run(ctx, chromedp.Title()); err != nil {
		t.Fatalf("start Chromium (CHROMIUM names another program): %v", err)
	}
	return ctx
}

// open shows a file in a tab of its own. At the end of the test nothing may have been said or asked for.
func open(t *testing.T, chromium context.Context, url string, before ...step) *watched {
	t.Helper()
	ctx, stop := chromedp.NewContext(chromium)
	t.Cleanup(stop)
	w := &watched{ctx: ctx}
	doc, _, _ := strings.Cut(url, "#")
	err := chromedp.Listen(ctx, func(ev any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			w.said = append(w.said, fmt.Sprintf("console.%s", e.Type))
		case *runtime.EventExceptionThrown:
			w.said = append(w.said, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			w.said = append(w.said, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; u != doc && u != "data:," {
				w.requests = append(w.requests, u)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	steps := append([]step{command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{})}, before...)
	w.do(t, append(steps, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("#f-count")))...)
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.said)+len(w.requests) > 0 {
			t.Errorf("the page said %q and asked for %q", w.said, w.requests)
		}
	})
	return w
}

func (w *watched) do(t *testing.T, steps ...step) {
	t.Helper()
	ctx, stop := context.WithTimeout(w.ctx, time.Minute)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// js is the value of an expression.
func js[T any](t *testing.T, w *watched, expression string) T {
	t.Helper()
	v, err := chromedp.Run(w.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (w *watched) until(t *testing.T, expression string) {
	t.Helper()
	if _, err := chromedp.Run(w.ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(time.Minute))); err != nil {
		t.Fatalf("%s never came true: %v", expression, err)
	}
}

// write renders a report into a file.
func write(t *testing.T, r *report.Report) (url string) {
	t.Helper()
	b, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

const shown = `[...document.querySelectorAll(".area tbody")].filter(b => b.checkVisibility()).length`

func TestBrowser(t *testing.T) {
	chromium := browser(t)
	url, long := write(t, all()), write(t, many(200))

	t.Run("filters", func(t *testing.T) {
		w := open(t, chromium, url)
		if n := js[int](t, w, shown); n != 6 {
			t.Fatalf("%d cases are shown", n)
		}
		set := func(id, value string) {
			w.do(t, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{ const f = document.getElementById(%q); f.value = %q; f.dispatchEvent(new Event("input", {bubbles: true})); }`, id, value)))
		}
		reset := func() {
			w.do(t, chromedp.Click(chromedp.CSS("#filter button[type=reset]")))
			w.until(t, shown+" === 6")
		}
		for _, c := range []struct {
			what, id, value string
			n               int
		}{
			{"area", "f-area", "http", 3}, {"label", "f-label", "smoke", 6}, {"text of a claim", "f-text", "host, as DNS-good", 1},
			{"an outcome", "f-text", "passthrough http-bad", 1}, {"nothing", "f-text", "no such thing", 0},
		} {
			set(c.id, c.value)
			w.until(t, fmt.Sprintf("%s === %d", shown, c.n))
			said := js[string](t, w, `document.getElementById("f-count").textContent`)
			if want := fmt.Sprintf("%d of 6 cases", c.n); c.n < 6 && said != want {
				t.Errorf("%s: it says %q, want %q", c.what, said, want)
			}
			if areas := js[int](t, w, `[...document.querySelectorAll(".area")].filter(a => a.checkVisibility() && !a.querySelector("tbody:not([hidden])")).length`); areas > 0 {
				t.Errorf("%s: %d empty areas are shown", c.what, areas)
			}
			reset()
		}
		w.do(t, chromedp.Click(chromedp.CSS(`.chip.v-violates span`)))
		w.until(t, shown+" === 1")
		w.do(t, chromedp.Click(chromedp.CSS(`.chip.v-inconclusive span`)))
		w.until(t, shown+" === 2")
		w.do(t, chromedp.SendKeys(chromedp.CSS("#f-text"), "tls"))
		w.until(t, shown+" === 1")
		reset()
	})

	t.Run("witnesses by keyboard", func(t *testing.T) {
		w := open(t, chromium, url)
		w.do(t, chromedp.Focus(chromedp.CSS(`button[data-c="1"][data-ph="applied"][data-p="0"]`)), chromedp.KeyEvent(kb.Enter))
		w.until(t, `document.querySelector("#witness").open`)
		text := js[string](t, w, `document.querySelector("#witness").innerText`)
		for _, want := range []string{
			"http-bad", "allowed, unregistered (passthrough)", "curl http://httpbin.org/", "10.244.0.18:19557 → 198.51.100.10:80", "outbound|80||istio-egressgateway",
			"the proxy's own end of that connection", "DelayInjected: delayed, as a fault injection orders", "DownstreamConnectionTermination", "via_upstream", "the upstream answered", "istio-system/gateway",
			"host that owns the address", "1 arrivals of other attempts", "Control client",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the witnesses lack %q", want)
			}
		}
		if got := js[string](t, w, `[...document.querySelectorAll(".path .role")].map(n => n.firstChild.data).join(" → ")`); got != "client → sidecar → gateway → destination" {
			t.Errorf("the path is %s", got)
		}
		if got := js[string](t, w, `location.hash`); got != "#case=http-bad&phase=applied&probe=0" {
			t.Error(got)
		}
		w.do(t, chromedp.KeyEvent(kb.ArrowRight))
		w.until(t, `document.querySelector(".tabs [aria-pressed=true]").textContent.includes("removed")`)
		if text := js[string](t, w, `document.querySelector("#witness").innerText`); !strings.Contains(text, "block_all") || !strings.Contains(text, "Nothing of it arrived") || !strings.Contains(text, "ended here") {
			t.Errorf("phase removed: %s", text)
		}
		if !js[bool](t, w, `document.querySelector("#witness").contains(document.activeElement)`) {
			t.Error("the focus left the dialog")
		}
		w.do(t, chromedp.KeyEvent(kb.Escape))
		w.until(t, `!document.querySelector("#witness").open && location.hash === ""`) // the event that clears the address comes later
		if got := js[string](t, w, `document.activeElement.dataset.ph`); got != "applied" {
			t.Errorf("after it was closed, the focus is at %q", got)
		}
		w.do(t, chromedp.Click(chromedp.CSS(`th .name[data-c="1"]`)))
		w.until(t, `document.querySelector("#witness").open && document.querySelector("#witness").innerText.includes("egressctl run --case http-bad")`)
	})

	t.Run("links within the page", func(t *testing.T) {
		w := open(t, chromium, long)
		for _, id := range []string{"time", "area-area-19", "environment", "area-area-03"} {
			w.do(t, chromedp.Click(chromedp.CSS(`a[href="#`+id+`"]`)))
			w.until(t, fmt.Sprintf(`Math.abs(document.getElementById(%q).getBoundingClientRect().top - innerHeight / 2) <= innerHeight / 2 + 2`, id)) // the top may be at the edge, or a pixel beyond
		}
	})

	t.Run("a link opens its cell", func(t *testing.T) {
		w := open(t, chromium, url+"#case=dns-good&phase=before&probe=1")
		w.until(t, `document.querySelector("#witness").open && document.querySelector("#witness-title").textContent === "dns-good"`)
	})

	t.Run("for a screen reader", func(t *testing.T) {
		for name, width := range map[string]int64{"desktop": 1300, "phone": 390} {
			w := open(t, chromium, url, chromedp.EmulateViewport(width, 900))
			roles := map[string]int{}
			tree, err := chromedp.Call(w.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range tree.Nodes {
				if n.Role == nil || n.Ignored {
					continue
				}
				role := strings.Trim(string(n.Role.Value), `"`)
				roles[role]++
				named := n.Name != nil && string(n.Name.Value) != `""`
				if !named && slices.Contains([]string{"button", "link", "textbox", "searchbox", "combobox", "checkbox", "table", "region", "heading", "dialog"}, role) {
					t.Errorf("%s: a %s has no name", name, role)
				}
			}
			for role, least := range map[string]int{"table": 5, "rowheader": 6, "cell": 24, "heading": 6, "main": 1, "banner": 1, "navigation": 1, "search": 1, "status": 1} {
				if roles[role] < least {
					t.Errorf("%s: %d of role %s, want at least %d: %v", name, roles[role], role, least, roles)
				}
			}
			if wide := js[bool](t, w, `document.documentElement.scrollWidth > innerWidth`); wide {
				t.Errorf("%s: the page is wider than the screen", name)
			}
		}
	})

	t.Run("print", func(t *testing.T) {
		w := open(t, chromium, url)
		pdf, err := chromedp.Run(w.ctx, chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
		if err != nil {
			t.Fatal(err)
		}
		w.do(t, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
		if len(pdf) < 10_000 || js[bool](t, w, `document.querySelector("#filter").checkVisibility()`) || js[int](t, w, shown) != 6 {
			t.Errorf("a print of %d bytes", len(pdf))
		}
		if closed := js[int](t, w, `document.querySelectorAll("details:not([open])").length`); closed > 0 {
			t.Errorf("%d parts stay closed in print", closed)
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
	ctx, stop := chromedp.NewContext(browser(t))
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

// loadMax is what a thousand cases may take until the page can be used.
const loadMax = time.Second

// TestLoad measures from the start of the navigation to the end of the load event and the first filtering; the least
// of some loads counts, since the machine may be busy with other things. Five versions bring five times the witnesses
// for the same rows.
func TestLoad(t *testing.T) {
	chromium := browser(t)
	for _, c := range []struct {
		what string
		r    *report.Report
		most time.Duration // 0 for no limit
	}{{"1000 cases", many(1000), loadMax}, {"1000 cases with five times the witnesses", fivefold(many(1000)), loadMax}, {"5000 cases", many(5000), 0}} {
		url := write(t, c.r)
		least := time.Hour
		for range 5 {
			w := open(t, chromium, url)
			w.until(t, `performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
			took := time.Duration(js[float64](t, w, `performance.getEntriesByType("navigation")[0].loadEventEnd`) * float64(time.Millisecond))
			least = min(least, took)
		}
		st, err := os.Stat(strings.TrimPrefix(url, "file://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %.1f MB: loaded in %s", c.what, float64(st.Size())/1e6, least.Round(time.Millisecond))
		if c.most > 0 && least > c.most {
			t.Errorf("%s need %s, more than %s", c.what, least, c.most)
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
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Skip("SCREENSHOTS names no folder")
	}
	r := all()
	if file := os.Getenv("REPORT"); file != "" {
		var err error
		if r, err = report.Read(file); err != nil {
			t.Fatal(err)
		}
	}
	opened := slices.IndexFunc(r.Cases, func(c egress.Result) bool { return len(c.Phases) > 1 })
	if opened < 0 {
		t.Fatal(errors.New("no case of the report was run"))
	}
	chromium, url := browser(t), write(t, r)
	for _, s := range []struct {
		name, scheme  string
		width, height int64
		phone         bool
	}{{"light", "light", 1300, 1000, false}, {"dark", "dark", 1300, 1000, false}, {"phone", "light", 390, 844, true}} {
		for what, hash := range map[string]string{"": "", "-time": "#time", "-witnesses": "#case=" + r.Cases[opened].Case.Name + "&phase=applied&probe=0"} {
			viewport := []chromedp.EmulateViewportOption{}
			if s.phone {
				viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateScale(2))
			}
			w := open(t, chromium, url+hash, chromedp.EmulateViewport(s.width, s.height, viewport...), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}}))
			if what == "-witnesses" {
				w.until(t, `document.querySelector("#witness").open`)
			}
			png, err := chromedp.Run(w.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "report-"+s.name+what+".png"), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
