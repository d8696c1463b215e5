package verify

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// modelOf is the model of a text.
func modelOf(t *testing.T, text string) *Model {
	t.Helper()
	return NewModel(manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(text)}), ModelOptions{})
}

const (
	nsShop = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio-injection: enabled}}\n"
	cart   = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop}\nspec: {template: {metadata: {labels: {app: cart, version: v1}}, spec: {containers: [{name: c, image: x, ports: [{name: http, containerPort: 8080}]}]}}}\n"
)

// deployment is a workload with these labels and annotations, and this of its pod's spec.
func deployment(namespace, name, labels, notes, spec string) string {
	return "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {template: {metadata: {labels: {" + labels + "}, annotations: {" + notes + "}}, spec: {" + spec + "containers: [{name: c, image: x}]}}}\n"
}

func TestWorkloads(t *testing.T) {
	m := modelOf(t, nsShop+cart+
		"---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly, namespace: shop}\nspec: {jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {serviceAccountName: batch, containers: [{name: c, image: x}]}}}}}\n"+
		"---\napiVersion: v1\nkind: Pod\nmetadata: {name: once, namespace: other, annotations: {sidecar.istio.io/inject: 'true', note: x, proxy.istio.io/config: '{proxyMetadata: {A: b}, discoveryAddress: x}'}}\nspec: {hostNetwork: true, containers: [{name: c, image: x, securityContext: {runAsUser: 1337}}]}\n"+
		"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: gw, namespace: shop}\nspec: {replicas: 3, template: {metadata: {labels: {inject.istio.io/templates: gateway}}, spec: {affinity: {}, containers: [{name: istio-proxy, image: auto, resources: {requests: {cpu: 4}}}]}}}\n"+
		"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api, namespace: rules}\nspec: {hosts: [api.example]}\n")
	var got []string
	for _, w := range m.Workloads {
		got = append(got, w.Label())
	}
	if want := "elsewhere/any other/once rules/any shop/cart shop/nightly"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	once, night := m.Workloads[1], m.Workloads[4]
	if once.User != sidecarUser || !once.HostNetwork || len(once.Annotations) != 2 || strings.Contains(once.Annotations["proxy.istio.io/config"], "discovery") || once.NamespaceLabels[injectionLabel] != "enabled" {
		t.Errorf("%+v", once)
	}
	if night.ServiceAccount != "batch" || m.Workloads[3].Ports[0] != (egress.ContainerPort{Name: "http", Port: 8080}) {
		t.Errorf("%+v", m.Workloads[3:])
	}
	if len(m.Objects) != 2 || m.Objects[0].At("spec", "replicas") != int64(1) || m.Objects[0].At("spec", "template", "spec", "affinity") != nil {
		t.Errorf("the gateway is not a gateway with one lean pod: %v", m.Objects)
	}
	all := strings.Join(m.Assumed, "\n")
	for _, want := range []string{"namespace other, which has no object", "namespace rules has no workload", "no mesh settings"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among %s", want, all)
		}
	}
	for _, c := range m.Clients(m.Classes(false)) {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		if c.Namespace == "other" && c.StandIn.Labels[injectLabel] != "false" {
			t.Errorf("what runs in the node's network is never injected: %+v", c.StandIn)
		}
	}
}

