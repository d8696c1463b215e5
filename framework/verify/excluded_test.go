package verify

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// What leaves a call to the network is what is about its port or address, and about calls that go out.
func TestExcludedBy(t *testing.T) {
	const ports, ranges, included, inbound = "traffic.sidecar.istio.io/excludeOutboundPorts", "traffic.sidecar.istio.io/excludeOutboundIPRanges", "traffic.sidecar.istio.io/includeOutboundIPRanges", "traffic.sidecar.istio.io/excludeInboundPorts"
	for name, x := range map[string]struct {
		notes, spec, mesh string
		want              map[string]string // by question, what is told of it
	}{
		"by port":                       {inbound + ": '15020', " + ports + ": '5432, 22'", "", "", map[string]string{"tcp://unregistered.example:5432": ports, "tcp://unregistered.example:22": ports}},
		"by port, and by address":       {ports + ": '22', " + ranges + ": 10.20.0.0/16", "", "", map[string]string{"tcp://unregistered.example:22": ports, "tcp://10.20.0.9:3306": ranges}},
		"by address alone":              {ports + ": '5432', " + ranges + ": 10.20.0.0/16", "", "", map[string]string{"tcp://10.20.0.9:3306": ranges}},
		"not included":                  {included + ": 10.20.0.0/16", "", "", map[string]string{"tcp://unregistered.example:22": included}},
		"not even one is":               {included + ": ''", "", "", map[string]string{"tcp://unregistered.example:22": included}},
		"all are included":              {included + ": '*', " + inbound + ": '1'", "", "", map[string]string{"tcp://unregistered.example:22": "they are not redirected"}},
		"another direction":             {inbound + ": '22'", "", "", map[string]string{"tcp://unregistered.example:22": "they are not redirected"}},
		"by the installation":           {"", "", "values: {global: {proxy: {excludeOutboundPorts: '22'}}}", map[string]string{"tcp://unregistered.example:22": ports}},
		"no longer by the installation": {ports + ": '23'", "", "values: {global: {proxy: {excludeOutboundPorts: '22'}}}", map[string]string{"tcp://unregistered.example:22": "they are not redirected"}},
		"by user":                       {ports + ": '22'", "securityContext: {runAsUser: 1337}, ", "", map[string]string{"tcp://unregistered.example:25": "user 1337"}},
		"by group":                      {ports + ": '22'", "securityContext: {runAsGroup: 1337}, ", "", map[string]string{"tcp://unregistered.example:25": "group 1337"}},
		"by mode":                       {"sidecar.istio.io/interceptionMode: NONE", "", "", map[string]string{"tcp://unregistered.example:25": "interceptionMode"}},
		"by the proxy's mode":           {"proxy.istio.io/config: '{interceptionMode: NONE}'", "", "", map[string]string{"tcp://unregistered.example:25": "proxy.istio.io/config"}},
		"by the mesh's mode":            {"", "", "meshConfig: {defaultConfig: {interceptionMode: NONE}}", map[string]string{"tcp://unregistered.example:25": "defaultConfig"}},
	} {
		text := nsShop + deployment("shop", "cart", "app: cart", x.notes, x.spec) + entryText("db", "hosts: [db.example], addresses: [10.20.0.9], ports: [{number: 3306, protocol: MySQL}]") +
			"---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh}\nspec: {" + x.mesh + "}\n"
		r, _, _ := reported(t, text, func(c Class, q Question) fate {
			if x.want[q.Key()] != "" && c.Members[0].Namespace == "shop" {
				return fate{got: egress.Direct}
			}
			return fate{}
		})
		told := map[string]string{}
		for _, s := range r.Surprises {
			for _, p := range s.Proof {
				if _, to, ok := strings.Cut(p, " → "); ok && s.Name == "excluded" {
					key, _, _ := strings.Cut(to, ": allowed")
					told[key] = s.Why
				}
			}
		}
		if len(told) != len(x.want) {
			t.Errorf("%s: %v", name, told)
		}
		for key, want := range x.want {
			if !strings.Contains(told[key], want) {
				t.Errorf("%s: of %s is told %q, want %q", name, key, told[key], want)
			}
		}
	}
}

// Names of ports that mean what the protocol means are no surprise.
func TestPortNames(t *testing.T) {
	for text, want := range map[string]bool{
		"name: grpc-web, protocol: GRPC-Web": false, "name: grpc-web-api, protocol: GRPC": false, "name: http-proxy, protocol: HTTP_PROXY": false,
		"name: http, protocol: GRPC-Web": false, "name: https, protocol: TLS": false, "name: tcp-db, protocol: MySQL": false,
		"name: https, protocol: HTTP": true, "name: http, protocol: TCP": true, "name: tls, protocol: GRPC-Web": true, "name: x, protocol: TCP": false,
	} {
		r, _, _ := reported(t, nsShop+cart+entryText("a", "hosts: [a.example], ports: [{number: 9000, "+text+"}]"), strict)
		found := false
		for _, s := range r.Surprises {
			found = found || s.Name == "port-name"
		}
		if found != want {
			t.Errorf("%s: %t", text, found)
		}
	}
}
