package report

import (
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

func TestMarkdown(t *testing.T) {
	r := New(Environment{Provider: "embedded", Kubernetes: "v1.36.3", Istio: "1.31", Envoy: "1.39.3", Source: "build"}, time.Now(), differing(), "clean-up: a namespace stayed\n# its log")
	r.Took = 12
	b, err := r.Markdown()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.md", string(b))
}

func TestMarkdownHeadlines(t *testing.T) {
	good, bad, unsure, skipped := result("a", egress.Conforms), result("b", egress.Violates), result("c", egress.Inconclusive), result("d", egress.Skipped)
	for want, r := range map[string]*Report{
		"## ✅ Egress conformance: all 1 cases that were run conform\n": New(Environment{}, time.Now(), []egress.Result{good, skipped}),
		"## ❌ Egress conformance: 1 of 3 cases violate\n":              New(Environment{}, time.Now(), []egress.Result{good, bad, unsure}),
		"## ⚠️ Egress conformance: 1 of 2 cases are inconclusive\n":    New(Environment{}, time.Now(), []egress.Result{good, unsure}),
		"## ⚠️ Egress conformance: the run had faults\n":               New(Environment{}, time.Now(), []egress.Result{good}, "died"),
		"## ⚠️ Egress conformance: no case was run\n":                  New(Environment{}, time.Now(), nil),
	} {
		if b, err := r.Markdown(); err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("want %q, got %.80q (%v)", want, b, err)
		}
	}
}

// A thousand failures stay readable, and no text of a case is taken for Markdown or HTML.
func TestMarkdownStaysSmallAndPlain(t *testing.T) {
	var cases []egress.Result
	for range 1000 {
		c := result("`x|<img>", egress.Violates)
		c.Case.Claim, c.Case.Name, c.Why = "```\n# a heading\n<script>*|_[a](http://b)", "`x|<img>", "```\n<b>|`"
		cases = append(cases, c)
	}
	b, err := New(Environment{Istio: "<b>*"}, time.Now(), cases, "<script>\n```\n<script>").Markdown()
	if err != nil || len(b) > 256<<10 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	open := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]; {
		case open == "" && len(ticks) >= 3 && ticks == line:
			open = ticks
			continue
		case open != "" && line == open:
			open = ""
			continue
		}
		if open != "" {
			continue // what is in a block means nothing
		}
		if strings.Contains(line, "<script") || strings.Contains(line, "<img") || strings.Contains(line, "<b>") || strings.HasPrefix(line, "# ") || strings.Contains(line, "[a]") {
			t.Fatalf("%q", line)
		}
		if strings.HasPrefix(line, "| `") || strings.HasPrefix(line, "| &") {
			if n := strings.Count(line, "|"); n != 4 {
				t.Fatalf("a row with %d bars: %q", n, line)
			}
		}
	}
	if open != "" {
		t.Error("a block does not end")
	}
}