func TestSettings(t *testing.T) {
	for name, x := range map[string]struct {
		text   string
		policy egress.Policy
		want   string // that is assumed, noted or a mistake
		has    []string
	}{
		"none":                 {"", egress.AllowAny, "Istio's defaults", nil},
		"ConfigMap":            {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n    defaultServiceExportTo: [\".\"]\n", egress.RegistryOnly, "", []string{"defaultServiceExportTo"}},
		"another ConfigMap":    {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {mesh: x}", egress.AllowAny, "Istio's defaults", nil},
		"a broken ConfigMap":   {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: '['}", egress.AllowAny, "cannot be read", nil},
		"IstioOperator":        {"apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: i}\nspec: {meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, accessLogFile: x, trustDomain: corp}}", egress.RegistryOnly, "does not take over trustDomain", nil},
		"Sail":                 {"apiVersion: sailoperator.io/v1\nkind: Istio\nmetadata: {name: default}\nspec: {values: {meshConfig: {defaultConfig: {proxyMetadata: {A: b}, tracing: {}}}, global: {proxy: {excludeIPRanges: 10.0.0.0/8}}, pilot: {env: {X: y}}}}", egress.AllowAny, "pilot.env", []string{"defaultConfig"}},
		"an operator's of old": {"apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: i}\nspec: {profile: ambient}", egress.AllowAny, "profile ambient", nil},
		"two":                  {"apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: a}\nspec: {meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}\n---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: b}\nspec: {}", egress.RegistryOnly, "the first one is taken", nil},
	} {
		m := modelOf(t, x.text)
		all := strings.Join(m.Assumed, "\n") + m.Mistakes.Error() + m.Notices.Error()
		if m.Mesh.Policy != x.policy || !strings.Contains(all, x.want) || m.Mesh.Config["accessLogFile"] != nil {
			t.Errorf("%s: %s, %v\n%s", name, m.Mesh.Policy, m.Mesh.Config, all)
		}
		for _, f := range x.has {
			if m.Mesh.Config[f] == nil {
				t.Errorf("%s: %s is missing in %v", name, f, m.Mesh.Config)
			}
		}
		if name == "Sail" && m.Mesh.Pods["traffic.sidecar.istio.io/excludeOutboundIPRanges"] != "10.0.0.0/8" {
			t.Errorf("%v", m.Mesh.Pods)
		}
	}
	file := manifest.Object{File: "mesh.yaml", Line: 1, Fields: map[string]any{"outboundTrafficPolicy": map[string]any{"mode": "REGISTRY_ONLY"}}}
	m := NewModel(&manifest.Set{}, ModelOptions{MeshConfig: &file})
	if m.Mesh.Policy != egress.RegistryOnly || m.Mesh.Where != "mesh.yaml:1" {
		t.Errorf("%+v", m.Mesh)
	}
}

func TestIgnored(t *testing.T) {
	m := modelOf(t, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n---\napiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")
	var got []string
	for _, i := range m.Ignored {
		got = append(got, i.Kind)
	}
	if strings.Join(got, " ") != "NetworkPolicy.networking.k8s.io Secret Thing.example.com" || len(m.Objects) != 0 {
		t.Errorf("%v %v", got, m.Objects)
	}
}

// What a cluster has added to an object is left out, and what only a cluster of the team's can give.
func TestCleaned(t *testing.T) {
	m := modelOf(t, "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, uid: x, resourceVersion: '5', managedFields: []}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30000}]}\nstatus: {}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {clusterIP: None}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: istio-egressgateway, namespace: istio-system}\n")
	a, b := m.Objects[0], m.Objects[1]
	if a.At("metadata", "uid") != nil || a.At("spec", "clusterIP") != nil || a.At("status") != nil || b.At("spec", "clusterIP") != "None" {
		t.Errorf("%v %v", a.Fields, b.Fields)
	}
	if ports := mappings(a.At("spec", "ports")); ports[0]["nodePort"] != nil {
		t.Errorf("%v", ports)
	}
	if len(m.Objects) != 2 || !m.Gateways || len(m.Notices) != 1 {
		t.Errorf("the installation's gateway: %v %v", m.Objects, m.Notices)
	}
}

func TestClasses(t *testing.T) {
	selecting := "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: {workloadSelector: {labels: {app: b}}}\n"
	policy := "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: istio-system}\nspec: {rules: [{from: [{source: {principals: [x]}}]}]}\n"
	routing := "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [a.example], http: [{match: [{sourceLabels: {app: b}}]}]}\n"
	two := nsShop + deployment("shop", "a", "app: a", "", "") + deployment("shop", "b", "app: b", "", "serviceAccountName: b, ")
	for name, x := range map[string]struct {
		text  string
		every bool
		want  int // classes, the stranger's among them
	}{
		"nothing tells them apart":  {two, false, 2},
		"every workload":            {two, true, 3},
		"a Sidecar selects one":     {two + selecting, false, 3},
		"a policy asks who it is":   {two + policy, false, 3},
		"routes ask for a label":    {two + routing, false, 3},
		"an annotation":             {two + deployment("shop", "c", "app: c", "traffic.sidecar.istio.io/excludeOutboundPorts: '1'", ""), false, 3},
		"a label of injection":      {two + deployment("shop", "c", "app: c, sidecar.istio.io/inject: 'false'", "", ""), false, 3},
		"another namespace":         {two + deployment("pay", "a", "app: a", "", ""), false, 3},
		"two kinds with one name":   {two + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: [{name: c, image: x}]}\n", true, 4},
		"a selector of another one": {two + strings.Replace(selecting, "namespace: shop", "namespace: pay", 1), false, 3}, // and pay/any
	} {
		m := modelOf(t, x.text)
		classes := m.Classes(x.every)
		if len(classes) != x.want {
			t.Errorf("%s: %d classes, want %d", name, len(classes), x.want)
		}
		var names []string
		for _, c := range m.Clients(classes) {
			names = append(names, c.Name, c.Namespace+"/"+c.Workload)
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: names are there twice: %v", name, names)
		}
	}
}

func TestApart(t *testing.T) {
	now, was := modelOf(t, nsShop+cart), modelOf(t, nsShop+strings.ReplaceAll(cart, "version: v1", "version: v0")+deployment("shop", "gone", "app: gone", "traffic.sidecar.istio.io/excludeOutboundPorts: '1'", ""))
	wasClasses := was.Classes(false)
	more := was.Apart(wasClasses, now, now.Clients(now.Classes(false)))
	var names []string
	for _, c := range more {
		names = append(names, c.Name)
	}
	if strings.Join(names, " ") != "standin-shop-cart-before standin-shop-gone" || wasClasses[1].Client != "standin-shop-cart-before" {
		t.Errorf("%v %v", names, wasClasses)
	}
}

// What a proxy takes over when its pod starts keeps a pod from answering for two versions.
func TestApartByProxy(t *testing.T) {
	mesh := func(config string) string {
		return "---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh}\nspec: {meshConfig: {" + config + "}}\n"
	}
	proxy := func(env string) string {
		return "---\napiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: p, namespace: shop}\nspec: {environmentVariables: {ISTIO_META_DNS_CAPTURE: '" + env + "'}}\n"
	}
	for name, x := range map[string]struct {
		was, now string
		apart    bool
	}{
		"nothing has changed":                {mesh("defaultConfig: {concurrency: 2}") + proxy("true"), mesh("defaultConfig: {concurrency: 2}") + proxy("true"), false},
		"the policy has":                     {mesh("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), mesh("outboundTrafficPolicy: {mode: ALLOW_ANY}"), false},
		"the mesh's proxies have":            {mesh("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}}"), mesh("outboundTrafficPolicy: {mode: ALLOW_ANY}"), true},
		"the mesh's interception has":        {mesh("defaultConfig: {interceptionMode: NONE}"), mesh("defaultConfig: {interceptionMode: REDIRECT}"), true},
		"a ProxyConfig has":                  {proxy("true"), proxy("false"), true},
		"a ProxyConfig has come":             {"", proxy("false"), true},
		"what no proxy looks at has changed": {mesh("defaultConfig: {tracing: {sampling: 1}}"), mesh("defaultConfig: {tracing: {sampling: 2}}"), false},
	} {
		was, now := modelOf(t, nsShop+cart+x.was), modelOf(t, nsShop+cart+x.now)
		more := was.Apart(was.Classes(false), now, now.Clients(now.Classes(false)))
		if (len(more) > 0) != x.apart {
			t.Errorf("%s: %d clients of their own", name, len(more))
		}
	}
}

func TestSecrets(t *testing.T) {
	m := modelOf(t, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: shop}\nspec: {trafficPolicy: {portLevelSettings: [{tls: {mode: MUTUAL, credentialName: bank}}]}}\n")
	var got []string
	for _, s := range m.Secrets() {
		meta, _ := s["metadata"].(map[string]any)
		got = append(got, meta["namespace"].(string)+"/"+meta["name"].(string))
	}
	if strings.Join(got, " ") != "shop/bank istio-system/bank" {
		t.Errorf("%v", got)
	}
}

// What an installation of Istio has besides a team's objects is the dry mesh's own; others of such names are not.
func TestInstalled(t *testing.T) {
	object := func(kind, namespace, name string) string {
		return "---\napiVersion: " + map[string]string{"Service": "v1", "Deployment": "apps/v1"}[kind] + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: " + namespace +
			"}\nspec: {ports: [{port: 80}], template: {spec: {containers: [{name: a, image: b}]}}}\n"
	}
	for name, x := range map[string]struct {
		namespace, name string
		left, gateways  bool
	}{
		"istiod":                    {"istio-system", "istiod", true, false},
		"istiod of a revision":      {"istio-system", "istiod-1-31", true, false},
		"a gateway":                 {"istio-system", "istio-egressgateway", true, true},
		"another gateway":           {"istio-system", "partner", false, false},
		"a team's, of such a name":  {"shop", "istiod", false, false},
		"another that begins so":    {"istio-system", "istiodash", false, false},
		"a team's gateway's double": {"shop", "istio-egressgateway", false, false},
	} {
		m := modelOf(t, object("Service", x.namespace, x.name)+object("Deployment", x.namespace, x.name))
		here := func(w Workload) bool { return w.Namespace == x.namespace && w.Name == x.name }
		if left := len(m.Objects) == 0 && !slices.ContainsFunc(m.Workloads, here); left != x.left || m.Gateways != x.gateways || (len(m.Notices) == 2) != x.left {
			t.Errorf("%s: %d objects, gateways %t, notices %v", name, len(m.Objects), m.Gateways, m.Notices)
		}
	}
}
