package casefile

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/egress"
)

const good = `claim: a rule opens its host
source: our runbook
probes:
  - {url: "http://httpbin.org/", want: blocked OK blocked}
  - url: tls://evil.example
    from: other
    sni: www.google.com
    want: BRST
    arrival: {applied: {sni: google}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin}
spec: {hosts: [httpbin.org], ports: [{number: 80, name: http, protocol: HTTP}]}
`

func TestLoad(t *testing.T) {
	cases, clients, err := Load(fstest.MapFS{
		"team/opens.yaml":   {Data: []byte(good)},
		"team/clients.yaml": {Data: []byte("- {name: other, annotations: {a: b}}\n")},
		"team/README.md":    {Data: []byte("not a case")},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := cases[0]
	if c.Name != "team-opens" || c.Area != "team" || len(c.Objects) != 1 || c.Objects[0]["kind"] != "ServiceEntry" {
		t.Errorf("%+v", c)
	}
	if p := c.Probes[0]; p.From != "client" || p.Wants != (egress.Wants{egress.Blocked, egress.OK, 0, egress.Blocked}) {
		t.Errorf("%+v", p)
	}
	if p := c.Probes[1]; p.From != "other" || p.Wants[egress.Applied] != egress.BRST || p.Arrival[egress.Applied]["sni"] != "google" {
		t.Errorf("%+v", p)
	}
	if len(clients) != 1 || clients[0].Namespace != "egress-other" || clients[0].Annotations["a"] != "b" {
		t.Errorf("%+v", clients)
	}
}

func TestMistakes(t *testing.T) {
	for want, spoil := range map[string][2]string{
		`x.yaml:1: field "clam" is unknown; allowed: area, `:          {"claim:", "clam:"},
		`x.yaml:4: field "ulr" is unknown; allowed: accessLog, args,`: {"{url:", "{ulr:"},
		`x.yaml:4: want: outcome "open" is unknown; known: OK|`:       {"blocked OK blocked", "blocked open blocked"},
		`x.yaml:4: want: want "blocked OK": give 1 outcome`:           {"blocked OK blocked", "blocked OK"},
		`x.yaml:1: case "area-x": source is missing`:                  {"source: our runbook\n", ""},
		`x.yaml:11: every document after the case must`:               {"kind: ServiceEntry\n", ""},
		`scheme "gopher" is unknown; known: dns, grpc, http`:          {"tls://", "gopher://"},
		`x.yaml:9: arrival: phase "later" is unknown`:                 {"{applied: {sni", "{later: {sni"},
		`yaml: line`: {"probes:", "probes: ["},
	} {
		b := strings.Replace(good, spoil[0], spoil[1], 1)
		if _, err := Parse("area/x.yaml", []byte(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s\n got %v", want, err)
		}
	}
	if _, err := Parse("area/x.yaml", []byte("---\n")); err == nil {
		t.Error("an empty file is no case")
	}
}

// An anchor of one field is for all fields of its document.
func TestAnchors(t *testing.T) {
	text := strings.Replace(good, "blocked OK blocked", "&w blocked OK blocked", 1)
	c, err := Parse("area/x.yaml", []byte(strings.Replace(text, "want: BRST", "want: *w", 1)))
	if err != nil || c.Probes[1].Wants != c.Probes[0].Wants {
		t.Errorf("%+v %v", c.Probes, err)
	}
}

func TestTooMuch(t *testing.T) {
	many := fstest.MapFS{}
	for i := range 3 {
		many[fmt.Sprintf("team/x%d.yaml", i)] = &fstest.MapFile{Data: []byte(good + strings.Repeat("---\nkind: K\napiVersion: v\n", 4000))}
	}
	if _, _, err := Load(many); err == nil || !strings.Contains(err.Error(), "more than 10000 documents together") {
		t.Errorf("12,006 documents: %v", err)
	}
	wrong := fstest.MapFS{}
	for i := range 200 {
		wrong[fmt.Sprintf("team/x%d.yaml", i)] = &fstest.MapFile{Data: []byte("claim: a\nclaim: b\n")}
	}
	_, _, err := Load(wrong)
	if err == nil || !strings.Contains(err.Error(), `:2: key "claim" is given twice`) || strings.Count(err.Error(), "\n") != maxMistakes {
		t.Errorf("200 wrong files: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("claim: [")
	f.Add("- x")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse("area/x.yaml", []byte(s))
		if err == nil && c.Check() != nil {
			t.Errorf("%q was accepted", s)
		}
	})
}
