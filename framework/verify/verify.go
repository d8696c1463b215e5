// Package verify says of a team's own objects who can get out of the mesh, where, and how. It makes an environment of
// what the team has written (namespaces, stand-ins of workloads, mesh settings, objects, an outside with a stand-in for
// each host that is named) and questions to ask there; whoever has a mesh asks them; and it reads the answers: which
// object let a call out, what was expected, what has changed, what is surprising.
//
// It knows objects as data. It starts nothing, asks no cluster, and simulates nothing: every answer was proven by
// attempts in a mesh.
package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// RootNamespace is where Istio keeps what holds for the whole mesh.
const RootNamespace = "istio-system"

// Model is what a team's objects come to.
type Model struct {
	Namespaces []Namespace
	Workloads  []Workload
	// Objects are applied as they are written, but for what Kept says.
	Objects []manifest.Object
	Mesh    Settings
	// Assumed are what the input does not say and was taken as Istio and Kubernetes have it by default.
	Assumed []string
	// Ignored are kinds that do not matter here, with how many objects there are and why.
	Ignored []Ignored
	// Gateways says that something is meant for the gateways of an installation of Istio.
	Gateways bool
	// Mistakes are what could not be taken over; the result is partial then.
	Mistakes input.Mistakes
	// Notices are what is taken over otherwise than written.
	Notices input.Mistakes

	rbac    []manifest.Object // roles, and what binds them
	asked   bool              // in place
	refused map[string]bool   // objects that the mesh did not take
	unasked []Workload        // whose stand-ins did not start
}

// Namespace is one of the team's.
type Namespace struct {
	Name   string
	Labels map[string]string
	// Where is the place of its object; "" where it has none, and Labels are assumed.
	Where string
}

// Ignored is a kind that is left out.
type Ignored struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Why   string `json:"why"`
}

// ModelOptions say how to read what the objects leave open.
type ModelOptions struct {
	// Namespace is that of objects that name none; "" is default.
	Namespace string
	// MeshConfig are the mesh settings of a file of their own; nil for none.
	MeshConfig *manifest.Object
	// Running are the pods of workloads of a live cluster, by the place of their objects; nil for files.
	Running map[string]Running
	// InPlace says that the cluster is asked itself, and no dry mesh: nothing has to be taken over, and nobody stands in for a workload
	// that nobody has written.
	InPlace bool
}

// role is what becomes of objects of a kind.
type role int

const (
	ruled    role = iota // applied as written
	workload             // stands for pods
	settings             // of the mesh
	space                // a namespace
	ignored              // left out
	silent               // left out, and not worth a line: the stand-ins have it, or it is nothing by itself
	pointing             // at addresses, for a Service
	untaken              // would matter, and is left out: the result is partial
	granting             // says who may read Secrets, which istiod asks
)

