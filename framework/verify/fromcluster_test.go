package verify

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/manifest"
)

// Every kind that matters in files is read of a cluster, but for those here, with the reason.
func TestResources(t *testing.T) {
	unread := map[string]string{
		"/ConfigMap": "by name", "/Secret": "never", "/ServiceAccount": "the stand-ins have them", "/Endpoints": "EndpointSlices mirror them",
		"install.istio.io/IstioOperator": "the ConfigMap has what came of it", "sailoperator.io/Istio": "the same", "operator.istio.io/Istio": "the same",
		"networking.k8s.io/Ingress": "about what comes in", "autoscaling/HorizontalPodAutoscaler": "decides about nothing here",
		rbac + "/Role": "who may do what in a cluster is not asked for", rbac + "/RoleBinding": "the same", rbac + "/ClusterRole": "the same", rbac + "/ClusterRoleBinding": "the same",
	}
	read := map[string]bool{}
	for _, r := range Resources() {
		key := r.Group + "/" + r.Kind
		if _, known := kinds[key]; !known || read[key] || unread[key] != "" {
			t.Errorf("%s: known %t, twice %t, unread %q", key, known, read[key], unread[key])
		}
		read[key] = true
	}
	for key := range kinds {
		if !read[key] && unread[key] == "" {
			t.Errorf("%s matters, and is not read of a cluster", key)
		}
	}
	for key := range maps.Keys(unread) {
		if _, known := kinds[key]; !known {
			t.Errorf("%s does not matter at all", key)
		}
	}
}

// clustered is a text as what was read of a cluster.
func clustered(t *testing.T, text string) *manifest.Set {
	t.Helper()
	s := manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(text)})
	if len(s.Mistakes) > 0 {
		t.Fatal(s.Mistakes)
	}
	for i, x := range s.Objects {
		s.Objects[i].File, s.Objects[i].Line, s.Objects[i].Node = x.String(), 0, nil
	}
	return s
}

func namesOf(objects []manifest.Object) []string {
	var out []string
	for _, x := range objects {
		out = append(out, x.String())
	}
	slices.Sort(out)
	return out
}

const (
	entryWide = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wide, namespace: shop}\nspec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}\n"
	meshMap   = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}\n"
	injector  = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector, namespace: istio-system}\ndata: {values: '{\"global\": {\"proxy\": {\"excludeIPRanges\": \"10.9.0.0/16\"}}}'}\n"
)

func service(namespace, name, selector string) string {
	return "---\napiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {selector: {" + selector + "}, ports: [{port: 80}]}\n"
}

// What belongs to Kubernetes or to the installation is left out, and gateways and rules that live there are not.
func TestFromCluster(t *testing.T) {
	in := clustered(t, nsShop+cart+entryWide+meshMap+
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: egress-client, labels: {mesh-egress-conformance/cluster: up}}\n"+deployment("egress-client", "sleep", "app: sleep", "", "")+service("egress-client", "sleep", "app: sleep")+
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: egress-run, labels: {mesh-egress-conformance/run: run-1}}\n"+strings.ReplaceAll(entryWide, "namespace: shop", "namespace: egress-run")+
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n"+
		service("default", "kubernetes", "")+service("default", "other", "a: b")+service("kube-system", "kube-dns", "a: b")+service("istio-system", "istiod", "app: istiod")+service("istio-system", "kiali", "app: kiali")+
		service("istio-system", "istio-egressgateway", "istio: egressgateway")+service("istio-system", "partner", "istio: partner")+
		deployment("kube-system", "coredns", "a: b", "", "")+deployment("istio-system", "kiali", "app: kiali", "", "")+deployment("istio-system", "partner", "istio: partner, inject.istio.io/templates: gateway", "", "")+
		deployment("istio-system", "istio-egressgateway", "istio: egressgateway", "'inject.istio.io/templates': gateway", "")+
		"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: istiod, namespace: istio-system}\nspec: {template: {metadata: {labels: {app: istiod}}, spec: {containers: [{name: discovery, image: 'pilot:1.29.2'}]}}}\n"+
		strings.ReplaceAll(entryWide, "namespace: shop", "namespace: kube-system"))
	got := FromCluster(in, "cluster prod")
	want := []string{
		"ConfigMap istio-system/istio", "Deployment istio-system/istio-egressgateway", "Deployment istio-system/partner", "Deployment shop/cart", "Namespace shop",
		"Service default/other", "Service istio-system/istio-egressgateway", "Service istio-system/partner", "ServiceEntry kube-system/wide", "ServiceEntry shop/wide",
	}
	if have := namesOf(got.Objects); !slices.Equal(have, want) {
		t.Errorf("%q\nwant %q", have, want)
	}
	if len(got.Mistakes) > 0 {
		t.Error(got.Mistakes)
	}
	for _, x := range []string{"cluster prod: Deployment istio-system/istiod runs pilot:1.29.2", "Service default/kubernetes", "Deployment kube-system/coredns", "namespaces that egressctl has made there: egress-client, egress-run", "Service istio-system/kiali", "Deployment istio-system/kiali"} {
		if !strings.Contains(got.Notices.Error(), x) {
			t.Errorf("%q is not in %s", x, got.Notices.Error())
		}
	}
	if m := NewModel(got, ModelOptions{}); !m.Gateways || len(m.Mistakes) > 0 {
		t.Errorf("gateways %t, %v", m.Gateways, m.Mistakes)
	}
	elsewhere := FromCluster(clustered(t, deployment("mesh", "istiod", "app: istiod", "", "")), "cluster prod")
	if len(elsewhere.Mistakes) != 1 || len(elsewhere.Objects) != 0 || !strings.HasPrefix(elsewhere.Mistakes.Error(), "Deployment mesh/istiod is not in istio-system") {
		t.Errorf("%v, %v", elsewhere.Mistakes, namesOf(elsewhere.Objects))
	}
}

