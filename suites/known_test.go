package suites_test

import (
	"fmt"
	"slices"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/suites"
)

// Every known change names cases that exist. One that rests on the cases alone is shown by a run on either side of it: by
// a case that demands otherwise there, or by two cases of one row of which one ends as the other begins. Its further cases
// must say something about the version too.
func TestKnownChanges(t *testing.T) {
	known, err := suites.KnownChanges()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range known {
		var named []egress.Case
		for _, n := range k.Cases {
			i := slices.IndexFunc(cases, func(c egress.Case) bool { return c.Name == n })
			if i < 0 {
				t.Errorf("%s: there is no case %s", k.What, n)
				continue
			}
			named = append(named, cases[i])
		}
		if k.Since == "" || k.From != "" {
			continue
		}
		for _, c := range named {
			if !states(c, k.Since) {
				t.Errorf("%s: case %s is the same before and since %s: give from and to, or the case versions", k.What, c.Name, k.Since)
			}
		}
		if !bothSides(named, k.Since) {
			t.Errorf("%s: no case runs before %s: give one of them versions, or a twin of its row that ends there", k.What, k.Since)
		}
	}
}

func TestBothSides(t *testing.T) {
	old := []egress.Probe{{Versions: []egress.Variant{{Until: "1.30"}}}}
	for name, x := range map[string]struct {
		cases []egress.Case
		want  bool
	}{
		"versions":                   {[]egress.Case{{Probes: old}}, true},
		"versions that never run":    {[]egress.Case{{Since: "1.31", Probes: old}}, false},
		"since alone":                {[]egress.Case{{Since: "1.31", Row: "a"}}, false},
		"until alone":                {[]egress.Case{{Until: "1.30", Row: "a"}}, false},
		"twins":                      {[]egress.Case{{Until: "1.30", Row: "a"}, {Since: "1.31", Row: "a"}}, true},
		"two rows":                   {[]egress.Case{{Until: "1.30", Row: "a"}, {Since: "1.31", Row: "b"}}, false},
		"no rows":                    {[]egress.Case{{Until: "1.30"}, {Since: "1.31"}}, false},
		"a gap":                      {[]egress.Case{{Until: "1.29", Row: "a"}, {Since: "1.31", Row: "a"}}, false},
		"another, and one that says": {[]egress.Case{{Since: "1.31", Row: "a"}, {Probes: old}}, true},
	} {
		if got := bothSides(x.cases, "1.31"); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// states says whether a case is another one since a version: it begins or ends there, or one of its probes demands
// otherwise.
func states(c egress.Case, since string) bool {
	return c.Since == since || ends(c.Until, since) || demands(c, since)
}

// demands says whether a probe of a case demands something else since a version.
func demands(c egress.Case, since string) bool {
	return slices.ContainsFunc(c.Probes, func(p egress.Probe) bool {
		return slices.ContainsFunc(p.Versions, func(v egress.Variant) bool { return v.Since == since || ends(v.Until, since) })
	})
}

// bothSides says whether cases run before a version and since, and demand something else there.
func bothSides(cases []egress.Case, since string) bool {
	return slices.ContainsFunc(cases, func(c egress.Case) bool {
		runs := c.Since != since && !egress.Older(since, c.Since) && !egress.Older(c.Until, since)
		return runs && demands(c, since) || ends(c.Until, since) && c.Row != "" &&
			slices.ContainsFunc(cases, func(heir egress.Case) bool { return heir.Since == since && heir.Row == c.Row })
	})
}

// ends says whether a version is the last minor one before another.
func ends(until, since string) bool {
	var minor, next int
	_, err1 := fmt.Sscanf(until, "1.%d", &minor)
	_, err2 := fmt.Sscanf(since, "1.%d", &next)
	return err1 == nil && err2 == nil && minor+1 == next
}