// kinds are all that matter, by group and kind. What is not here is ignored.
var kinds = map[string]struct {
	role role
	why  string
}{
	"/Namespace": {space, ""}, "/Service": {ruled, ""}, "/Pod": {workload, ""}, "/ServiceAccount": {silent, ""}, "/ConfigMap": {settings, "only the mesh configuration matters"},
	"/Secret":    {ignored, "Secrets are not read: certificates that work stand in for those that a gateway or DestinationRule names"},
	"/Endpoints": {pointing, ofPods}, "discovery.k8s.io/EndpointSlice": {pointing, ofPods},
	"apps/Deployment": {workload, ""}, "apps/StatefulSet": {workload, ""}, "apps/DaemonSet": {workload, ""}, "apps/ReplicaSet": {workload, ""},
	"batch/Job": {workload, ""}, "batch/CronJob": {workload, ""},
	"networking.istio.io/ServiceEntry": {ruled, ""}, "networking.istio.io/Sidecar": {ruled, ""}, "networking.istio.io/VirtualService": {ruled, ""},
	"networking.istio.io/DestinationRule": {ruled, ""}, "networking.istio.io/Gateway": {ruled, ""}, "networking.istio.io/EnvoyFilter": {ruled, ""},
	"networking.istio.io/WorkloadEntry": {ruled, ""}, "networking.istio.io/WorkloadGroup": {ruled, ""}, "networking.istio.io/ProxyConfig": {ruled, ""},
	"security.istio.io/AuthorizationPolicy": {ruled, ""}, "security.istio.io/PeerAuthentication": {ruled, ""}, "security.istio.io/RequestAuthentication": {ruled, ""},
	"gateway.networking.k8s.io/Gateway": {ruled, ""}, "gateway.networking.k8s.io/HTTPRoute": {ruled, ""}, "gateway.networking.k8s.io/GRPCRoute": {ruled, ""},
	"gateway.networking.k8s.io/TLSRoute": {ruled, ""}, "gateway.networking.k8s.io/TCPRoute": {ruled, ""}, "gateway.networking.k8s.io/ReferenceGrant": {ruled, ""},
	"gateway.networking.k8s.io/BackendTLSPolicy": {untaken, "the TLS that it has a gateway make is not seen"},
	"install.istio.io/IstioOperator":             {settings, ""}, "sailoperator.io/Istio": {settings, ""}, "operator.istio.io/Istio": {settings, ""},
	"telemetry.istio.io/Telemetry":    {ignored, "it would change the access log, by which answers are proven; it does not decide about egress"},
	"extensions.istio.io/WasmPlugin":  {ignored, "its image cannot be fetched"},
	"networking.k8s.io/NetworkPolicy": {ignored, "nothing enforces it in the dry mesh: what it blocks is not seen"},
	"networking.k8s.io/Ingress":       {ignored, "it is about traffic that comes in"},
	rbac + "/Role":                    {granting, ofOthers}, rbac + "/RoleBinding": {granting, ofOthers}, rbac + "/ClusterRole": {granting, ofOthers}, rbac + "/ClusterRoleBinding": {granting, ofOthers},
	"autoscaling/HorizontalPodAutoscaler": {ignored, "every workload has one stand-in"},
}

// ofOthers is why roles are left out.
const ofOthers = "nothing is taken from it but whether proxies may have the Secrets that rules name"

// ofPods is why objects with addresses are left out.
const ofPods = "the dry mesh makes them of its own pods"

// NewModel makes a model of objects.
func NewModel(set *manifest.Set, o ModelOptions) *Model {
	b := &builder{m: &Model{Mistakes: set.Mistakes, Notices: set.Notices}, o: o, spaces: map[string]*Namespace{}}
	b.o.Namespace = cmp.Or(o.Namespace, "default")
	ignoredBy := map[string]*Ignored{}
	var points []manifest.Object
	for _, x := range set.Objects {
		key := x.Group() + "/" + x.Kind()
		k, known := kinds[key]
		if !known {
			k.role, k.why = ignored, "it does not decide about egress, as far as is known here"
		}
		switch k.role {
		case space:
			b.space(x)
		case workload:
			b.workload(b.placed(x))
		case settings:
			if !b.settings(x) {
				ignore(ignoredBy, x, k.why)
			}
		case ruled:
			b.rule(b.placed(x))
		case ignored:
			ignore(ignoredBy, x, k.why)
		case pointing:
			points = append(points, b.placed(x))
		case untaken:
			b.mistake(x, x.Line, "%s is not taken over: %s", x, k.why)
		case granting:
			if o.Running == nil { // a live cluster has more, which are not read: these alone would withhold what those let through
				b.m.rbac = append(b.m.rbac, b.bound(x))
			}
			ignore(ignoredBy, x, k.why)
		case silent:
		}
	}
	for _, x := range points {
		if !b.pointed(x) {
			ignore(ignoredBy, x, ofPods)
		}
	}
	for _, i := range ignoredBy {
		b.m.Ignored = append(b.m.Ignored, *i)
	}
	slices.SortFunc(b.m.Ignored, func(x, y Ignored) int { return strings.Compare(x.Kind, y.Kind) })
	b.finish()
	if o.InPlace {
		b.m.inPlace()
	}
	return b.m
}

