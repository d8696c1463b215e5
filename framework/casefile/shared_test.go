package casefile

import (
	"fmt"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Hosts of a folder, and of a case, are added to the internet; what is wrong in them has file and line.
func TestHosts(t *testing.T) {
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	f := Load(folder(map[string]string{
		"hosts.yaml":  "hosts:\n  - {name: api.cards.example, services: [{port: 443, kind: https}]}\nclientCertificates: [{name: team-b.example}]\n",
		"pay/a.yaml":  "hosts: [{name: db.cards.example, address: 10.30.0.0/16, services: [{port: 5432, kind: postgres}]}]\n" + short,
		"pay/b.yaml":  short,
		"pay/rule.ya": rule,
	}))
	hosts, wrong := f.Internet(base)
	if len(f.Mistakes)+len(wrong) > 0 || len(f.Loaded) != 2 {
		t.Fatal(f.Mistakes, wrong)
	}
	for _, name := range []string{"api.cards.example", "10.30.7.7", "httpbin.org"} {
		if _, ok := hosts.Find(name); !ok {
			t.Errorf("there is no %s", name)
		}
	}
	f = Load(folder(map[string]string{
		"hosts.yaml": "host: []\nhosts:\n  - {name: api.cards.example, prots: []}\n",
		"a.yaml":     "hosts: [{name: httpbin.org, services: [{port: 443, kind: https}]}]\n" + short,
	}))
	_, wrong = f.Internet(base)
	got := append(f.Mistakes, wrong...).Error()
	for _, want := range []string{`hosts.yaml:1: field "host" is unknown; did you mean hosts? allowed: clientCertificates, hosts`, `hosts.yaml:3: field "prots" is unknown`, "a.yaml:1: the name httpbin.org is that of another host"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

// A demand may be one for all phases, or by phase; what is wrong in it has its own line.
func TestByPhase(t *testing.T) {
	head := "claim: c\nsource: s\nprobes:\n  - url: https://httpbin.org/\n    want: OK\n"
	l := one(t, Load(folder(map[string]string{"x/a.yaml": head + "    arrival: {sni: a}\n    arrivesAt: {applied: evil.example}\n    encrypted: true\n    arrivals: 2\n"})))
	p := l.Case.Probes[0]
	if p.Arrival[egress.Removed]["sni"] != "a" || p.ArrivesAt[egress.Applied] != "evil.example" || p.ArrivesAt[egress.Before] != "" || !p.Encrypted[egress.Before] || p.Arrivals[egress.Changed] != 2 {
		t.Errorf("%+v", p)
	}
	if got := fmt.Sprint(l.PathIn(egress.Applied, 0, "arrivesAt"), l.PathIn(egress.Applied, 0, "arrival", "sni")); got != "[probes 0 arrivesAt applied] [probes 0 arrival sni]" {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"    arrival:\n      applied: {sni: a}\n      later: {sni: b}\n": `x/a.yaml:8: arrival: phase "later" is unknown`,
		"    arrivals: many\n":             "x/a.yaml:6: arrivals: ",
		"    arrival:\n      sni: 443\n":   `x/a.yaml:7: arrival: text is expected, and YAML reads 443 as something else; quote it: "443"`,
		"    arrivesAt:\n      later: x\n": `x/a.yaml:7: arrivesAt: phase "later" is unknown`,
	} {
		if err := Load(folder(map[string]string{"x/a.yaml": head + text})).Mistakes.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Clients are bound to the istiods that the folder describes, wherever it does.
func TestRevisions(t *testing.T) {
	f := Load(folder(map[string]string{
		"clients.yaml":       "- {name: a, revision: flags}\n- {name: b, revision: canary}\n- {name: c}\n",
		"team/revisions.yml": "- {name: flags, environment: {PILOT_HTTP10: \"true\"}}\n",
		"x/a.yaml":           "revisions: [{name: canary, compatibilityVersion: \"1.28\"}]\n" + short,
	}))
	if len(f.Mistakes) > 0 || len(f.Revisions) != 2 {
		t.Fatal(f.Revisions, f.Mistakes)
	}
	c := f.EgressClients()
	if c[0].Istiod.Environment["PILOT_HTTP10"] != "true" || c[1].Istiod.CompatibilityVersion != "1.28" || c[2].Istiod != nil {
		t.Errorf("%+v", c)
	}
	f = Load(folder(map[string]string{
		"clients.yaml":   "- {name: a, revision: flag}\n- {name: b, revision: flags, injection: none}\n",
		"revisions.yaml": "- {name: flags, environments: {}}\n- {name: default}\n- {name: flags}\n",
		"b.yaml":         "revisions: {name: x}\n" + short,
	}))
	got := f.Mistakes.Error()
	for _, want := range []string{
		"clients.yaml:1: client \"a\": nobody describes revision \"flag\"; did you mean flags?", "clients.yaml:2: client \"b\": revision: without a sidecar",
		"revisions.yaml:1: field \"environments\" is unknown; did you mean environment?", "revisions.yaml:2: revision \"default\"", "revisions.yaml:3: revision \"flags\" is described twice",
		"b.yaml:1: a list of revisions is expected",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}
