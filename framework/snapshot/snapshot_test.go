package snapshot

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/verify"
)

// production is a small cluster.
const production = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled, kubernetes.io/metadata.name: shop}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop, annotations: {deployment.kubernetes.io/revision: "3", kubectl.kubernetes.io/last-applied-configuration: "{}"}}
spec: {replicas: 2, template: {metadata: {labels: {app: cart}}, spec: {serviceAccountName: cart, containers: [{name: c, image: x}]}}}
status: {replicas: 2}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: cart-5d8, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: cart, uid: u, controller: true}]}
spec: {replicas: 2, template: {metadata: {labels: {app: cart, pod-template-hash: 5d8}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-5d8-x, namespace: shop, labels: {app: cart}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: cart-5d8, uid: u, controller: true}]}
spec: {containers: [{name: c, image: x}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: pay-1, namespace: shop, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: pay, uid: u, controller: true}]}
spec: {replicas: 0, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: pay-2, namespace: shop, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: pay, uid: u, controller: true}]}
spec: {replicas: 1, selector: {matchLabels: {app: pay, rollouts-pod-template-hash: z}}, template: {metadata: {labels: {app: pay, rollouts-pod-template-hash: z}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: queue-0, namespace: shop, labels: {app: queue, security.istio.io/tlsMode: istio}, annotations: {sidecar.istio.io/status: "{}"}, ownerReferences: [{apiVersion: queues.example/v1, kind: Queue, name: queue, uid: u, controller: true}]}
spec: {initContainers: [{name: istio-init, image: p}], containers: [{name: c, image: x}, {name: istio-proxy, image: p, args: [proxy, sidecar]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: queue-1, namespace: shop, labels: {app: queue}, ownerReferences: [{apiVersion: queues.example/v1, kind: Queue, name: queue, uid: u, controller: true}]}
spec: {containers: [{name: c, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: shop}
spec: {containers: [{name: c, image: x}]}
status: {phase: Succeeded}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: shop, uid: pod-1, generateName: al}
spec: {containers: [{name: c, image: x}]}
status: {phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system}
spec: {selector: {app: istiod}, ports: [{port: 15012}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
spec: {template: {metadata: {labels: {app: istiod}}, spec: {containers: [{name: discovery, image: "docker.io/istio/pilot:1.29.2"}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod-canary, namespace: istio-system, labels: {app: istiod, istio.io/rev: canary}}
spec: {template: {metadata: {labels: {app: istiod}}, spec: {containers: [{name: discovery, image: x}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\ntrustDomain: cluster.local\nrootNamespace: istio-system\n"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-sidecar-injector, namespace: istio-system}
data: {values: '{"global": {"proxy": {"excludeIPRanges": "10.9.0.0/16"}}, "pilot": {"env": {}}}'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: shop}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: shop, generation: 4}
spec: {hosts: ["*.example.com"], ports: [{number: 443, name: tls, protocol: TLS}]}
status: {conditions: []}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: none, namespace: shop}
spec: {podSelector: {}}`

func prod() Options { return Options{Name: "cluster prod"} }

// What a cluster has comes to the model that files would give.
func TestModelOfCluster(t *testing.T) {
	a := newAPI(t, production)
	s, err := Take(t.Context(), a.start(), prod())
	if err != nil {
		t.Fatal(err)
	}
	m := verify.NewModel(s.Set, verify.ModelOptions{Running: s.Running})
	var got []string
	for _, w := range m.Workloads {
		got = append(got, strings.TrimSpace(w.Kind+" "+w.Label()))
	}
	if want := []string{"elsewhere/any", "Pod shop/alone", "Deployment shop/cart", "ReplicaSet shop/pay", "Pod shop/queue"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(m.Objects) != 1 || fmt.Sprint(m.Objects[0].Fields["metadata"]) != "map[name:wide namespace:shop]" || m.Objects[0].Fields["status"] != nil || m.Objects[0].Where() != "ServiceEntry shop/wide" {
		t.Errorf("%v", m.Objects)
	}
	if len(m.Mistakes) > 0 {
		t.Error(m.Mistakes)
	}
	if m.Mesh.Policy != "REGISTRY_ONLY" || m.Mesh.Where != "ConfigMap istio-system/istio" || m.Mesh.Pods["traffic.sidecar.istio.io/excludeOutboundIPRanges"] != "10.9.0.0/16" {
		t.Errorf("%+v", m.Mesh)
	}
	if fmt.Sprint(m.Workloads[3].Labels, m.Workloads[4].Labels) != "map[app:pay] map[app:queue]" || m.Workloads[3].File != "Rollout shop/pay" || m.Workloads[2].ServiceAccount != "cart" || m.Workloads[4].Running.Pods != 2 {
		t.Errorf("%+v", m.Workloads)
	}
	want := map[string]verify.Running{"Deployment shop/cart": {Pods: 1, Bare: 1}, "Queue shop/queue": {Pods: 2, Bare: 1}, "Pod shop/alone": {Pods: 1, Bare: 1}}
	if !reflect.DeepEqual(s.Running, want) {
		t.Errorf("%v, want %v", s.Running, want)
	}
	if len(m.Namespaces) != 2 || m.Namespaces[1].Labels["istio-injection"] != "enabled" {
		t.Errorf("%+v", m.Namespaces)
	}
	wantLines(t, m.Notices.Error(), "docker.io/istio/pilot:1.29.2: --istio says", "Deployment istio-system/istiod, ", "2 objects of kind Pod are Queue shop/queue's")
	if strings.Contains(m.Notices.Error(), "trustDomain") || len(m.Ignored) != 1 {
		t.Errorf("%s, %v", m.Notices.Error(), m.Ignored)
	}
	for _, o := range s.Set.Objects {
		for _, f := range []string{"uid", "resourceVersion", "managedFields", "generateName"} {
			if o.At("metadata", f) != nil {
				t.Errorf("%s has %s", o, f)
			}
		}
	}
}

func wantLines(t *testing.T, have string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(have, w) {
			t.Errorf("%q is not in\n%s", w, have)
		}
	}
}

// Nothing but reads and questions about permissions, and no Secret, is asked for; of ConfigMaps those with settings alone.
func TestRequests(t *testing.T) {
	for _, only := range [][]string{nil, {"shop"}} {
		a := newAPI(t, production)
		o := prod()
		o.Namespaces = only
		if _, err := Take(t.Context(), a.start(), o); err != nil {
			t.Fatal(err)
		}
		read := false
		var maps []string
		for _, q := range a.asked {
			method, path, _ := strings.Cut(q, " ")
			review := method == "POST" && path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
			if method != "GET" && !review || strings.Contains(path, "secrets") {
				t.Errorf("asked for %s", q)
			}
			if review && read && !slices.ContainsFunc(a.asked, func(x string) bool { return strings.Contains(x, "istio-canary") }) {
				t.Error("permissions are asked after something was read")
			}
			read = read || !review
			if i := strings.Index(path, "/configmaps"); i >= 0 {
				maps = append(maps, path[i:])
			}
			if len(only) > 0 && !review && !strings.Contains(path, "namespaces/shop") && !strings.Contains(path, "namespaces/istio-system/") {
				t.Errorf("asked for %s, where only %v is to be read", q, only)
			}
		}
		if want := []string{"/configmaps/istio", "/configmaps/istio-sidecar-injector", "/configmaps/istio-canary", "/configmaps/istio-sidecar-injector-canary"}; !slices.Equal(maps, want) {
			t.Errorf("%v, want %v", maps, want)
		}
	}
}

// Where a file has the mesh settings, no ConfigMap is asked for.
func TestNoSettings(t *testing.T) {
	a := newAPI(t, production)
	a.forbidden = []string{"get configmaps istio in namespace istio-system"}
	o := prod()
	o.NoSettings = true
	if _, err := Take(t.Context(), a.start(), o); err != nil || slices.ContainsFunc(a.asked, func(q string) bool { return strings.Contains(q, "configmaps") }) {
		t.Errorf("%v, asked %v", err, a.asked)
	}
}

// Every request of a user who has the role is covered by it: the fake asks it, as an authorizer would.
func TestRoleIsEnough(t *testing.T) {
	role := Role()
	allows := func(group, resource, name, verb string) bool {
		for _, r := range role.Rules {
			if slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb) && (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, name)) {
				return true
			}
		}
		return false
	}
	used := map[string]bool{}
	for _, only := range [][]string{nil, {"shop"}} {
		a := newAPI(t, strings.ReplaceAll(production, "istio.io/rev: canary", "a: b"))
		o := prod()
		o.Namespaces = only
		if _, err := Take(t.Context(), a.start(), o); err != nil {
			t.Fatal(err)
		}
		for _, q := range a.asked {
			path, isRead := strings.CutPrefix(q, "GET ")
			if !isRead {
				continue
			}
			path, _, _ = strings.Cut(path, "?")
			p := strings.Split(strings.Trim(path, "/"), "/")
			group, p := "", p[2:]
			if strings.HasPrefix(path, "/apis/") {
				group, p = strings.Split(path, "/")[2], p[1:]
			}
			if len(p) > 2 && p[0] == "namespaces" {
				p = p[2:]
			}
			verb, name := "list", ""
			if len(p) == 2 {
				verb, name = "get", p[1]
			}
			if !allows(group, p[0], name, verb) {
				t.Errorf("the role does not allow %s", q)
			}
			used[verb+" "+group+"/"+p[0]] = true
		}
	}
	for _, r := range role.Rules {
		for _, res := range r.Resources {
			for _, v := range r.Verbs {
				if !used[v+" "+r.APIGroups[0]+"/"+res] {
					t.Errorf("the role allows %s %v/%s, which nothing asks for", v, r.APIGroups, res)
				}
			}
		}
	}
}

// The documentation has the role as it is printed.
func TestRoleOfDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	role := RoleYAML()
	var read rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(role, &read); err != nil || !reflect.DeepEqual(&read, Role()) {
		t.Errorf("%v, read as %v", err, read)
	}
	if !strings.Contains(string(doc), "```yaml\n"+string(role)+"```") {
		t.Errorf("docs/verify.md has another role than\n%s", role)
	}
}

func TestForbidden(t *testing.T) {
	for name, x := range map[string]struct {
		only, forbidden, want []string
	}{
		"everywhere": {
			nil,
			[]string{"list pods in the whole cluster", "list networking.istio.io/sidecars in the whole cluster", "get configmaps istio in namespace istio-system"},
			[]string{"list pods in the whole cluster", "list networking.istio.io/sidecars in the whole cluster", "get configmaps istio in namespace istio-system", "--print-role"},
		},
		"a revision's": {nil, []string{"get configmaps istio-canary in namespace istio-system"}, []string{"get configmaps istio-canary"}},
		"of some": {
			[]string{"shop", "pay"},
			[]string{"list namespaces in the whole cluster", "list services in the whole cluster", "list services in namespace pay", "get namespaces in namespace pay"},
			[]string{"list services in namespace pay", "get namespaces in namespace pay"},
		},
	} {
		a := newAPI(t, production)
		a.forbidden = x.forbidden
		o := prod()
		o.Namespaces = x.only
		_, err := Take(t.Context(), a.start(), o)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantLines(t, err.Error(), append(x.want, "read cluster prod")...)
		if n := strings.Count(err.Error(), "\n  "); n != len(x.want)-strings.Count(strings.Join(x.want, " "), "--print-role") {
			t.Errorf("%s: %d missing: %v", name, n, err)
		}
		if name != "a revision's" && slices.ContainsFunc(a.asked, func(q string) bool { return strings.HasPrefix(q, "GET") }) {
			t.Errorf("%s: something was read before: %v", name, a.asked)
		}
	}
	a := newAPI(t, production)
	a.forbidden = []string{"list services in the whole cluster", "list namespaces in the whole cluster"}
	o := prod()
	o.Namespaces = []string{"shop"}
	if _, err := Take(t.Context(), a.start(), o); err != nil {
		t.Errorf("who may read single namespaces may not read them: %v", err)
	}
	o.Namespaces = []string{"shops"}
	if _, err := Take(t.Context(), a.start(), o); err == nil || !strings.Contains(err.Error(), "read Namespace shops") {
		t.Errorf("a namespace that is not there: %v", err)
	}
}

// Kinds that the cluster lacks are said, and of the others the version is read that has them.
func TestKinds(t *testing.T) {
	a := newAPI(t, production)
	a.lacking = []string{"WasmPlugin.extensions.istio.io", "TCPRoute.gateway.networking.k8s.io", "EnvoyFilter.networking.istio.io"}
	a.versions["networking.istio.io"] = []string{"v1", "v1beta1", "v1alpha3"}
	a.only["ProxyConfig.networking.istio.io"] = "v1beta1"
	s, err := Take(t.Context(), a.start(), prod())
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, s.Set.Notices.Error(), "cluster prod: it does not have EnvoyFilter.networking.istio.io, WasmPlugin.extensions.istio.io, TCPRoute.gateway.networking.k8s.io: nothing")
	asked := strings.Join(a.asked, "\n")
	wantLines(t, asked, "/networking.istio.io/v1/sidecars", "/networking.istio.io/v1beta1/proxyconfigs")
	if strings.Contains(asked, "envoyfilters") || strings.Contains(asked, "wasmplugins") {
		t.Error("a kind that is not there was asked for")
	}
}

// Ten thousand objects come in pages; a list that the API server has forgotten halfway is read again, each object once.
func TestPages(t *testing.T) {
	const entries, pods = 10_000, 2 * pageSize
	for _, expire := range []int{0, 1, 3} {
		a := newAPI(t, production)
		a.expire = expire
		for i := range entries {
			a.add(map[string]any{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": map[string]any{"name": fmt.Sprintf("e%d", i), "namespace": "shop"}, "spec": map[string]any{"hosts": []any{fmt.Sprintf("h%d.example", i)}}})
		}
		for i := range pods {
			a.add(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": fmt.Sprintf("cart-%d", i), "namespace": "shop", "ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-5d8", "controller": true}}}})
		}
		s, err := Take(t.Context(), a.start(), prod())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, o := range s.Set.Objects {
			if seen[o.Key("")] {
				t.Fatalf("%s is there twice", o)
			}
			seen[o.Key("")] = true
		}
		pages := 0
		for _, q := range a.asked {
			if strings.Contains(q, "/serviceentries?") {
				pages++
			}
		}
		if len(seen) < entries+1 || pages != (entries+1+pageSize-1)/pageSize+map[int]int{3: 4}[expire] {
			t.Errorf("%d objects in %d pages", len(seen), pages)
		}
		if n := s.Running["Deployment shop/cart"].Pods; n != pods+1 {
			t.Errorf("%d pods run", n)
		}
		if a.expired != (expire > 0) {
			t.Error("nothing was forgotten")
		}
	}
}

func TestSame(t *testing.T) {
	a, other := newAPI(t, production), newAPI(t, strings.ReplaceAll(production, "kind: Namespace\nmetadata: {", "kind: Namespace\nmetadata: {uid: another, "))
	cfg := a.start()
	s, err := Take(t.Context(), cfg, prod())
	if err != nil {
		t.Fatal(err)
	}
	same, err := s.Of(t.Context(), cfg)
	differs, err2 := s.Of(t.Context(), other.start())
	lacks, err3 := s.Of(t.Context(), newAPI(t, strings.ReplaceAll(production, "metadata: {name: shop, labels", "metadata: {name: mall, labels")).start())
	if err != nil || err2 != nil || err3 != nil || !same || differs || lacks {
		t.Errorf("%v %v, %v %v, %v %v", same, err, differs, err2, lacks, err3)
	}
}
