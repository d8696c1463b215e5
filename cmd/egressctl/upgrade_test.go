package main

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/terminal"
	"mesh-egress-conformance/framework/terminal/terminaltest"
)

// The view of an upgrade says which phase goes on, and what callers have found in all phases; without a view, nobody asks.
func TestUpgradeOnATerminal(t *testing.T) {
	var none harness.UpgradeOptions
	tellOfUpgrade(&none, plain{})
	if none.OnPhase != nil || none.OnAttempt != nil {
		t.Error("somebody hears of an upgrade that nobody sees")
	}
	term := terminaltest.New(100, 5)
	v := newView(terminal.New(term, func() (int, int, error) { return 100, 5, nil }))
	defer v.close()
	var o harness.UpgradeOptions
	told := v.run("", plain{w: v}, false)
	tellOfUpgrade(&o, told)
	o.OnAttempt(false) // before the first phase
	told.onStep("client pods ready")
	o.OnPhase("before", 1, 6)
	o.OnAttempt(true)
	o.OnAttempt(false)
	o.OnPhase("canary", 2, 6)
	o.OnAttempt(true)
	v.screen.Refresh()
	if got := term.String(); !strings.Contains(got, "phase canary (2 of 6), ") || !strings.Contains(got, "attempts 3, not as they must be: 1") || strings.Contains(got, "before") {
		t.Errorf("%q", got)
	}
	told.closing()
	if got := term.String(); !strings.Contains(got, "removing what the run has made") || strings.Contains(got, "canary") {
		t.Errorf("%q", got)
	}
	told.over()
	if got := strings.TrimSpace(term.String()); got != "" {
		t.Errorf("%q is left", got)
	}
}

func TestUpgradeUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"name both versions":             {"--from", "1.29"},
		"0.8":                            {"--from", "0.8", "--to", "1.31"},
		"are one minor version":          {"--from", "1.31", "--to", "1.31.0"},
		"has no --istio":                 {"--from", "1.29", "--to", "1.31", "--istio", "1.30"},
		`strategy "big-bang" is unknown`: {"--from", "1.29", "--to", "1.31", "--strategy", "big-bang"},
		`sabotage "allow-any"`:           {"--from", "1.29", "--to", "1.31", "--sabotage", "allow-any"},
		"0 replicas":                     {"--from", "1.29", "--to", "1.31", "--replicas", "0"},
		"a cluster of its own":           {"--from", "1.29", "--to", "1.31", "--provider", "existing"},
	} {
		if args[len(args)-1] != "existing" {
			args = append(args, "--provider", "embedded")
		}
		code, _, stderr := egressctl(t, append([]string{"upgrade"}, args...)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", args, code, stderr, exitUsage, want)
		}
	}
}
