package suites_test

import (
	"slices"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/suites"
)

// Every known change names cases that exist, and one that rests on the case alone names a case that says something by
// version, on both sides of the change.
func TestKnownChanges(t *testing.T) {
	known, err := suites.KnownChanges()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range known {
		for _, n := range k.Cases {
			i := slices.IndexFunc(cases, func(c egress.Case) bool { return c.Name == n })
			switch {
			case i < 0:
				t.Errorf("%s: there is no case %s", k.What, n)
			case k.Since != "" && k.From == "" && !states(cases[i], k.Since):
				t.Errorf("%s: case %s is the same before and since %s: give from and to, or the case versions", k.What, n, k.Since)
			}
		}
	}
}

// states says whether a case is another since a version: it begins or ends there, or one of its probes demands otherwise.
func states(c egress.Case, since string) bool {
	if c.Since == since || egress.Older(c.Until, since) {
		return true
	}
	return slices.ContainsFunc(c.Probes, func(p egress.Probe) bool {
		return slices.ContainsFunc(p.Versions, func(v egress.Variant) bool { return v.Since == since || egress.Older(v.Until, since) })
	})
}