// A pod that was injected is what it was before.
func TestPodAsBefore(t *testing.T) {
	pod := "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: a, security.istio.io/tlsMode: istio}, annotations: {NOTE x: z}}\nspec: {initContainers: [{name: istio-init, image: p}, {name: istio-proxy, image: p}, {name: own, image: p}], containers: [{name: c, image: x}, {name: istio-proxy, image: p, args: [proxy, sidecar]}]}\n"
	x := FromCluster(clustered(t, strings.ReplaceAll(pod, "NOTE ", "sidecar.istio.io/status: '{}', ")), "c").Objects[0]
	if len(mappings(x.At("spec", "containers"))) != 1 || len(mappings(x.At("spec", "initContainers"))) != 1 || len(stringMap(x.At("metadata", "labels"))) != 1 || len(stringMap(x.At("metadata", "annotations"))) != 1 {
		t.Errorf("%v", x.Fields)
	}
	x = FromCluster(clustered(t, strings.ReplaceAll(pod, "NOTE ", "")), "c").Objects[0]
	if len(mappings(x.At("spec", "containers"))) != 2 {
		t.Error("a pod that the webhook has not seen lost a container")
	}
	gateway := strings.ReplaceAll(strings.ReplaceAll(pod, "NOTE ", "sidecar.istio.io/status: '{}', "), "proxy, sidecar", "proxy, router")
	if x = FromCluster(clustered(t, gateway), "c").Objects[0]; len(mappings(x.At("spec", "containers"))) != 2 {
		t.Error("a gateway lost its proxy")
	}
}

// Files are laid over a cluster, object by object.
func TestLaid(t *testing.T) {
	cluster := clustered(t, nsShop+cart+entryWide+meshMap+injector+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: new, labels: {a: b}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: idle}\n")
	nothing := Laid("cluster prod", cluster, &manifest.Set{}, "")
	if have := namesOf(nothing.Objects); !slices.Equal(have, []string{"ConfigMap istio-system/istio", "ConfigMap istio-system/istio-sidecar-injector", "Deployment shop/cart", "Namespace shop", "ServiceEntry shop/wide"}) {
		t.Errorf("%q", have)
	}
	if m := NewModel(nothing, ModelOptions{}); m.Mesh.Policy != "REGISTRY_ONLY" || m.Mesh.Pods["traffic.sidecar.istio.io/excludeOutboundIPRanges"] != "10.9.0.0/16" {
		t.Errorf("%+v", m.Mesh)
	}
	files := manifest.Read(t.Context(), []string{"-"}, manifest.Options{Namespace: "new", Stdin: strings.NewReader(
		strings.ReplaceAll(entryWide, "*.example.com", "narrow.example.com") + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: fresh}\nspec: {template: {spec: {containers: [{name: c, image: x}]}}}\n" +
			"---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {meshConfig: {outboundTrafficPolicy: {mode: ALLOW_ANY}}}\n")})
	laid := Laid("cluster prod", cluster, files, "new")
	m := NewModel(laid, ModelOptions{Namespace: "new"})
	if m.Mesh.Policy != "ALLOW_ANY" || len(m.Mesh.Pods) > 0 || len(m.Mistakes) > 0 || len(m.Objects) != 1 || m.Objects[0].File != "standard input" {
		t.Errorf("%+v, %v, %v", m.Mesh, m.Mistakes, m.Objects)
	}
	if len(m.Namespaces) != 3 || m.Namespaces[1].Name != "new" || m.Namespaces[1].Labels["a"] != "b" {
		t.Errorf("a namespace that a file lives in is the cluster's: %+v", m.Namespaces)
	}
	for _, x := range []string{"the files have them otherwise: ServiceEntry shop/wide", "the files have mesh settings: ConfigMap istio-system/istio, ConfigMap istio-system/istio-sidecar-injector", "no rule is: idle"} {
		if !strings.Contains(m.Notices.Error(), x) {
			t.Errorf("%q is not in %s", x, m.Notices.Error())
		}
	}
}

// Parts of the mesh settings that the dry mesh has itself are not worth a word.
func TestOwnSettings(t *testing.T) {
	for text, told := range map[string]bool{"trustDomain: cluster.local": false, "rootNamespace: istio-system": false, "trustDomain: other": true, "discoverySelectors: [{matchLabels: {a: b}}]": true} {
		m := modelOf(t, strings.ReplaceAll(meshMap, "outboundTrafficPolicy: {mode: REGISTRY_ONLY}", text)+cart)
		if got := strings.Contains(m.Notices.Error(), "does not take over"); got != told {
			t.Errorf("%s: told %t", text, got)
		}
	}
}

// An object of a cluster is its own place.
func TestPlaceInCluster(t *testing.T) {
	s := Source{Object: "ServiceEntry shop/wide", File: "ServiceEntry shop/wide"}
	if s.String() != s.Object {
		t.Error(s.String())
	}
	b := &builder{m: &Model{}}
	x := clustered(t, entryWide).Objects[0]
	b.mistake(x, 0, "%s is refused", x)
	if got := b.m.Mistakes.Error(); got != "ServiceEntry shop/wide is refused" {
		t.Error(got)
	}
}
