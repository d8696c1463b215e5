package suites_test

import (
	_ "embed"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/isolation"
	"mesh-egress-conformance/suites"
)

var update = flag.Bool("update-isolation", false, "write isolation.txt anew")

//go:embed isolation.txt
var recorded string

// footprints derives what may run beside each of the built-in cases.
func footprints(t *testing.T) map[string]isolation.Footprint {
	t.Helper()
	cases, clients, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]isolation.Footprint{}
	for _, c := range cases {
		objs := slices.Concat(c.Setup, c.Objects, c.Change)
		for _, f := range c.Fixtures {
			more, err := fixture.Load(t.Context(), fixtures.FS, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range more {
				objs = append(objs, o.Object)
			}
		}
		out[c.Name] = isolation.Derive(c, objs, isolation.Cluster{Clients: clients, Lane: []string{"client"}})
	}
	return out
}

// isolation.txt says of every built-in case how it runs, for whoever changes one or the derivation:
//
//	go test ./suites -run TestIsolation -update-isolation
func TestIsolation(t *testing.T) {
	var b strings.Builder
	all := footprints(t)
	cases, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		f := all[c.Name]
		how := "beside others"
		switch {
		case f.Alone != "":
			how = "alone: " + f.Alone
		case f.FirstLane != "":
			how = "in the first lane: " + f.FirstLane
		}
		b.WriteString(c.Name + ": " + how)
		if len(f.Holds) > 0 {
			b.WriteString("; holds " + strings.Join(f.Holds, ", "))
		}
		b.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile("isolation.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != recorded {
		have, want := strings.Split(b.String(), "\n"), strings.Split(recorded, "\n")
		for _, l := range have {
			if !slices.Contains(want, l) {
				t.Errorf("not in isolation.txt: %s", l)
			}
		}
		t.Error("isolation.txt is not what is derived; if that is right, write it anew with -update-isolation")
	}
}

// Cases that touch what the whole mesh sees run alone, and no other does: each that runs alone costs time.
func TestAlone(t *testing.T) {
	all := footprints(t)
	cases, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	touching := []string{"k8s-headless-external", "policy-sidecar-root-namespace", "policy-sidecar-namespace-over-root", "egw-gateway-of-the-team", "egw-gateways-in-a-row", "egw-gwapi-mutual-origination", "egw-gwapi-wildcard", "app-egressrule-migrated", "egw-netpol-enforced"}
	for _, c := range cases {
		want := c.ChangesMesh() || len(c.Istiod) > 0 || slices.Contains(touching, c.Name)
		if f := all[c.Name]; (f.Alone != "") != want {
			t.Errorf("%s: alone: %q, wanted: %t", c.Name, f.Alone, want)
		}
	}
}

// Cases that name the same resource are few, so that the lanes stay busy.
func TestLanesStayBusy(t *testing.T) {
	all := footprints(t)
	held := map[string][]string{}
	for name, f := range all {
		if f.Alone == "" {
			for _, r := range f.Holds {
				held[r] = append(held[r], name)
			}
		}
	}
	for r, names := range held {
		if limit := 24; len(names) > limit {
			t.Errorf("%d cases hold %s, one at a time: %s", len(names), r, names)
		}
	}
}
