//go:build browser

package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Patience is what a step may take on a busy machine.
const Patience = time.Minute

// Step is an action that has no result.
type Step = chromedp.Action[chromedp.Void]

// Command is a step that sends a command of the protocol.
func Command[P, R any](c cdp.Command[P, R], params P) Step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// Start starts Chromium for a test.
func Start(t *testing.T) context.Context {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, // tests run as root in containers; the page is our own
		chromedp.WSURLReadTimeout(Patience),
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

// Write writes a page into a file of the test.
func Write(t *testing.T, name string, page []byte) (url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, page, 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

// Tab is a tab, and everything that its page said or asked for.
type Tab struct {
	Ctx context.Context

	mu       sync.Mutex
	said     []string // on the console, by the policy, as exceptions
	requests []string // but for the page itself
}

// Open shows a file in a tab of its own. At the end of the test nothing may have been said or asked for.
func Open(t *testing.T, chromium context.Context, url string, before ...Step) *Tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(chromium)
	t.Cleanup(stop)
	w := &Tab{Ctx: ctx}
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
	steps := append([]Step{Command(network.Enable, network.EnableParams{}), Command(log.Enable, cdp.Empty{})}, before...)
	w.Do(t, append(steps, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("main")))...)
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.said)+len(w.requests) > 0 {
			t.Errorf("the page said %q and asked for %q", w.said, w.requests)
		}
	})
	return w
}

// Do takes steps.
func (w *Tab) Do(t *testing.T, steps ...Step) {
	t.Helper()
	ctx, stop := context.WithTimeout(w.Ctx, Patience)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// JS is the value of an expression.
func JS[T any](t *testing.T, w *Tab, expression string) T {
	t.Helper()
	v, err := chromedp.Run(w.Ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Until waits for an expression to become true.
func (w *Tab) Until(t *testing.T, expression string) {
	t.Helper()
	if _, err := chromedp.Run(w.Ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(Patience))); err != nil {
		t.Fatalf("%s never came true: %v", expression, err)
	}
}

// Set gives a field of a form a value, as somebody does who types or chooses it.
func (w *Tab) Set(t *testing.T, id, value string) {
	t.Helper()
	w.Do(t, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{ const f = document.getElementById(%q); f.value = %q; f.dispatchEvent(new Event("input", {bubbles: true})); }`, id, value)))
}