func ignore(by map[string]*Ignored, x manifest.Object, why string) {
	kind := x.Kind()
	if g := x.Group(); g != "" {
		kind += "." + g
	}
	if by[kind] == nil {
		by[kind] = &Ignored{Kind: kind, Why: why}
	}
	by[kind].Count++
}

// builder makes a model.
type builder struct {
	m      *Model
	o      ModelOptions
	spaces map[string]*Namespace
	meshed []manifest.Object // objects with mesh settings

	injectors []manifest.Object // with the values of the injection webhook
}

func (b *builder) assume(format string, a ...any) {
	if s := fmt.Sprintf(format, a...); !slices.Contains(b.m.Assumed, s) {
		b.m.Assumed = append(b.m.Assumed, s)
	}
}

func (b *builder) mistake(x manifest.Object, line int, format string, a ...any) {
	b.m.Mistakes = append(b.m.Mistakes, input.Mistake{File: x.File, Line: line, What: fmt.Sprintf(format, a...)})
}

func (b *builder) notice(x manifest.Object, line int, format string, a ...any) {
	b.m.Notices = append(b.m.Notices, input.Mistake{File: x.File, Line: line, What: fmt.Sprintf(format, a...)})
}

// placed is an object in its namespace, without what a cluster has added to it.
func (b *builder) placed(x manifest.Object) manifest.Object {
	x.Fields = clone(x.Fields)
	delete(x.Fields, "status")
	meta, _ := x.Fields["metadata"].(map[string]any)
	for _, f := range []string{"creationTimestamp", "deletionTimestamp", "finalizers", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"} {
		delete(meta, f) // of the cluster that it was read from
	}
	if x.Namespace() != "" {
		return x
	}
	meta["namespace"] = b.o.Namespace
	b.assume("objects that name no namespace are in %q (--namespace)", b.o.Namespace)
	return x
}

// clone copies data that came from YAML.
func clone[T any](v T) T { return cloned(v).(T) }

func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = cloned(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = cloned(x)
		}
		return out
	}
	return v
}

// bound is a role, or what binds one, in its namespace where it has one.
func (b *builder) bound(x manifest.Object) manifest.Object {
	if strings.HasPrefix(x.Kind(), "Cluster") {
		return x
	}
	return b.placed(x)
}

func (b *builder) space(x manifest.Object) {
	n := b.namespace(x.Name())
	n.Labels, n.Where = stringMap(x.At("metadata", "labels")), x.Where()
	if n.Labels["istio.io/dataplane-mode"] == "ambient" {
		b.mistake(x, x.LineAt("metadata", "labels", "istio.io/dataplane-mode"), "namespace %s is in ambient mode, which the dry mesh does not have: its workloads are taken to have no sidecar", x.Name())
	}
}

func (b *builder) namespace(name string) *Namespace {
	if b.spaces[name] == nil {
		b.spaces[name] = &Namespace{Name: name}
	}
	return b.spaces[name]
}

// rule takes an object that is applied.
func (b *builder) rule(x manifest.Object) {
	if x.Kind() == "Service" && x.Group() == "" {
		x = b.service(x)
		if name := text(x, "spec", "externalName"); name != "" {
			b.mistake(x, x.LineAt("spec", "externalName"), "%s is another name of %s: calls of the Service's name are not asked", x, name)
		}
	}
	if b.leavesOut(x) {
		return
	}
	if x.Kind() == proxyConfigKind {
		b.ownImage(x)
	}
	b.namespace(x.Namespace())
	b.m.Gateways = b.m.Gateways || forInstalled(x)
	b.m.Objects = append(b.m.Objects, x)
}

