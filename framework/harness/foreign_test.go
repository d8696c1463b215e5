package harness

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

func object(t *testing.T, text string) *fixture.Object {
	t.Helper()
	o := &fixture.Object{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestIsForeign(t *testing.T) {
	for text, want := range map[string]bool{
		"{kind: ServiceEntry, metadata: {name: a, namespace: default}}":                                         true,
		"{kind: ServiceEntry, metadata: {name: a, namespace: x, labels: {mesh-egress-conformance/run: run-1}}}": false,
		"{kind: Service, metadata: {name: a, namespace: x, labels: {mesh-egress-conformance/cluster: up}}}":     false,
		"{kind: Service, metadata: {name: kubernetes, namespace: default}}":                                     false,
		"{kind: Service, metadata: {name: shop, namespace: default}}":                                           true,
		"{kind: GatewayClass, metadata: {name: istio}, spec: {controllerName: istio.io/gateway-controller}}":    false,
		"{kind: GatewayClass, metadata: {name: other}, spec: {controllerName: example.com/gateways}}":           true,
		"{kind: NetworkPolicy, metadata: {name: a, namespace: default}}":                                        true,
		"{kind: EnvoyFilter, metadata: {name: a, namespace: istio-system}}":                                     true,
	} {
		if got := isForeign(object(t, text), mesh.Installed{}); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// A verdict names the foreign objects that may be the reason for it, and no others.
func TestBlame(t *testing.T) {
	entry := func(hosts, rest string) foreign {
		o := object(t, "{kind: ServiceEntry, metadata: {name: a, namespace: default}, spec: {hosts: ["+hosts+"]"+rest+"}}")
		return foreign{fixture.Describe(o), o}
	}
	service := func(ports string) foreign {
		o := object(t, "{kind: Service, metadata: {name: a, namespace: default}, spec: {ports: ["+ports+"]}}")
		return foreign{fixture.Describe(o), o}
	}
	headless := service("{name: http, port: 8080}, {name: tcp, port: 80}], clusterIP: None, x: [")
	c := probing("http://httpbin.org/headers")
	for name, x := range map[string]struct {
		f       foreign
		verdict egress.Verdict
		want    bool
	}{
		"the same host":        {entry("httpbin.org", ", ports: [{protocol: HTTP}]"), egress.Violates, true},
		"a wildcard":           {entry("'*.org'", ", ports: [{protocol: HTTP}]"), egress.Violates, true},
		"another host":         {entry("example.com", ", ports: [{protocol: HTTP}]"), egress.Violates, false},
		"bytes of any host":    {entry("example.com", ", ports: [{protocol: TCP}]"), egress.Violates, true},
		"a range of addresses": {entry("example.com", ", addresses: [10.0.0.0/8], ports: [{protocol: HTTP}]"), egress.Violates, true},
		"the mesh itself":      {foreign{what: "the mesh configuration's outboundTrafficPolicy"}, egress.Inconclusive, true},
		"HTTP at its port":     {service("{name: http-web, port: 80}"), egress.Violates, true},
		"HTTP by appProtocol":  {service("{name: web, port: 80, appProtocol: kubernetes.io/h2c}"), egress.Violates, true},
		"HTTP at another port": {service("{name: http, port: 8080}, {name: tcp, port: 80}"), egress.Violates, false},
		"bytes at its port":    {service("{name: tcp, port: 80}"), egress.Violates, true},
		"without an address":   {headless, egress.Violates, true},
		"nothing to explain":   {entry("httpbin.org", ""), egress.Conforms, false},
	} {
		got := foreignObjects{x.f}.blame(egress.Result{Case: c, Verdict: x.verdict, Why: "PASS, wanted B502"})
		if strings.Contains(got.Why, x.f.what) != x.want {
			t.Errorf("%s: %s", name, got.Why)
		}
	}
}

// Of an existing cluster's Services those count that take a port for HTTP in every sidecar.
func TestServicesReachAll(t *testing.T) {
	for text, want := range map[string]bool{
		"metadata: {name: a}, spec: {ports: [{name: http-web, port: 443}]}":                                                                 true,
		"metadata: {name: a}, spec: {ports: [{name: http, port: 80}, {name: tcp-a, port: 443}]}":                                            false,
		"metadata: {name: a}, spec: {ports: [{port: 443}]}":                                                                                 false,
		"metadata: {name: a}, spec: {ports: [{name: a, port: 8080, appProtocol: grpc}]}":                                                    true,
		"metadata: {name: a, annotations: {networking.istio.io/exportTo: '*'}}, spec: {ports: [{name: grpc-web, port: 8080}]}":              true,
		"metadata: {name: a, annotations: {networking.istio.io/exportTo: '.'}}, spec: {ports: [{name: http2, port: 8080}]}":                 false,
		"metadata: {name: a, annotations: {networking.istio.io/exportTo: '~'}}, spec: {ports: [{name: httpbin, port: 8080}]}":               false,
		"metadata: {name: a}, spec: {ports: [{name: httpbin, port: 8080}, {name: https, port: 443}, {name: x, port: 1, appProtocol: tcp}]}": false,
	} {
		if got := reachesAll(object(t, "{kind: Service, "+text+"}")); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// A Service that takes a port for HTTP is blamed for what is called at that port, and where nobody knows which one is called.
func TestBlameByPort(t *testing.T) {
	o := object(t, "{kind: Service, metadata: {name: a, namespace: default}, spec: {ports: [{name: http-web, port: 443}]}}")
	command := probing("http://httpbin.org/")
	command.Probes[0].URL, command.Probes[0].Command = "", "nc httpbin.org 443"
	for name, x := range map[string]struct {
		c    egress.Case
		want bool
	}{
		"its port":     {probing("https://httpbin.org/"), true},
		"another port": {probing("http://httpbin.org/"), false},
		"a command":    {command, true},
	} {
		if got := (foreign{fixture.Describe(o), o}).explains(x.c); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
