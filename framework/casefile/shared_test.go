package casefile

import (
	"strings"
	"testing"

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
