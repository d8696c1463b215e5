//go:build browser

// These tests open the page in a real Chromium: package browsertest.
package html

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"mesh-egress-conformance/framework/report/browsertest"
)

func written(t *testing.T) (url string) {
	t.Helper()
	b, err := Render(seen("status 200"))
	if err != nil {
		t.Fatal(err)
	}
	return browsertest.Write(t, File, b)
}

func TestBrowser(t *testing.T) {
	chromium, url := browsertest.Start(t), written(t)
	open := func(t *testing.T, width int, scheme string) *browsertest.Tab {
		w := browsertest.Open(t, chromium, url, chromedp.EmulateViewport(int64(width), 900), browsertest.Scheme(scheme))
		w.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => { d.open = true; })`))
		return w
	}
	for _, width := range []int{browsertest.Desktop, browsertest.Phone} {
		t.Run(fmt.Sprintf("%d wide", width), func(t *testing.T) {
			w := open(t, width, "light")
			w.HasNames(t, map[string]int{"table": 6, "heading": 7, "rowheader": 6, "main": 1, "banner": 1, "navigation": 1, "image": 1})
			w.Fits(t, width)
		})
	}
	t.Run("dark", func(t *testing.T) { open(t, browsertest.Desktop, "dark").Dark(t) })
}

func TestScreenshots(t *testing.T) {
	browsertest.Screenshots(t, browsertest.Start(t), "upgrade", written(t), browsertest.View{Fits: true})
}
