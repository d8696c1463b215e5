package why

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// expectedOf reads a case and returns what is said of its first probe in a phase, one statement a line.
func expectedOf(t *testing.T, probe, more string, ph egress.Phase) string {
	t.Helper()
	var c egress.Case
	if err := yaml.Unmarshal([]byte("name: x\nprobes: [{from: client, url: \"http://bank.example/\", want: OK}]\n"+more), &c); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte("{from: client, want: OK, "+probe+"}"), &c.Probes[0]); err != nil {
		t.Fatal(err)
	}
	hosts, err := internet.ReadHosts("hosts.yaml", []byte(`
hosts:
  - {name: bank.example, address: 203.0.113.7, services: [{port: 80, kind: http}]}
  - {name: six.example, address: "2001:db8::7", services: [{port: 80, kind: http}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	w := World{Hosts: hosts, Clients: []egress.Client{
		{Name: "client", Namespace: "shop", Workload: "sleep", Injection: egress.AutoInjection},
		{Name: "other", Namespace: "else", Workload: "sleep", Injection: egress.AutoInjection},
		{Name: "bare", Namespace: "bare", Workload: "sleep", Injection: egress.NoInjection},
		{Name: "late", Namespace: "late", Workload: "sleep", Injection: egress.AutoInjection, Init: true, Escapes: true, Annotations: map[string]string{egress.NativeSidecarAnnotation: "false"}},
		{Name: "user", Namespace: "user", Workload: "sleep", Injection: egress.AutoInjection, User: 1337, Escapes: true},
		{Name: "bound", Namespace: "shop", Workload: "sleep", Injection: egress.AutoInjection, Revision: "blue"},
		{Name: "dns", Namespace: "shop", Workload: "sleep", Injection: egress.AutoInjection, Annotations: map[string]string{proxyConfig: `{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}`}},
		{Name: "ranges", Namespace: "shop", Workload: "sleep", Injection: egress.AutoInjection, Annotations: map[string]string{"traffic.sidecar.istio.io/excludeOutboundIPRanges": "203.0.113.0/24", "traffic.sidecar.istio.io/excludeOutboundPorts": "443, 8443"}},
	}}
	var out []string
	for _, r := range w.Expected(c, nil)[ph][0] {
		out = append(out, r.String())
	}
	return strings.Join(out, "\n")
}

func entryOf(name, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: " + name + "}, spec: " + spec + "}"
}

func istioObject(kind, meta, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: " + kind + ", metadata: " + meta + ", spec: " + spec + "}"
}

func TestExpected(t *testing.T) {
	bank := entryOf("bank", "{hosts: [bank.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}")
	none := "no ServiceEntry or Service of the case names "
	only := ", and the outbound policy is REGISTRY_ONLY"
	has := "ServiceEntry bank names bank.example and has port 80 (HTTP)"
	for name, x := range map[string]struct {
		probe, more string
		ph          egress.Phase
		want        string // lines
	}{
		"nothing is there":      {"", "objects: [" + bank + "]", egress.Before, none + "bank.example" + only},
		"the entry is":          {"", "objects: [" + bank + "]", egress.Applied, has},
		"and gone again":        {"", "objects: [" + bank + "]", egress.Removed, none + "bank.example" + only},
		"its setup stays":       {"", "setup: [" + bank + "]", egress.Removed, has},
		"deleted":               {"", "objects: [" + bank + "]\ndelete: [ServiceEntry/bank]", egress.Changed, none + "bank.example (ServiceEntry bank had it, and has been removed)" + only},
		"deleted and back":      {"", "objects: [" + bank + "]\ndelete: [ServiceEntry/bank]\nchange: [" + bank + "]", egress.Changed, has},
		"a setup is not":        {"", "setup: [" + bank + "]\ndelete: [ServiceEntry/bank]", egress.Changed, has},
		"refused":               {"", "refused: [" + bank + "]", egress.Applied, none + "bank.example (ServiceEntry bank has it, and must be refused)" + only},
		"another port":          {`url: "http://bank.example:8080/"`, "objects: [" + bank + "]", egress.Applied, "ServiceEntry bank names bank.example, but has no port 8080, only 80 (HTTP)\nthe outbound policy is REGISTRY_ONLY"},
		"another host":          {`url: "http://evil.example/"`, "objects: [" + bank + "]", egress.Applied, none + "evil.example" + only + "\nServiceEntry bank has port 80 (HTTP), for bank.example"},
		"in capitals":           {`url: "http://BANK.example./"`, "objects: [" + bank + "]", egress.Applied, has},
		"a Host header":         {`args: [-H, "Host: evil.example:81"]`, "objects: [" + bank + "]", egress.Applied, "ServiceEntry bank names bank.example (the URL's host) and has port 80 (HTTP)\n" + none + "evil.example" + only},
		"a Host header in TLS":  {`url: "https://bank.example/", args: [-H, "Host: evil.example"]`, "objects: [" + strings.ReplaceAll(strings.ReplaceAll(bank, "80", "443"), "HTTP", "TLS") + "]", egress.Applied, "ServiceEntry bank names bank.example and has port 443 (TLS)\n" + none + "evil.example"},
		"by connect":            {`url: "http://shop.example/", connect: "bank.example:81"`, "", egress.Applied, none + "shop.example" + only},
		"nobody can tell where": {`args: [--connect-to, "::bank.example:81"]`, "objects: [" + bank + "]", egress.Applied, has},
		"a proxy":               {`args: [-x, "http://bank.example:80"], url: "https://evil.example/"`, "objects: [" + bank + "]", egress.Applied, "ServiceEntry bank names bank.example (the forward proxy) and has port 80 (HTTP), and the probe speaks TLS\n" + none + "evil.example"},
		"a command":             {`url: "", command: "nc bank.example 9", server: bank.example`, "objects: [" + bank + "]", egress.Applied, has},
		"through another":       {`from: bare, url: "http://front.example/", through: other, server: bank.example`, "", egress.Applied, "client other makes the call to bank.example when it is called\n" + none + "bank.example" + only},
		"a wildcard":            {"", "objects: [" + strings.Replace(bank, "[bank.example]", `["*.example"]`, 1) + "]", egress.Applied, "ServiceEntry bank names *.example, which covers bank.example, and has port 80 (HTTP)"},
		"a range": {
			"", "objects: [" + entryOf("wide", "{hosts: [wide.example], addresses: [203.0.113.0/24], ports: [{number: 80, protocol: TCP}]}") + "]", egress.Applied,
			"ServiceEntry wide has the range 203.0.113.0/24, in which 203.0.113.7 of bank.example lies, and has port 80 (TCP); resolution NONE\n" + none + "bank.example",
		},
		"an address as name": {
			`url: "http://203.0.113.7/"`, "objects: [" + entryOf("vip", "{hosts: [v.example], addresses: [203.0.113.7], ports: [{number: 80, protocol: HTTP}], resolution: STATIC}") + "]", egress.Applied,
			"ServiceEntry vip has the address 203.0.113.7 and has port 80 (HTTP); resolution STATIC, and no endpoints",
		},
		"a port for everybody": {
			"", "objects: [" + entryOf("db", "{hosts: [db.example], ports: [{number: 80, protocol: TCP}], resolution: DNS}") + "]", egress.Applied,
			none + "bank.example" + only + "\nServiceEntry db has port 80 (TCP) without an address, so that calls of that port to other hosts may be taken for its own; it names db.example",
		},
		"another istiod": {
			"", "objects: [" + strings.Replace(bank, "{name: bank}", "{name: bank, labels: {istio.io/rev: blue}}", 1) + "]", egress.Applied,
			has + "; but it is for the istiod of revision blue (istio.io/rev), and the client is bound to none\nthe outbound policy is REGISTRY_ONLY",
		},
		"the client's istiod": {"from: bound", "objects: [" + strings.Replace(bank, "{name: bank}", "{name: bank, labels: {istio.io/rev: blue}}", 1) + "]", egress.Applied, has},
		"an istiod away":      {"from: bound", "istiod: {applied: {blue: 0}}\nobjects: [" + bank + "]", egress.Applied, "the istiod of revision blue, which serves the client, is away\n" + has},
		"for nobody":          {"", "objects: [" + strings.Replace(bank, "resolution: DNS", "resolution: DNS, exportTo: ['~']", 1) + "]", egress.Applied, has + "; but it is not exported to the namespace of the client (exportTo: ~)\nthe outbound policy is REGISTRY_ONLY"},
		"for the lane":        {"", "objects: [" + strings.Replace(bank, "resolution: DNS", "resolution: DNS, exportTo: ['${NAMESPACE}']", 1) + "]", egress.Applied, has},
		"for the lane, from another": {
			"from: other", "objects: [" + strings.Replace(bank, "resolution: DNS", "resolution: DNS, exportTo: ['${NAMESPACE}']", 1) + "]", egress.Applied,
			has + "; but it is not exported to the namespace of the client (exportTo: ${NAMESPACE})\nthe outbound policy is REGISTRY_ONLY",
		},
		"by default for others": {
			"", "baseMeshConfig: {defaultServiceExportTo: [else]}\nobjects: [" + bank + "]", egress.Applied,
			has + "; but it is not exported to the namespace of the client (the mesh's defaultServiceExportTo: else)\nthe outbound policy is REGISTRY_ONLY",
		},
		"a policy":             {"", "policy: ALLOW_ANY", egress.Applied, none + "bank.example, and the outbound policy is ALLOW_ANY"},
		"a policy, later":      {"", "policy: ALLOW_ANY", egress.Removed, none + "bank.example" + only},
		"a base configuration": {"", "baseMeshConfig: {outboundTrafficPolicy: {mode: ALLOW_ANY}}", egress.Before, none + "bank.example, and the outbound policy is ALLOW_ANY"},
		"a policy of no mode":  {"", "meshConfig: {outboundTrafficPolicy: {mode: null}, connectTimeout: 1s}", egress.Applied, none + "bank.example, and the outbound policy is without a mode\nthe mesh configuration has {connectTimeout: 1s}"},
		"a Sidecar's policy": {
			"", "objects: [" + istioObject("Sidecar", "{name: s}", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}") + "]", egress.Applied,
			"Sidecar s is for the client's namespace, and holds for the client; its outbound policy is ALLOW_ANY\n" + none + "bank.example, and the outbound policy of Sidecar s is ALLOW_ANY",
		},
		"a Sidecar that leaves it out": {
			"", "objects: [" + bank + ", " + istioObject("Sidecar", "{name: s}", "{egress: [{hosts: [istio-system/*]}]}") + "]", egress.Applied,
			"Sidecar s is for the client's namespace, and holds for the client; it imports istio-system/*\n" + has + "; but Sidecar s does not import it\nthe outbound policy is REGISTRY_ONLY",
		},
		"a Sidecar that excludes it": {
			"", "objects: [" + bank + ", " + istioObject("Sidecar", "{name: s}", "{egress: [{hosts: ['*/*', '~/bank.example']}]}") + "]", egress.Applied,
			"Sidecar s is for the client's namespace, and holds for the client; it imports */*, ~/bank.example\n" + has,
		},
		"a Sidecar of unknown pods": {
			"", "objects: [" + bank + ", " + istioObject("Sidecar", "{name: s}", "{workloadSelector: {labels: {tier: a}}, egress: [{hosts: [istio-system/*]}]}") + "]", egress.Applied,
			"Sidecar s is for the pods with tier=a; it imports istio-system/*\n" + has,
		},
		"two Sidecars of a rank": {
			"", "objects: [" + istioObject("Sidecar", "{name: s}", "{}") + ", " + istioObject("Sidecar", "{name: r}", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}") + "]", egress.Applied,
			"Sidecar s is for the client's namespace\nSidecar r is for the client's namespace; its outbound policy is ALLOW_ANY\n" + none + "bank.example" + only,
		},
		"no sidecar":      {"from: bare", "objects: [" + bank + "]", egress.Applied, "the client has no sidecar, so no object of Istio decides about its calls"},
		"none yet":        {"from: late", "", egress.Applied, "the client is an init container, and no sidecar runs beside it yet (sidecar.istio.io/nativeSidecar: false)"},
		"the proxy's own": {"from: user", "", egress.Applied, "the client runs as user 1337, the proxy's own, whose traffic is not captured"},
		"annotations": {"from: ranges", "", egress.Applied, "the client is annotated with traffic.sidecar.istio.io/excludeOutboundIPRanges: 203.0.113.0/24, which has 203.0.113.7 of bank.example\n" +
			"the client is annotated with traffic.sidecar.istio.io/excludeOutboundPorts: 443, 8443, which does not name port 80\n" + none + "bank.example" + only},
		"UDP":                 {`url: "udp://bank.example:7"`, "", egress.Applied, "the call is UDP, and sidecars capture TCP alone"},
		"IPv6":                {`url: "tcp://six.example:80"`, "", egress.Applied, "the target has IPv6 addresses alone, and the proxy of the client was told of no second family (ISTIO_DUAL_STACK is not set)\n" + none + "six.example" + only},
		"a question":          {`url: "dns:///bank.example"`, "objects: [" + bank + "]", egress.Applied, "the client puts a DNS question, and its sidecar answers none (ISTIO_META_DNS_CAPTURE is not set)"},
		"answered":            {`from: dns, url: "dns:///bank.example"`, "objects: [" + bank + "]", egress.Applied, "the client has its DNS questions answered by the sidecar, as far as it knows the names (ISTIO_META_DNS_CAPTURE)\n" + has},
		"answered with a VIP": {`from: dns, url: "dns:///bank.example"`, "objects: [" + strings.Replace(bank, "resolution", "addresses: [203.0.113.9], resolution", 1) + "]", egress.Applied, "the client has its DNS questions answered by the sidecar, as far as it knows the names (ISTIO_META_DNS_CAPTURE)\n" + has + ", and the address 203.0.113.9"},
		"no server name":      {`url: "tls://203.0.113.7:443", sni: "-"`, "", egress.Applied, "the call has no server name\nthe outbound policy is REGISTRY_ONLY"},
		"another answer":      {"", "dns: {applied: {bank.example: NXDOMAIN}}", egress.Applied, "the case lets DNS answer NXDOMAIN for bank.example\n" + none + "bank.example" + only},
		"a Service": {
			`url: "http://web.${NAMESPACE}.svc.cluster.local/"`, "objects: [{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}]}}, {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [203.0.113.7]}]}]", egress.Applied,
			"Service web has the name web.${NAMESPACE}.svc.cluster.local, and has port 80 (http)\nEndpointSlice web-1 gives Service web the endpoints 203.0.113.7",
		},
		"a short name elsewhere": {
			`from: bound, url: "http://web/"`, "objects: [{apiVersion: v1, kind: Service, metadata: {name: web, namespace: else}, spec: {ports: [{name: http, port: 80}]}}]", egress.Applied,
			none + "web" + only + "\nService else/web has port 80 (http), for the name web",
		},
		"an alias": {
			`url: "http://mine/"`, "objects: [" + bank + ", {apiVersion: v1, kind: Service, metadata: {name: mine}, spec: {type: ExternalName, externalName: bank.example, ports: [{name: http, port: 80}]}}]", egress.Applied,
			"Service mine is an alias of bank.example (ExternalName), with port 80 (http)\nServiceEntry bank names bank.example, of which Service mine is an alias, and has port 80 (HTTP)",
		},
		"headless": {
			`url: "http://bank.example/"`, "objects: [{apiVersion: v1, kind: Service, metadata: {name: h}, spec: {clusterIP: None, ports: [{name: tcp, port: 80}]}}, {apiVersion: v1, kind: Endpoints, metadata: {name: h}, subsets: [{addresses: [{ip: 203.0.113.7}]}]}]", egress.Applied,
			"Service h is headless, and an endpoint of it has the address 203.0.113.7 of bank.example, and has port 80 (tcp)\n" + none + "bank.example\nEndpoints h gives Service h the endpoints 203.0.113.7",
		},
		"workloads": {
			"", "objects: [" + entryOf("vm", "{hosts: [bank.example], ports: [{number: 80, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: vm}}}") + "]", egress.Applied,
			"ServiceEntry vm names bank.example and has port 80 (HTTP); resolution STATIC, endpoints are the workloads with app=vm\nno WorkloadEntry of the case has app=vm",
		},
		"led elsewhere": {
			"", "objects: [" + bank + ", " + istioObject("VirtualService", "{name: v}", "{hosts: [bank.example], http: [{match: [{port: 80}], route: [{destination: {host: out.example, port: {number: 443}}, weight: 100}]}, {redirect: {uri: /x}}]}") + ", " +
				istioObject("DestinationRule", "{name: d}", "{host: out.example, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}}") + "]", egress.Applied,
			has + "\nVirtualService v names bank.example: http (port: 80) leads to out.example port 443 (weight 100); http has redirect uri: /x\nDestinationRule d is for out.example: originates TLS (SIMPLE) at port 443",
		},
		"for a gateway": {
			"", "objects: [" + bank + ", " + istioObject("VirtualService", "{name: v}", "{hosts: [bank.example], gateways: [g], http: []}") + ", " + istioObject("Gateway", "{name: g}", "{selector: {istio: egressgateway}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ['./bank.example']}]}") + "]", egress.Applied,
			has + "\nVirtualService v names bank.example for gateway g, not for sidecars\nGateway g opens port 80 (HTTP) for ./bank.example at the pods with istio=egressgateway",
		},
		"a route": {
			"", "objects: [" + bank + ", {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [{kind: ServiceEntry, group: networking.istio.io, name: bank}], rules: [{backendRefs: [{name: out, port: 80}]}]}}]", egress.Applied,
			has + "\nHTTPRoute r is bound to ServiceEntry bank: leads to out port 80",
		},
		"a route of others": {"", "objects: [" + bank + ", {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [{kind: ServiceEntry, group: networking.istio.io, name: shop}]}}]", egress.Applied, has},
		"a filter": {
			"", "objects: [" + istioObject("EnvoyFilter", "{name: f}", "{workloadSelector: {labels: {app: sleep}}}") + "]", egress.Applied,
			none + "bank.example" + only + "\nEnvoyFilter f is there, for the pods with app=sleep",
		},
		"a network policy": {
			"from: bare", "setup: [{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: bare}, spec: {podSelector: {}, policyTypes: [Egress]}}]", egress.Before,
			"the client has no sidecar, so no object of Istio decides about its calls\nNetworkPolicy bare/closed allows all pods of the client's namespace connections to nowhere",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := expectedOf(t, x.probe, x.more, x.ph); got != x.want {
				t.Errorf("it says\n%s\nwanted\n%s", got, x.want)
			}
		})
	}
}

// Objects beyond the first few are counted.
func TestExpectedIsShort(t *testing.T) {
	var all []string
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		all = append(all, entryOf(n, "{hosts: ["+n+".example], ports: [{number: 80, protocol: HTTP}], resolution: DNS}"))
	}
	got := strings.Split(expectedOf(t, "", "objects: ["+strings.Join(all, ", ")+"]", egress.Applied), "\n")
	if len(got) != 5 || !slices.Contains(got, "2 further objects have that port, for other hosts") {
		t.Errorf("%q", got)
	}
}
