package migrate

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/fixture"
)

func rule(service, ports string) string {
	return "apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: r, namespace: ns}\nspec:\n  destination: {service: \"" + service + "\"}\n  ports: " + ports + "\n"
}

func TestEgressRules(t *testing.T) {
	for name, x := range map[string]struct {
		in    string
		kinds string
		has   []string
		notes int
	}{
		"host":     {rule("httpbin.org", "[{port: 80, protocol: http}]"), "ServiceEntry", []string{"- httpbin.org", "resolution: DNS", "protocol: HTTP\n", "number: 80", "namespace: ns"}, 0},
		"https":    {rule("www.google.com", "[{port: 443, protocol: https}]"), "ServiceEntry DestinationRule", []string{"mode: SIMPLE", "host: www.google.com", "protocol: HTTP\n"}, 1},
		"wildcard": {rule("*.wikipedia.org", "[{port: 80, protocol: http}]"), "ServiceEntry", []string{"resolution: NONE"}, 1},
		"range":    {rule("91.198.174.192/27", "[{port: 443, protocol: tcp}]"), "ServiceEntry", []string{"- 91.198.174.192/27", "r.egress.invalid", "protocol: TCP"}, 1},
		"proxy":    {rule("httpbin.org", "[{port: 80, protocol: http}]") + "  use_egress_proxy: true\n", "ServiceEntry", nil, 1},
		"two":      {rule("a.example", "[{port: 80, protocol: http}]") + "---\n" + rule("b.example", "[{port: 80, protocol: grpc}]"), "ServiceEntry ServiceEntry", []string{"GRPC"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := EgressRules("rules.yaml", []byte(x.in))
			if err != nil {
				t.Fatal(err)
			}
			objs, err := fixture.Parse(t.Context(), r.YAML)
			if err != nil {
				t.Fatalf("%v in\n%s", err, r.YAML)
			}
			var kinds []string
			for _, o := range objs {
				kinds = append(kinds, o.GetKind())
			}
			if got := strings.Join(kinds, " "); got != x.kinds || len(r.Notes) != x.notes {
				t.Errorf("%s, notes %q", got, r.Notes)
			}
			for _, h := range x.has {
				if !strings.Contains(string(r.YAML), h) {
					t.Errorf("no %q in\n%s", h, r.YAML)
				}
			}
		})
	}
	for want, in := range map[string]string{
		"no EgressRule":   "",
		"only EgressRule": strings.Replace(rule("a", "[{port: 80, protocol: http}]"), "EgressRule", "Pod", 1),
		"unknown field":   rule("a", "[{port: 80, protocol: http, more: 1}]"),
		"out of range":    rule("a", "[{port: 99999, protocol: http}]"),
		"protocol":        rule("a", "[{port: 80, protocol: carrier-pigeon}]"),
		"must be set":     rule("", "[]"),
		"rules.yaml:9":    rule("a", "[{port: 80, protocol: http}]") + "---\nkind: EgressRule\nmetadata: {name: b, name: c}",
		"this is no YAML": rule("a", "[{port: 80, protocol: http}]") + "---\n{",
	} {
		if _, err := EgressRules("rules.yaml", []byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func FuzzEgressRules(f *testing.F) {
	f.Add([]byte(rule("httpbin.org", "[{port: 80, protocol: http}]")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := EgressRules("rules.yaml", b)
		if err == nil && (r.Rules == 0 || len(r.YAML) == 0) {
			t.Errorf("%q gives nothing and no error", b)
		}
	})
}
