package suites_test

import (
	_ "embed"
	"strings"
	"testing"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/samples"
	"mesh-egress-conformance/suites"
)

// The list itself must be sound before any cluster is brought up.
func TestCaseList(t *testing.T) {
	cases, clients, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, f := range c.Fixtures {
			if _, err := fixture.Load(t.Context(), fixtures.FS, f); err != nil {
				t.Errorf("case %s: %v", c.Name, err)
			}
		}
		for _, p := range c.Probes {
			if _, ok := hosts.Find(p.Destination()); !ok && !p.Protocol().Question {
				t.Errorf("case %s: the hermetic internet has no host %q", c.Name, p.Destination())
			}
		}
	}
	for _, c := range clients {
		if _, err := fixture.Load(t.Context(), samples.FS, c.Manifest); err != nil {
			t.Errorf("client %s: %v", c.Name, err)
		}
	}
}

func TestCheckFindsMistakes(t *testing.T) {
	good := egress.Case{Name: "a-b", Area: "a", Claim: "c", Source: "s", Probes: []egress.Probe{
		egress.GET("client", "http://httpbin.org/").Want(egress.Blocked, egress.OK, egress.Blocked),
	}}
	if err := suites.Check([]egress.Case{good}, clients); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]func(egress.Case) []egress.Case{
		"listed twice": func(c egress.Case) []egress.Case { return []egress.Case{c, c} },
		"foreign area": func(c egress.Case) []egress.Case { c.Area = "x"; return []egress.Case{c} },
		"unknown client": func(c egress.Case) []egress.Case {
			c.Probes = []egress.Probe{{From: "nobody", URL: "http://httpbin.org/", Wants: c.Probes[0].Wants}}
			return []egress.Case{c}
		},
		"no claim": func(c egress.Case) []egress.Case { c.Claim = ""; return []egress.Case{c} },
	} {
		if err := suites.Check(bad(good), clients); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

//go:embed catalogue.txt
var catalogue string

// Every claim of the catalogue has a case, and no case invents a claim of its own.
func TestCatalogue(t *testing.T) {
	cases, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]string{}
	for line := range strings.Lines(catalogue) {
		if id := strings.TrimSpace(line); id != "" && !strings.HasPrefix(id, "#") {
			covered[id] = ""
		}
	}
	for _, c := range cases {
		for _, id := range strings.Fields(c.Row) {
			if _, ok := covered[id]; !ok {
				t.Errorf("case %s covers %q, which is not in catalogue.txt", c.Name, id)
			}
			covered[id] = c.Name
		}
	}
	for id, name := range covered {
		if name == "" {
			t.Errorf("no case covers %s", id)
		}
	}
}

func TestSabotages(t *testing.T) {
	all, err := suites.Sabotages()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.What == "" || len(s.Cases()) == 0 {
			t.Errorf("sabotage %q says nothing", s.Name)
		}
		if _, err := harness.ParseSabotage(s.Do); err != nil {
			t.Error(err)
		}
	}
}
