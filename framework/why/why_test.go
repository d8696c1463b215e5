package why

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// configured is the configuration of a sidecar in namespace egress-client of Istio 1.31 (what does not matter is left
// out) that had these objects.
func configured(t *testing.T) (Config, []Object) {
	t.Helper()
	b, err := os.ReadFile("testdata/config_dump.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return c, objects(t, `
- {kind: ServiceEntry, namespace: egress-client, name: open-httpbin, spec: {hosts: [httpbin.org], ports: [{number: 80, name: http, protocol: HTTP}]}}
- {kind: VirtualService, namespace: egress-client, name: httpbin-timeout, spec: {}}
- {kind: DestinationRule, namespace: egress-client, name: httpbin-dr, spec: {}}
- {kind: ServiceEntry, namespace: egress-control, name: wiki, spec: {hosts: [en.wikipedia.org], exportTo: ["."], ports: [{number: 443, name: tls, protocol: TLS}]}}
- {kind: ServiceEntry, namespace: egress-client, name: cnn, spec: {hosts: [edition.cnn.com], exportTo: ["."], ports: [{number: 443, name: tls, protocol: TLS}]}}
- {kind: VirtualService, namespace: egress-client, name: cnn-tls, spec: {}}
`)
}

func objects(t *testing.T, text string) []Object {
	t.Helper()
	var out []Object
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// asked is a question about a call with one line of the sidecar.
func asked(url string, got egress.Outcome, line egress.AccessLog) Question {
	return Question{
		Probe: egress.GET("client", url), Namespace: "egress-client", Captured: true, Policy: egress.RegistryOnly,
		Result: egress.ProbeResult{Got: got, Observations: []egress.Observation{{Mesh: []egress.AccessLog{line}}}},
	}
}

// private is a question in a mesh in which objects are for their own namespaces unless they say otherwise.
func private(q Question) Question {
	q.ExportTo = []string{"."}
	return q
}

// gatewayBound is a configuration with one more virtual host, of whose routes one leads to a gateway's other port.
func gatewayBound(c Config) Config {
	c.Tables = append(slices.Clone(c.Tables), Table{Name: "80", Hosts: []VirtualHost{{
		Name: "httpbin.org:80", Domains: []string{"httpbin.org"}, Routes: []Route{{Object: "VirtualService egress-client/to-gateway", Clusters: []string{"outbound|443|api|gw.a.svc.cluster.local"}}},
	}}})
	return c
}

func TestExplain(t *testing.T) {
	config, have := configured(t)
	blocked := egress.AccessLog{RouteName: "block_all", ResponseCode: 502, Authority: "httpbin.org", DownstreamLocal: "198.51.100.10:80"}
	reset := egress.AccessLog{UpstreamCluster: "BlackHoleCluster", ResponseFlags: "UH", DownstreamLocal: "198.51.100.10:443"}
	open := egress.AccessLog{UpstreamCluster: "outbound|80||httpbin.org", ResponseCode: 200, Authority: "httpbin.org", DownstreamLocal: "198.51.100.10:80"}
	for name, x := range map[string]struct {
		q    Question
		more string // further objects
		want []string
		not  []string
	}{
		"let out over HTTP": {asked("http://httpbin.org/get", egress.OK, open), "", []string{
			"allowed [OK]", "ServiceEntry egress-client/open-httpbin has the host httpbin.org with port 80 (HTTP)",
			"VirtualService egress-client/httpbin-timeout has the route that the request took (virtual host httpbin.org:80)",
			"DestinationRule egress-client/httpbin-dr says how",
		}, []string{"missing", "but\n", "cnn"}},
		"led to another port": {asked("http://httpbin.org/get", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|443|api|gw.a.svc.cluster.local", Authority: "httpbin.org", DownstreamLocal: "198.51.100.10:80"}), "", []string{
			"VirtualService egress-client/to-gateway has the route that the request took (virtual host httpbin.org:80)",
		}, nil},
		"let out over TLS": {asked("https://edition.cnn.com/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|443||edition.cnn.com", SNI: "edition.cnn.com", DownstreamLocal: "198.51.100.30:443"}), "", []string{
			"ServiceEntry egress-client/cnn has the host", "VirtualService egress-client/cnn-tls has the route that the connection took",
		}, []string{"httpbin", "missing"}},
		"another port is missing": {asked("https://httpbin.org/", egress.BRST, reset), "", []string{
			"the mesh configuration (outboundTrafficPolicy) blocks what no object names (REGISTRY_ONLY)", "a ServiceEntry with host httpbin.org and port 443",
			"ServiceEntry egress-client/open-httpbin has the host, and no port 443: it has 80 (HTTP)",
		}, []string{"this would let it out"}},
		"not exported": {asked("https://en.wikipedia.org/", egress.BRST, egress.AccessLog{UpstreamCluster: "BlackHoleCluster", DownstreamLocal: "91.198.174.192:443"}), "", []string{
			"ServiceEntry egress-control/wiki has the host and port 443, and is not exported to namespace egress-client (exportTo: .)",
		}, nil},
		"not exported by default": {private(asked("http://a.example/", egress.B502, egress.AccessLog{RouteName: "block_all", Authority: "a.example", DownstreamLocal: "198.51.100.9:80"})), `
- {kind: ServiceEntry, namespace: shop, name: a, spec: {hosts: [a.example], ports: [{number: 80, protocol: HTTP}]}}`, []string{
			"ServiceEntry shop/a has the host and port 80, and is not exported to namespace egress-client (the mesh's defaultServiceExportTo: .)",
		}, nil},
		"another's of the host, not exported by default": {private(asked("http://httpbin.org/get", egress.OK, open)), `
- {kind: ServiceEntry, namespace: shop, name: a, spec: {hosts: [httpbin.org], ports: [{number: 80, protocol: HTTP}]}}`, []string{
			"ServiceEntry egress-client/open-httpbin has the host httpbin.org",
		}, []string{"shop/a"}},
		"a Sidecar hides it": {asked("http://a.example/", egress.B502, egress.AccessLog{RouteName: "block_all", Authority: "a.example:80", DownstreamLocal: "198.51.100.9:80"}), `
- {kind: ServiceEntry, namespace: shop, name: a, spec: {hosts: ["*.example"], ports: [{number: 80, protocol: HTTP}]}}
- {kind: Sidecar, namespace: egress-client, name: default, spec: {egress: [{hosts: ["./*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
- {kind: Sidecar, namespace: other, name: default, spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}`, []string{
			"Sidecar egress-client/default blocks what no object names", "ServiceEntry shop/a has the host and port 80, and the proxy does not know it: Sidecar egress-client/default limits what it sees",
		}, nil},
		"the proxy has it not": {asked("http://a.example/", egress.B502, egress.AccessLog{RouteName: "block_all", Authority: "a.example", DownstreamLocal: "198.51.100.9:80"}), `
- {kind: ServiceEntry, namespace: shop, name: a, spec: {hosts: [a.example], ports: [{number: 80, protocol: HTTP}]}}`, []string{"the proxy does not have it (yet)"}, nil},
		"another protocol": {asked("tcp://httpbin.org:80", egress.BRST, egress.AccessLog{UpstreamCluster: "BlackHoleCluster", DownstreamLocal: "198.51.100.10:80"}), "", []string{
			"ServiceEntry egress-client/open-httpbin has the host and port 80, and the proxy knows it, as HTTP: the call is none",
		}, nil},
		"nothing is there": {asked("http://httpbin.com/", egress.B502, egress.AccessLog{RouteName: "block_all", Authority: "httpbin.com", DownstreamLocal: "198.51.100.10:80"}), "", []string{
			"this would let it out", "- httpbin.com", "namespace: egress-client", "protocol: HTTP",
		}, []string{"nearly"}},
		"the name is another object's": {asked("http://httpbin.org/", egress.B502, blocked), "", []string{"the proxy knows it, as HTTP"}, nil},
		"passthrough": {asked("https://en.wikipedia.org/", egress.Pass, egress.AccessLog{UpstreamCluster: "PassthroughCluster", DownstreamLocal: "91.198.174.192:443"}), "", []string{
			"the outbound policy lets everything out that no object names (ALLOW_ANY)", "nothing while that is so; with REGISTRY_ONLY, a ServiceEntry", "not exported",
		}, []string{"this would let it out"}},
		"a cluster without endpoints": {asked("http://httpbin.org/", egress.S503UH, egress.AccessLog{UpstreamCluster: "outbound|80||httpbin.org", ResponseCode: 503, ResponseFlags: "UH", Authority: "httpbin.org"}), "", []string{
			"ServiceEntry egress-client/open-httpbin", "but\n  503, no healthy upstream host; none of the host's endpoints",
		}, nil},
		"TLS that fails": {asked("http://httpbin.org/", egress.S503UF, egress.AccessLog{UpstreamCluster: "outbound|80||httpbin.org", ResponseFlags: "UF,URX", UpstreamHost: "198.51.100.10:443", UpstreamFailure: "TLS_error: wrong version"}), "", []string{
			"no connection to 198.51.100.10:443; TLS_error: wrong version",
		}, nil},
		"a Service": {asked("http://reviews.shop/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|9080|v2|reviews.shop.svc.cluster.local"}), "", []string{"Service shop/reviews is in the mesh's registry"}, nil},
		"an object that may not be read": {asked("http://bank.example/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|80||bank.example"}), "", []string{
			"the registry has the host bank.example with port 80; the object that it comes from could not be read",
		}, nil},
		"answered by a rule": {asked("http://httpbin.org/red", egress.Self, egress.AccessLog{Authority: "httpbin.org", ResponseCode: 301, DownstreamLocal: "198.51.100.10:80"}), "", []string{
			"VirtualService egress-client/httpbin-timeout has the routes of virtual host httpbin.org:80",
		}, []string{"but\n", "missing"}},
		"no route": {asked("http://httpbin.org/", egress.S404NR, egress.AccessLog{Authority: "httpbin.org", ResponseCode: 404, ResponseFlags: "NR", DownstreamLocal: "198.51.100.10:80"}), "", []string{
			"but\n  404, no route; no route of the virtual host matches",
		}, nil},
		"denied": {asked("http://httpbin.org/", egress.S403RBAC, egress.AccessLog{ResponseCode: 403, ResponseDetails: "rbac_access_denied_matched_policy[ns[shop]-policy[no-bank]-rule[0]]"}), "", []string{
			"AuthorizationPolicy shop/no-bank denies the request",
		}, []string{"missing"}},
		"allowed by none": {asked("http://httpbin.org/", egress.S403RBAC, egress.AccessLog{ResponseCode: 403, ResponseDetails: "rbac_access_denied_matched_policy[none]"}), `
- {kind: AuthorizationPolicy, namespace: istio-system, name: allow-some, spec: {}}`, []string{
			"no rule of theirs matches", "AuthorizationPolicy istio-system/allow-some is one of",
		}, nil},
	} {
		x.q.Config, x.q.Objects = gatewayBound(config), append(objects(t, x.more), have...)
		a := Explain(x.q)
		text := a.Text()
		for _, want := range x.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, text)
			}
		}
		for _, not := range x.not {
			if strings.Contains(text, not) {
				t.Errorf("%s: %q is in\n%s", name, not, text)
			}
		}
	}
}

// Of several Sidecars one holds: Istio takes one that selects the pod before one for the namespace, and that before one for the mesh.
func TestSidecarOfThePod(t *testing.T) {
	const (
		mine    = `{kind: Sidecar, namespace: egress-client, name: mine, spec: {workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {mode: ALLOW_ANY}}}`
		others  = `{kind: Sidecar, namespace: egress-client, name: others, spec: {workloadSelector: {labels: {app: b}}, outboundTrafficPolicy: {mode: ALLOW_ANY}}}`
		silent  = `{kind: Sidecar, namespace: egress-client, name: silent, spec: {workloadSelector: {labels: {app: a}}, egress: [{hosts: ["./*"]}]}}`
		spaces  = `{kind: Sidecar, namespace: egress-client, name: spaces, spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}}`
		root    = `{kind: Sidecar, namespace: istio-system, name: root, spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}}`
		strange = `{kind: Sidecar, namespace: other, name: strange, spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}}`
		meshes  = "the mesh configuration (outboundTrafficPolicy)"
	)
	for name, x := range map[string]struct {
		objects []string
		policy  egress.Policy // of the mesh
		want    string
	}{
		"one that selects it":           {[]string{root, spaces, others, mine}, egress.RegistryOnly, "Sidecar egress-client/mine"},
		"one that selects another":      {[]string{others}, egress.AllowAny, meshes},
		"one for the namespace":         {[]string{root, others, spaces}, egress.RegistryOnly, "Sidecar egress-client/spaces"},
		"one for the mesh":              {[]string{others, root}, egress.RegistryOnly, "Sidecar istio-system/root"},
		"one of another namespace":      {[]string{strange}, egress.AllowAny, meshes},
		"one that says nothing of it":   {[]string{spaces, silent}, egress.AllowAny, meshes},
		"what holds says another thing": {[]string{spaces, silent}, egress.RegistryOnly, "the outbound policy"},
	} {
		q := asked("https://a.example/", egress.Pass, egress.AccessLog{UpstreamCluster: "PassthroughCluster", DownstreamLocal: "198.51.100.9:443"})
		q.Labels, q.Policy = map[string]string{"app": "a", "version": "v1"}, x.policy
		q.Objects = objects(t, "- "+strings.Join(x.objects, "\n- "))
		if got := Explain(q).Because[0].Object; got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
	q := asked("http://a.example/", egress.B502, egress.AccessLog{RouteName: "block_all", Authority: "a.example", DownstreamLocal: "198.51.100.9:80"})
	q.Labels = map[string]string{"app": "b"}
	q.Objects = objects(t, "- "+silent+`
- {kind: ServiceEntry, namespace: shop, name: a, spec: {hosts: [a.example], ports: [{number: 80, protocol: HTTP}]}}`)
	if text := Explain(q).Text(); strings.Contains(text, "silent") {
		t.Errorf("a Sidecar for others limits nothing:\n%s", text)
	}
}

func TestExplainWithoutLine(t *testing.T) {
	for name, x := range map[string]struct {
		change func(q *Question)
		want   string
	}{
		"no sidecar":        {func(q *Question) { q.Captured, q.Result.Got = false, egress.Direct }, "client client has no sidecar"},
		"around it":         {func(q *Question) { q.Result.Got = egress.Direct }, "the pod's annotations"},
		"no name":           {func(q *Question) { q.Result.Got = egress.DNSX }, "a DNS record of httpbin.org"},
		"a timeout":         {func(q *Question) { q.Result.Got = egress.TMO }, "the sidecar's log has no line of it"},
		"nothing is proven": {func(q *Question) { q.Result.Got, q.Result.Why = 0, "the witnesses disagree" }, "nothing is proven: the witnesses disagree"},
		"no attempt":        {func(q *Question) { q.Result.Got, q.Result.Observations = egress.REF, nil }, "connection refused"},
	} {
		q := asked("http://httpbin.org/", egress.OK, egress.AccessLog{})
		q.Result.Observations[0].Mesh = nil
		x.change(&q)
		if text := Explain(q).Text(); !strings.Contains(text, x.want) || strings.Contains(text, "this would let it out") {
			t.Errorf("%s: %q is not in\n%s", name, x.want, text)
		}
	}
}

func TestGateways(t *testing.T) {
	q := asked("http://httpbin.org/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|80||istio-egressgateway.istio-egress.svc.cluster.local", Authority: "httpbin.org"})
	q.Objects = objects(t, `[{kind: ServiceEntry, namespace: egress-client, name: open-httpbin, spec: {hosts: [httpbin.org], ports: [{number: 443, protocol: TLS}]}}]`)
	o := &q.Result.Observations[0]
	o.Hops = []egress.Hop{
		{Gateway: "egress-1", Line: &egress.AccessLog{UpstreamCluster: "outbound|443||httpbin.org"}},
		{Gateway: "egress-2", Line: &egress.AccessLog{ResponseDetails: "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]"}},
		{Gateway: "egress-3"},
	}
	text := Explain(q).Text()
	at := -1
	for _, want := range []string{
		"Service istio-egress/istio-egressgateway", `gateway egress-1 was given it, and sent it on by cluster "outbound|443||httpbin.org"`,
		"ServiceEntry egress-client/open-httpbin has the host httpbin.org with port 443 (TLS)", "AuthorizationPolicy a/b denies", "gateway egress-3 was given the connection, and its log",
	} {
		i := strings.Index(text, want)
		if i <= at {
			t.Errorf("%q is not in its place in\n%s", want, text)
		}
		at = i
	}
}

// What a gateway sends on is in the registry of its own namespace.
func TestGatewaySeesItsOwn(t *testing.T) {
	q := asked("http://httpbin.org/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|80||istio-egressgateway.istio-system.svc.cluster.local", Authority: "httpbin.org"})
	q.Objects = objects(t, `[{kind: ServiceEntry, namespace: shop, name: web, spec: {hosts: [httpbin.org], exportTo: [istio-system], ports: [{number: 80, protocol: HTTP}]}}]`)
	q.Result.Observations[0].Hops = []egress.Hop{{Gateway: "istio-system/istio-egressgateway-1", Line: &egress.AccessLog{UpstreamCluster: "outbound|80||httpbin.org"}}}
	if text := Explain(q).Text(); !strings.Contains(text, "ServiceEntry shop/web has the host httpbin.org") {
		t.Error(text)
	}
}

// gateway is what the egress gateway of Istio 1.31 has (what does not matter is left out) of
// framework/verify/testdata/surprises/no-effect@gateway/found.yaml.
func gateway(t *testing.T) Config {
	t.Helper()
	b, err := os.ReadFile("testdata/gateway_dump.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The objects by which a gateway sends a call on are in its own configuration, and not in the client's.
func TestGatewaysOwnObjects(t *testing.T) {
	const name = "istio-system/istio-egressgateway-1"
	sent := egress.AccessLog{UpstreamCluster: "outbound|80||api.example", Authority: "api.example", DownstreamLocal: "10.244.0.9:443"}
	passed := egress.AccessLog{UpstreamCluster: "outbound|80||api.example", SNI: "api.example", DownstreamLocal: "10.244.0.9:443"}
	own := func(l egress.AccessLog, change func(*egress.AccessLog)) egress.AccessLog { change(&l); return l }
	const route, passes = "VirtualService shop/from-gateway has the route that the request took (virtual host api.example:443)", "VirtualService shop/passes has a route of a gateway's connections to it"
	const rule = "DestinationRule shop/tls says how the gateway connects to it"
	const unread = "what its proxy has could not be read"
	for name2, x := range map[string]struct {
		line  egress.AccessLog
		known bool
		want  []string
		not   []string
	}{
		"a request":                      {sent, true, []string{route, rule}, []string{passes, unread, "root"}},
		"a request, named with a port":   {own(sent, func(l *egress.AccessLog) { l.Authority = "api.example:443" }), true, []string{route, rule}, nil},
		"a request at another port":      {own(sent, func(l *egress.AccessLog) { l.DownstreamLocal = "10.244.0.9:80" }), true, []string{rule}, []string{route}},
		"a request of another name":      {own(sent, func(l *egress.AccessLog) { l.Authority = "b.example" }), true, []string{rule}, []string{route}},
		"it went elsewhere":              {own(sent, func(l *egress.AccessLog) { l.UpstreamCluster = "outbound|443||api.example" }), true, nil, []string{route, rule}},
		"a connection":                   {passed, true, []string{passes, rule}, []string{route, "mesh-only", "elsewhere"}},
		"nobody knows what it has":       {sent, false, []string{unread}, []string{route, rule}},
		"it sent it to no known service": {own(sent, func(l *egress.AccessLog) { l.UpstreamCluster = "PassthroughCluster" }), true, nil, []string{route, rule}},
	} {
		q := asked("http://api.example/", egress.OK, egress.AccessLog{UpstreamCluster: "outbound|443|api|istio-egressgateway.istio-system.svc.cluster.local", Authority: "api.example"})
		q.Objects = objects(t, `
- {kind: VirtualService, namespace: shop, name: passes, spec: {gateways: [mesh, istio-system/out], tls: [{route: [{destination: {host: api.example}}]}]}}
- {kind: VirtualService, namespace: shop, name: mesh-only, spec: {gateways: [mesh], tls: [{route: [{destination: {host: api.example}}]}]}}
- {kind: VirtualService, namespace: shop, name: elsewhere, spec: {gateways: [istio-system/out], tcp: [{route: [{destination: {host: b.example}}]}]}}`)
		q.Result.Observations[0].Hops = []egress.Hop{{Gateway: name, Line: &x.line}}
		if x.known {
			q.Gateways = map[string]Config{name: gateway(t)}
		}
		if q.Unread(q.Result) == x.known {
			t.Errorf("%s: unread %t", name2, q.Unread(q.Result))
		}
		text := Explain(q).Text()
		for _, want := range x.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", name2, want, text)
			}
		}
		for _, not := range x.not {
			if strings.Contains(text, not) {
				t.Errorf("%s: %q is in\n%s", name2, not, text)
			}
		}
	}
}

// Of a gateway's virtual hosts the one that fits best has the request, as in Envoy.
func TestRoutedAt(t *testing.T) {
	to := func(name string, domains ...string) VirtualHost {
		return VirtualHost{Name: name, Domains: domains, Routes: []Route{{Object: "VirtualService shop/" + name, Clusters: []string{"c"}}}}
	}
	c := Config{Tables: []Table{
		{Name: "http.8080", Hosts: []VirtualHost{to("all", "*"), to("wild", "*.example"), to("wilder", "*.b.example"), to("one", "a.b.example")}},
		{Name: "https.8443.p.g.ns", Hosts: []VirtualHost{to("other", "*")}},
		{Name: "inbound"},
	}}
	for authority, want := range map[string]string{"a.b.example": "one", "A.b.example:80": "one", "c.b.example": "wilder", "c.example": "wild", "example": "all", "": ""} {
		objects, virtual := c.routedAt(egress.AccessLog{Authority: authority, UpstreamCluster: "c", DownstreamLocal: "10.0.0.1:8080"})
		if virtual != want || want != "" && (len(objects) != 1 || objects[0] != "VirtualService shop/"+want) {
			t.Errorf("%q: %v, %s", authority, objects, virtual)
		}
	}
}

// What istiod makes of the Gateway API's routes for itself is no object that anybody could read.
func TestAutogenerated(t *testing.T) {
	for config, want := range map[string]string{
		"/apis/networking.istio.io/v1/namespaces/shop/virtual-service/bank":                                        "VirtualService shop/bank",
		"/apis/networking.istio.io/v1/namespaces/shop/virtual-service/bank-0-istio-autogenerated-k8s-gateway":      "",
		"/apis/networking.istio.io/v1/namespaces/shop/virtual-service/shop~gw~istio-autogenerated-k8s-gateway~h~x": "",
	} {
		var m wireMetadata
		m.Filter.Istio.Config = config
		if got := m.object(); got != want {
			t.Errorf("%s: %q", config, got)
		}
	}
}

// The remedy is an object that Istio takes: a ServiceEntry always has a host.
func TestRemedy(t *testing.T) {
	for url, want := range map[string]string{
		"https://Bank.example:8443/": "name: tls",
		"grpc://a.example":           "protocol: GRPC",
		"tcp://198.51.100.10:5432":   "- 198.51.100.10",
	} {
		q := asked(url, egress.BRST, egress.AccessLog{UpstreamCluster: "BlackHoleCluster", DownstreamLocal: "198.51.100.10:5432"})
		a := Explain(q)
		var o struct {
			Metadata struct{ Name string }
			Spec     struct{ Hosts []string }
		}
		if err := yaml.Unmarshal([]byte(a.Remedy), &o); err != nil || len(o.Spec.Hosts) != 1 || o.Metadata.Name == "" || strings.ToLower(o.Metadata.Name) != o.Metadata.Name {
			t.Errorf("%s: %v\n%s", url, err, a.Remedy)
		}
		if !strings.Contains(a.Remedy, want) {
			t.Errorf("%s: %q is not in\n%s", url, want, a.Remedy)
		}
	}
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig(
		`{"configs": [{"@type": "x", "cluster": {"name": "a"}}, {"cluster": "not one"}, {"name": 5}]}`, // the answer for one kind of resource
		`{"configs": [{"route_config": {"name": "80", "virtual_hosts": [{"name": "b:80", "domains": ["b", "b:80"], "routes": [{"route": {"weighted_clusters": {"clusters": [{"name": "x"}, {"name": "y"}]}}}]}]}}]}`,
		`{}`,
	)
	if err != nil || len(c.Clusters) != 1 || len(c.Tables) != 1 || len(c.Tables[0].Hosts[0].Routes[0].Clusters) != 2 {
		t.Errorf("%v %+v", err, c)
	}
	if _, err := ParseConfig("upstream connect error"); err == nil {
		t.Error("that is no configuration")
	}
}

func TestHostMatches(t *testing.T) {
	for _, x := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.example", "a.example", true},
		{"a.example", "A.example.", true},
		{"a.example", "b.a.example", false},
		{"*.example", "a.example", true},
		{"*.example", "example", false},
		{"*.example", ".example", false},
		{"*", "a", true},
	} {
		if hostMatches(x.pattern, x.name) != x.want {
			t.Errorf("%+v", x)
		}
	}
}

func TestTextIsPrintable(t *testing.T) {
	a := Answer{Probe: "client → http://a\x1b[2J/", Because: []Reason{{"x\ny", "z"}}, Remedy: "a: \x07"}
	if text := a.Text(); strings.ContainsAny(text, "\x1b\x07") || !strings.Contains(text, "x y z") {
		t.Errorf("%q", text)
	}
}