// service is a Service without what only its own cluster can give it.
func (b *builder) service(x manifest.Object) manifest.Object {
	spec, _ := x.Fields["spec"].(map[string]any)
	if ip, _ := spec["clusterIP"].(string); ip != "None" {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	for _, f := range []string{"loadBalancerIP", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy"} {
		delete(spec, f)
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if p, ok := p.(map[string]any); ok {
			delete(p, "nodePort")
		}
	}
	return x
}

// pointed notes an object that leads a Service of no pods somewhere, and says whether it does.
func (b *builder) pointed(x manifest.Object) bool {
	service := x.Name()
	if x.Kind() == "EndpointSlice" {
		service = text(x, "metadata", "labels", "kubernetes.io/service-name")
	}
	for _, s := range b.m.Objects {
		if s.Kind() == "Service" && s.Group() == "" && s.Namespace() == x.Namespace() && s.Name() == service && len(stringMap(s.At("spec", "selector"))) == 0 {
			b.mistake(x, x.Line, "%s is not taken over: where %s leads, which selects no pods, is not asked", x, s)
			return true
		}
	}
	return false
}

// gateways that an installation of Istio usually has, and the dry mesh too.
var installedGateways = []string{"istio-egressgateway", "istio-ingressgateway"}

// leavesOut leaves an object out that is a part of what the dry mesh has itself, and says whether it is one: a gateway of the installation, or
// istiod, of whatever revision.
func (b *builder) leavesOut(x manifest.Object) bool {
	if x.Namespace() != RootNamespace || x.Kind() != "Service" && x.Kind() != "Deployment" {
		return false
	}
	switch {
	case slices.Contains(installedGateways, x.Name()):
		b.notice(x, x.Line, "%s is left out: the dry mesh has its own gateway of that name", x)
		b.m.Gateways = true
	case x.Name() == "istiod" || strings.HasPrefix(x.Name(), "istiod-"):
		b.notice(x, x.Line, "%s is left out: the dry mesh has its own istiod", x)
	default:
		return false
	}
	return true
}

// forInstalled says whether an object is meant for such a gateway: by the labels that it selects, or by its Service's name.
func forInstalled(x manifest.Object) bool {
	found := false
	walk(x.Fields["spec"], func(s string) {
		for _, g := range installedGateways {
			if s == g || s == strings.TrimPrefix(g, "istio-") || strings.HasPrefix(s, g+"."+RootNamespace) {
				found = true
			}
		}
	})
	return found
}

// walk visits all texts in a value.
func walk(v any, visit func(string)) {
	switch v := v.(type) {
	case string:
		visit(v)
	case map[string]any:
		for _, x := range v {
			walk(x, visit)
		}
	case []any:
		for _, x := range v {
			walk(x, visit)
		}
	}
}

func stringMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := map[string]string{}
	for k, x := range m {
		if s, ok := x.(string); ok {
			out[k] = s
		}
	}
	return out
}

// texts are the strings of a list.
func texts(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// mappings are those of a list.
func mappings(v any) []map[string]any {
	var out []map[string]any
	list, _ := v.([]any)
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// finish completes a model once all objects are read.
func (b *builder) finish() {
	b.meshSettings()
	b.strangers()
	for _, n := range b.spaces {
		if n.Where == "" && n.Name != RootNamespace && !uninjected(n.Name) {
			n.Labels = map[string]string{injectionLabel: "enabled"}
			b.assume("namespace %s, which has no object of its own, is labelled %s: enabled", n.Name, injectionLabel)
		}
		b.m.Namespaces = append(b.m.Namespaces, *n)
	}
	slices.SortFunc(b.m.Namespaces, func(x, y Namespace) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(b.m.Workloads, func(x, y Workload) int {
		return cmp.Or(strings.Compare(x.path(), y.path()), strings.Compare(x.Kind, y.Kind))
	})
	b.permissions()
	slices.Sort(b.m.Assumed)
	for i := range b.m.Workloads {
		w := &b.m.Workloads[i]
		w.NamespaceLabels, w.Proxy = b.spaces[w.Namespace].Labels, b.m.proxyConfigs(*w)
		w.namesake = slices.ContainsFunc(b.m.Workloads, func(x Workload) bool { return x.path() == w.path() && x.Kind != w.Kind })
	}
	b.m.Mistakes, b.m.Notices = b.m.Mistakes.Sorted(), b.m.Notices.Sorted()
}

// injectionLabel of a namespace asks for sidecars.
const injectionLabel = "istio-injection"

// text is a text at a place in an object; "" where there is none.
func text(x manifest.Object, path ...string) string {
	s, _ := x.At(path...).(string)
	return s
}
