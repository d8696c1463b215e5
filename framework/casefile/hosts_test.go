package casefile

import (
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/internet"
)

const caseWithHosts = `claim: the shop may call its database
source: our runbook
hosts:
  - {name: orders.example, address: 10.20.30.40, services: [{port: 5432, kind: postgres}]}
clientCertificates: [{name: team-b.example}]
probes:
  - {url: "tcp://orders.example:5432", want: OK}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: orders}
spec: {hosts: [orders.example]}
`

func files(of map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range of {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestHosts(t *testing.T) {
	fsys := files(map[string]string{
		"hosts.yaml":     "hosts:\n  - name: api.example\n    services: [{port: 443, kind: https}]\n",
		"pay/hosts.yaml": "hosts:\n  - name: \"*.s3.example\"\nclientCertificates:\n  - {name: team-a.example, ca: partner}\n",
		"pay/case.yaml":  caseWithHosts,
		"pay/entry.yaml": "claim: c\nsource: s\nprobes:\n  - {url: \"http://api.example/\", want: OK}\n",
	})
	h, err := Hosts(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range h.Hosts {
		names = append(names, x.Name+" "+x.Where())
	}
	want := "api.example hosts.yaml:2, orders.example pay/case.yaml:4, *.s3.example pay/hosts.yaml:2"
	if got := strings.Join(names, ", "); got != want || len(h.ClientCertificates) != 2 {
		t.Errorf("got %s and %v, want %s", got, h.ClientCertificates, want)
	}
	built, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := built.Add(h); err != nil {
		t.Error(err)
	}
}

func TestHostMistakes(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"hosts.yaml": {
			"hosts:\n  - {name: a.example, prot: 1}": `hosts.yaml:2: field "prot" is unknown; allowed: address, aliases`,
			"- {name: a.example}":                    "hosts.yaml:1: fields are expected",
		},
		"case.yaml": {
			strings.Replace(caseWithHosts, "10.20.30.40", "10.20.30", 1):      "case.yaml:4: address",
			strings.Replace(caseWithHosts, "[{name: team", "{name: {team", 1): "",
		},
	} {
		for text, wanted := range want {
			_, err := Hosts(files(map[string]string{file: text}))
			if wanted == "" && err == nil {
				continue // what is no YAML is said where the case is read
			}
			if err == nil || !strings.Contains(err.Error(), wanted) {
				t.Errorf("%s: %v, want %q", file, err, wanted)
			}
		}
	}
}
