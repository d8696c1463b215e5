package csp

import "testing"

// hello is the digest of "alert('Hello, world.');" as the specification's example has it (https://www.w3.org/TR/CSP2/, 4.2.5).
const hello = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"

func TestSelfContained(t *testing.T) {
	const text = "alert('Hello, world.');"
	for name, x := range map[string]struct{ style, script, want string }{
		"both":      {text, text, "default-src 'none'; img-src data:; style-src " + hello + "; script-src " + hello + "; base-uri 'none'; form-action 'none'"},
		"no script": {text, "", "default-src 'none'; img-src data:; style-src " + hello + "; script-src 'none'; base-uri 'none'; form-action 'none'"},
	} {
		if got := SelfContained(x.style, x.script); got != x.want {
			t.Errorf("%s: %s, not %s", name, got, x.want)
		}
	}
}
