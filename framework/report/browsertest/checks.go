//go:build browser

package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Widths of screens, in CSS pixels.
const (
	Desktop = 1300
	Phone   = 390
)

// Scheme is a step that makes the page light or dark.
func Scheme(name string) Step {
	return Command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// HasNames demands that everything that a screen reader names has a name, and that there are at least so many nodes of each role.
func (w *Tab) HasNames(t *testing.T, least map[string]int) {
	t.Helper()
	roles := map[string]int{}
	tree, err := chromedp.Call(w.Ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
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
		if !named && slices.Contains([]string{"button", "link", "textbox", "searchbox", "combobox", "checkbox", "table", "region", "heading", "dialog", "image", "DisclosureTriangle"}, role) {
			t.Errorf("a %s has no name", role)
		}
	}
	for role, n := range least {
		if roles[role] < n {
			t.Errorf("%d of role %s, want at least %d: %v", roles[role], role, n, roles)
		}
	}
}

// tooWide names the visible elements that reach beyond the right edge, in no part that scrolls by itself.
const tooWide = `(width => {
  const within = (e) => e.getBoundingClientRect().right <= width + 1;
  const scrolls = (e) => { for (let a = e.parentElement; a && a !== document.body; a = a.parentElement) if (getComputedStyle(a).overflowX !== "visible" && within(a)) return true; return false; };
  const wide = [...document.body.querySelectorAll("*")].filter((e) => e.checkVisibility() && !within(e) && !scrolls(e)).map((e) => e.tagName + "." + (e.getAttribute("class") || "") + " " + e.textContent.slice(0, 40));
  if (document.documentElement.scrollWidth > width) wide.push("the page itself");
  return wide.slice(0, 5).join("; ");
})(%d)`

// Fits demands that nothing is wider than a screen of this width, unless it scrolls by itself.
func (w *Tab) Fits(t *testing.T, width int) {
	t.Helper()
	if wide := JS[string](t, w, fmt.Sprintf(tooWide, width)); wide != "" {
		t.Errorf("wider than %d pixels: %s", width, wide)
	}
}

// Dark demands that a page that is shown dark is: that its ground is darker than its text.
func (w *Tab) Dark(t *testing.T) {
	t.Helper()
	const light = `(of => { const [r, g, b] = getComputedStyle(document.body)[of].match(/\d+/g).map(Number); return 0.3 * r + 0.6 * g + 0.1 * b; })(%q)`
	ground, text := JS[float64](t, w, fmt.Sprintf(light, "backgroundColor")), JS[float64](t, w, fmt.Sprintf(light, "color"))
	if ground > 80 || text < 170 {
		t.Errorf("the ground has %.0f of 255 parts of light, the text %.0f", ground, text)
	}
}

// How often a page is loaded to find out what it takes: a few times, and more often while it takes too long.
const (
	fewLoads  = 3
	mostLoads = 20
)

// Load is what a page takes from the start of the navigation to the end of the load event, and for the first filtering by a text,
// which must leave so many cases. The least of some loads counts, since the machine may be busy with other things; there are more
// of them as long as none was done within most (0 for no limit).
func Load(t *testing.T, chromium context.Context, url, text string, left int, most time.Duration) (load, filtered time.Duration) {
	t.Helper()
	milliseconds := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
	load, filtered = time.Hour, time.Hour
	for n := 0; n < fewLoads || n < mostLoads && most > 0 && load+filtered > most; n++ {
		w := Open(t, chromium, url)
		w.Until(t, `performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
		load = min(load, milliseconds(JS[float64](t, w, `performance.getEntriesByType("navigation")[0].loadEventEnd`)))
		filtered = min(filtered, milliseconds(JS[float64](t, w, fmt.Sprintf(`(() => {
  const began = performance.now(), f = document.getElementById("f-text");
  f.value = %q;
  f.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.offsetHeight; // has the browser lay the page out anew
  return performance.now() - began;
})()`, text))))
		if said := JS[string](t, w, `document.getElementById("f-count").textContent`); !strings.HasPrefix(said, fmt.Sprintf("%d of ", left)) {
			t.Fatalf("%q leaves %s", text, said)
		}
	}
	return load, filtered
}

// View is one picture of a page.
type View struct {
	Suffix string // of the file's name
	Hash   string // of the address, with #
	Before string // an expression that becomes true before the picture is taken; "" for none
	Fits   bool   // nothing may be wider than the screen
}

// Screenshots keeps pictures of a page, light, dark and on a phone, in the folder that SCREENSHOTS names.
func Screenshots(t *testing.T, chromium context.Context, name, url string, views ...View) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Skip("SCREENSHOTS names no folder")
	}
	for _, s := range []struct {
		name, scheme  string
		width, height int64
		phone         bool
	}{{"light", "light", Desktop, 1000, false}, {"dark", "dark", Desktop, 1000, false}, {"phone", "light", Phone, 844, true}} {
		for _, v := range views {
			viewport := []chromedp.EmulateViewportOption{}
			if s.phone {
				viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateScale(2))
			}
			w := Open(t, chromium, url+v.Hash, chromedp.EmulateViewport(s.width, s.height, viewport...), Scheme(s.scheme))
			if v.Before != "" {
				w.Until(t, v.Before)
			}
			if v.Fits {
				w.Fits(t, int(s.width))
			}
			png, err := chromedp.Run(w.Ctx, chromedp.CaptureScreenshot())
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name+"-"+s.name+v.Suffix+".png"), png, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Prints demands that a print has at least so many bytes, no form, and every part open that a reader of paper cannot open.
func (w *Tab) Prints(t *testing.T, least int) {
	t.Helper()
	pdf, err := chromedp.Run(w.Ctx, chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
	if err != nil {
		t.Fatal(err)
	}
	w.Do(t, Command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	if len(pdf) < least || JS[bool](t, w, `document.querySelector("#filter").checkVisibility()`) {
		t.Errorf("a print of %d bytes, or with the filters", len(pdf))
	}
	if closed := JS[int](t, w, `[...document.querySelectorAll("details:not([open])")].filter((d) => !d.closest("[hidden]")).length`); closed > 0 {
		t.Errorf("%d parts stay closed in print", closed)
	}
}
