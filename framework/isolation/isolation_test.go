package isolation

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// here is a cluster with a client in every lane, one beside it, one elsewhere, and the control client.
var here = Cluster{
	Lane: []string{"client"},
	Clients: []egress.Client{
		{Name: "client", Namespace: "egress-client", Injection: egress.AutoInjection},
		{Name: "client2", Namespace: "egress-client", Injection: egress.AutoInjection},
		{Name: "other", Namespace: "egress-other", Injection: egress.AutoInjection},
		{Name: "control", Namespace: "egress-control", Injection: egress.NoInjection},
	},
	Namespaced: func(apiVersion, _ string) (is, known bool) { return true, apiVersion == "known.example/v1" },
}

func from(clients ...string) egress.Case {
	c := egress.Case{Name: "case"}
	for _, n := range clients {
		c.Probes = append(c.Probes, egress.Probe{From: n, URL: "https://bank.example/"})
	}
	return c
}

func objectsOf(t *testing.T, text string) []egress.Object {
	t.Helper()
	var out []egress.Object
	for _, doc := range strings.Split(text, "---\n") {
		var o egress.Object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

const istioAPI = "apiVersion: networking.istio.io/v1\n"

func TestDerive(t *testing.T) {
	entry := func(more string) string {
		return istioAPI + "kind: ServiceEntry\nmetadata: {name: bank" + more
	}
	client := from("client")
	for name, x := range map[string]struct {
		c         egress.Case
		objs      string
		alone     string // part of the reason; "" for none
		first     bool
		holds     string
		beyond    bool // something is noticed in a namespace that is not its clients'
		endpoints bool
	}{
		"nothing":                              {c: client},
		"a client elsewhere":                   {c: from("client", "other"), holds: "namespace egress-other"},
		"a client beside that of the lane":     {c: from("client2"), first: true},
		"the control client":                   {c: from("client", "control")},
		"a policy":                             {c: egress.Case{Policy: egress.AllowAny}, alone: "outbound policy"},
		"a mesh configuration":                 {c: egress.Case{MeshConfig: egress.Object{"a": "b"}}, alone: "mesh configuration"},
		"a gateway":                            {c: egress.Case{Needs: []egress.Feature{egress.EgressGateway}}, holds: Gateways},
		"a DNS answer":                         {c: egress.Case{DNS: map[egress.Phase]map[string]string{egress.Applied: {"gone.example": "NXDOMAIN"}}}, holds: "host gone.example"},
		"an entry for its own namespace":       {c: client, objs: entry("}\nspec: {exportTo: ['.']}")},
		"for nobody":                           {c: client, objs: entry("}\nspec: {exportTo: ['~']}")},
		"for the lane by placeholder":          {c: client, objs: entry("}\nspec: {exportTo: ['${NAMESPACE}']}")},
		"for everybody, by default":            {c: client, objs: entry("}\nspec: {hosts: [a]}"), alone: "ServiceEntry bank has no exportTo", beyond: true},
		"for everybody":                        {c: client, objs: entry("}\nspec: {exportTo: ['*']}"), alone: "is exported to every namespace", beyond: true},
		"by a default that is the mesh's":      {c: egress.Case{BaseMeshConfig: egress.Object{"defaultServiceExportTo": []any{"."}}}, objs: entry("}\nspec: {}")},
		"for the gateways":                     {c: client, objs: entry("}\nspec: {exportTo: ['.', istio-system]}"), holds: Gateways, beyond: true},
		"for another client":                   {c: from("client", "other"), objs: entry("}\nspec: {exportTo: ['.', egress-other]}"), holds: "namespace egress-other"},
		"in the lane's namespace by its name":  {c: client, objs: entry(", namespace: egress-client}\nspec: {exportTo: ['.']}"), first: true},
		"in a namespace of its own":            {c: client, objs: entry(", namespace: egress-config}\nspec: {exportTo: ['.']}"), holds: "namespace egress-config", beyond: true},
		"central":                              {c: client, objs: entry(", namespace: egress-config}\nspec: {}"), alone: "egress-config/bank has no exportTo", holds: "namespace egress-config", beyond: true},
		"central, with its namespace":          {c: client, objs: "apiVersion: v1\nkind: Namespace\nmetadata: {name: egress-config}\n---\n" + entry(", namespace: egress-config}\nspec: {exportTo: ['.']}"), holds: "namespace egress-config", beyond: true},
		"in the root namespace":                {c: client, objs: entry(", namespace: istio-system}\nspec: {}"), alone: "has no exportTo", holds: Gateways, beyond: true},
		"in the control client's namespace":    {c: client, objs: entry(", namespace: egress-control}\nspec: {exportTo: ['.']}"), alone: "which every case needs", beyond: true},
		"a Sidecar":                            {c: client, objs: istioAPI + "kind: Sidecar\nmetadata: {name: x}\nspec: {}"},
		"a Sidecar that imports the lane":      {c: client, objs: istioAPI + "kind: Sidecar\nmetadata: {name: x}\nspec: {egress: [{hosts: ['egress-client/*']}]}", first: true},
		"a Sidecar that imports another":       {c: client, objs: istioAPI + "kind: Sidecar\nmetadata: {name: x}\nspec: {egress: [{hosts: ['egress-client-dns/*']}]}"},
		"a Sidecar for the mesh":               {c: client, objs: istioAPI + "kind: Sidecar\nmetadata: {name: x, namespace: istio-system}\nspec: {}", alone: "root namespace", holds: Gateways, beyond: true},
		"a policy of the mesh":                 {c: client, objs: "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x, namespace: istio-system}\nspec: {}", alone: "root namespace", holds: Gateways, beyond: true},
		"a policy of the gateway":              {c: client, objs: "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x, namespace: istio-system}\nspec: {selector: {matchLabels: {istio: egressgateway}}}", holds: Gateways, beyond: true},
		"a policy of any workload":             {c: client, objs: "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: x, namespace: istio-system}\nspec: {selector: {matchLabels: {app: sleep}}}", alone: "root namespace", holds: Gateways, beyond: true},
		"a filter of the lane":                 {c: client, objs: istioAPI + "kind: EnvoyFilter\nmetadata: {name: x}\nspec: {}"},
		"a Gateway":                            {c: client, objs: istioAPI + "kind: Gateway\nmetadata: {name: x}\nspec: {selector: {istio: egressgateway}}", holds: Gateways, beyond: true},
		"a Gateway of all gateways":            {c: client, objs: istioAPI + "kind: Gateway\nmetadata: {name: x}\nspec: {}", alone: "selects no gateway", beyond: true},
		"a Service":                            {c: client, objs: "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: http, port: 80}]}", endpoints: true},
		"a Service on an HTTP port":            {c: client, objs: "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: http-alt, port: 8000}]}", holds: "port 8000", endpoints: true},
		"a Service on a TCP port":              {c: client, objs: "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: tcp, port: 8000}]}", endpoints: true},
		"a headless Service":                   {c: client, objs: "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: None}", alone: "headless", beyond: true, endpoints: true},
		"a headless Service for its namespace": {c: client, objs: "apiVersion: v1\nkind: Service\nmetadata: {name: x, annotations: {networking.istio.io/exportTo: '.'}}\nspec: {clusterIP: None}", endpoints: true},
		"a Secret":                             {c: client, objs: "apiVersion: v1\nkind: Secret\nmetadata: {name: x}"},
		"a cluster's role":                     {c: client, objs: "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}", alone: "whole cluster", beyond: true},
		"the mesh configuration":               {c: client, objs: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}", alone: "mesh configuration", holds: Gateways, beyond: true},
		"a kind that nobody knows":             {c: client, objs: "apiVersion: what.example/v1\nkind: What\nmetadata: {name: x}", alone: "not known", beyond: true},
		"a kind that the API server knows":     {c: client, objs: "apiVersion: known.example/v1\nkind: What\nmetadata: {name: x}", endpoints: true},
		"a TLSRoute of an entry":               {c: client, objs: "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: x}\nspec: {parentRefs: [{kind: ServiceEntry, name: bank}], hostnames: [bank.example]}", holds: "host bank.example", endpoints: true},
		"a TLSRoute of any host":               {c: client, objs: "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: x}\nspec: {parentRefs: [{kind: ServiceEntry, name: bank}]}", alone: "whatever host", beyond: true, endpoints: true},
		"a Deployment":                         {c: client, objs: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}", alone: "starts pods", endpoints: true},
		"a gateway of its own":                 {c: client, objs: "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {gatewayClassName: istio}", alone: "starts pods", endpoints: true},
		"listeners of a gateway that is there": {c: client, objs: "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {addresses: [{type: Hostname, value: gw}]}", endpoints: true},
		"an HTTPRoute of an entry":             {c: client, objs: "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {parentRefs: [{kind: ServiceEntry, name: bank}]}", endpoints: true},
	} {
		f := Derive(x.c, objectsOf(t, x.objs), here)
		if (f.Alone == "") != (x.alone == "") || !strings.Contains(f.Alone, x.alone) {
			t.Errorf("%s: alone: %q", name, f.Alone)
		}
		if got := strings.Join(f.Holds, ", "); got != x.holds {
			t.Errorf("%s: holds %s", name, got)
		}
		if (f.FirstLane != "") != x.first {
			t.Errorf("%s: first lane: %q", name, f.FirstLane)
		}
		if (len(f.Noticed) > 0) != x.beyond {
			t.Errorf("%s: noticed: %q", name, f.Noticed)
		}
		if f.Endpoints != x.endpoints {
			t.Errorf("%s: endpoints: %t", name, f.Endpoints)
		}
	}
}

func TestUses(t *testing.T) {
	c := from("client")
	c.Probes = append(c.Probes, egress.Probe{From: "client", URL: "tls://evil.example", SNI: "bank.example", Connect: "10.0.0.1:8443"})
	f := Derive(c, objectsOf(t, istioAPI+"kind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: [wide.example], exportTo: ['.']}"), here)
	for _, want := range []string{"host bank.example", "host evil.example", "host wide.example", "host 10.0.0.1", "port 443", "port 8443"} {
		if !slices.Contains(f.Uses, want) {
			t.Errorf("%s is not among %v", want, f.Uses)
		}
	}
	route := Derive(from("client"), objectsOf(t, "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: x}\nspec: {parentRefs: [{kind: ServiceEntry, name: x}], hostnames: [bank.example]}"), here)
	if !f.Conflicts(route) {
		t.Error("a route of a host runs beside a case that calls it")
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]bool{
		"egress-client": true, `"egress-client/*"`: true, "http://x.egress-client.svc": true, "egress-client-dns and egress-client": true,
		"egress-client-dns": false, "my-egress-client": false, "egress-client2": false, "": false,
	} {
		if names(text, "egress-client") != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}
