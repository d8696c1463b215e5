package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// Workload is one that makes pods, as far as that matters for egress.
type Workload struct {
	Namespace, Name string
	Kind            string // of its object; "" for one that is assumed
	File            string
	Line            int
	Labels          map[string]string // of its pods
	Annotations     map[string]string
	NamespaceLabels map[string]string
	ServiceAccount  string
	Ports           []egress.ContainerPort
	User, Group     int64 // of its containers, where that is the sidecar's; 0 for any other
	HostNetwork     bool
	// Proxy are the ProxyConfigs by which its sidecar is injected.
	Proxy string
	// Running are its pods in the cluster that it was read of; none for one of a file.
	Running Running

	namesake bool // another kind of workload of the namespace has its name
}

// Label is how people name it: by its kind too, where another kind of workload has its name.
func (w Workload) Label() string {
	if w.namesake {
		return w.path() + " (" + w.Kind + ")"
	}
	return w.path()
}

func (w Workload) path() string { return w.Namespace + "/" + w.Name }

// Workloads that nobody has written, by which what holds for everybody else is seen.
const (
	// anyWorkload stands for whatever may run in a namespace that has rules, and no workloads in the input.
	anyWorkload = "any"
	// StrangerNamespace is one that no object is for.
	StrangerNamespace = "elsewhere"
)

// defaultAccount is the service account of pods that name none, which every namespace has.
const defaultAccount = "default"

// strangers adds the workloads that nobody has written.
func (b *builder) strangers() {
	if b.o.InPlace {
		return
	}
	for name := range b.spaces {
		lives := slices.ContainsFunc(b.m.Workloads, func(w Workload) bool { return w.Namespace == name })
		if lives || name == RootNamespace || uninjected(name) {
			continue
		}
		b.m.Workloads = append(b.m.Workloads, Workload{Namespace: name, Name: anyWorkload, Labels: map[string]string{"app": anyWorkload}, ServiceAccount: defaultAccount})
		b.assume("namespace %s has no workload in the input: %s/%s stands for whatever runs there", name, name, anyWorkload)
	}
	if b.spaces[StrangerNamespace] == nil {
		b.spaces[StrangerNamespace] = &Namespace{Name: StrangerNamespace, Labels: map[string]string{injectionLabel: "enabled"}, Where: "-"}
		b.m.Workloads = append(b.m.Workloads, Workload{Namespace: StrangerNamespace, Name: anyWorkload, Labels: map[string]string{"app": anyWorkload}, ServiceAccount: defaultAccount})
	}
}

// uninjected says whether no pod of a namespace gets a sidecar, whatever its labels (istio.io/istio, pkg/kube/inject,
// IgnoredNamespaces).
func uninjected(namespace string) bool {
	return slices.Contains([]string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}, namespace)
}

// templates are where each kind has the pod.
var templates = map[string][]string{
	"Pod": {}, "CronJob": {"spec", "jobTemplate", "spec", "template"},
	"Deployment": {"spec", "template"}, "StatefulSet": {"spec", "template"}, "DaemonSet": {"spec", "template"}, "ReplicaSet": {"spec", "template"}, "Job": {"spec", "template"},
}

// workload takes an object that makes pods.
func (b *builder) workload(x manifest.Object) {
	path := templates[x.Kind()]
	meta, spec := append(slices.Clone(path), "metadata"), append(slices.Clone(path), "spec")
	w := Workload{
		Namespace: x.Namespace(), Name: x.Name(), Kind: x.Kind(), File: x.File, Line: x.Line,
		Labels: stringMap(x.At(append(meta, "labels")...)), ServiceAccount: defaultAccount, Running: b.o.Running[x.File],
	}
	if sa, _ := x.At(append(spec, "serviceAccountName")...).(string); sa != "" {
		w.ServiceAccount = sa
	}
	notes := stringMap(x.At(append(meta, "annotations")...))
	containers := mappings(x.At(append(spec, "containers")...))
	switch {
	case len(containers) == 0:
		b.mistake(x, x.Line, "%s has no containers", x)
		return
	case b.leavesOut(x):
		return
	case isGateway(w.Labels, notes, containers):
		b.namespace(w.Namespace)
		if w.ServiceAccount != defaultAccount {
			b.account(x, w.ServiceAccount)
		}
		b.m.Objects = append(b.m.Objects, lean(x, path))
		return
	case uninjected(w.Namespace):
		b.notice(x, x.Line, "%s is left out: workloads of the cluster itself have no sidecar", x)
		return
	}
	b.namespace(w.Namespace)
	w.HostNetwork, _ = x.At(append(spec, "hostNetwork")...).(bool)
	w.Annotations = b.annotations(x, notes)
	pod := x.At(append(spec, "securityContext")...)
	for _, c := range containers {
		if c["name"] == "istio-proxy" {
			b.notice(x, x.Line, "%s has its sidecar in its own template; its stand-in gets that of the dry mesh, if its labels say so", x)
			continue
		}
		// One that goes past the sidecar is enough: the stand-in is to show what the workload can reach.
		w.User = max(w.User, sidecars("runAsUser", pod, c["securityContext"]))
		w.Group = max(w.Group, sidecars("runAsGroup", pod, c["securityContext"]))
		for _, p := range mappings(c["ports"]) {
			w.Ports = append(w.Ports, portOf(p))
		}
	}
	b.m.Workloads = append(b.m.Workloads, w)
}

func portOf(p map[string]any) egress.ContainerPort {
	out := egress.ContainerPort{}
	out.Name, _ = p["name"].(string)
	out.Protocol, _ = p["protocol"].(string)
	out.Port, _ = number(p["containerPort"])
	return out
}

// number reads a whole number of YAML or JSON.
func number(v any) (int, bool) {
	n, err := strconv.Atoi(fmt.Sprint(v))
	return n, err == nil
}

// sidecarUser is the sidecar's, and the number of its group: what either sends is not redirected to the sidecar.
const sidecarUser = 1337

// sidecars is the user or group of a container, if that is the sidecar's: its own security context's, or else the pod's.
func sidecars(field string, pod, container any) int64 {
	for _, from := range []any{container, pod} {
		m, _ := from.(map[string]any)
		if m[field] == nil {
			continue
		}
		if n, ok := number(m[field]); ok && n == sidecarUser {
			return sidecarUser
		}
		return 0
	}
	return 0
}

// taken are the annotations that decide about a pod's egress; a name that ends in / means all below it.
var taken = []string{"traffic.sidecar.istio.io/", "sidecar.istio.io/inject", "sidecar.istio.io/interceptionMode", "proxy.istio.io/config", "traffic.istio.io/"}

// annotations are those of a pod that its stand-in gets.
func (b *builder) annotations(x manifest.Object, all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if !slices.ContainsFunc(taken, func(t string) bool { return k == t || strings.HasSuffix(t, "/") && strings.HasPrefix(k, t) }) {
			continue
		}
		if k == "proxy.istio.io/config" {
			if v = b.proxyConfig(x, v); v == "" {
				continue
			}
		}
		out[k] = v
	}
	return out
}

// ofProxy are the settings of a single proxy that decide about egress.
var ofProxy = []string{"proxyMetadata", "interceptionMode", "concurrency"}

// proxyConfig is the part of a proxy's own configuration that its stand-in gets.
func (b *builder) proxyConfig(x manifest.Object, text string) string {
	var all map[string]any
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		b.mistake(x, x.Line, "%s: annotation proxy.istio.io/config: %v", x, err)
		return ""
	}
	for k := range all {
		if !slices.Contains(ofProxy, k) {
			delete(all, k)
		}
	}
	if len(all) == 0 {
		return ""
	}
	out, err := yaml.Marshal(all)
	if err != nil { // it came from YAML
		return ""
	}
	return string(out)
}

// isGateway says whether a workload is a proxy that others send their traffic to: the webhook makes one of it, or its own
// arguments do.
func isGateway(labels, notes map[string]string, containers []map[string]any) bool {
	if strings.Contains(cmp.Or(notes["inject.istio.io/templates"], labels["inject.istio.io/templates"]), "gateway") {
		return true
	}
	return slices.ContainsFunc(containers, func(c map[string]any) bool {
		args := texts(c["args"])
		return c["name"] == "istio-proxy" && slices.Contains(args, "router")
	})
}

// account makes the service account of a gateway, without which it has no pod. Those of other workloads come with their stand-ins.
func (b *builder) account(of manifest.Object, name string) {
	o := manifest.Object{File: of.File, Line: of.Line, Node: of.Node, Fields: map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name, "namespace": of.Namespace()},
	}}
	if !slices.ContainsFunc(b.m.Objects, func(x manifest.Object) bool { return x.Group() == "" && x.String() == o.String() }) {
		b.m.Objects = append(b.m.Objects, o)
	}
}

// lean is a gateway's object with one pod that fits onto a small node.
func lean(x manifest.Object, path []string) manifest.Object {
	x.Fields = clone(x.Fields)
	if spec, ok := x.Fields["spec"].(map[string]any); ok && (x.Kind() == "Deployment" || x.Kind() == "StatefulSet") {
		spec["replicas"] = int64(1)
	}
	spec, _ := x.At(append(slices.Clone(path), "spec")...).(map[string]any)
	for _, f := range []string{"nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "priorityClassName", "imagePullSecrets"} {
		delete(spec, f)
	}
	for _, c := range mappings(spec["containers"]) {
		delete(c, "resources")
	}
	return x
}

// Unheard notes a class whose answers are not known, or not why they are what they are.
func (m *Model) Unheard(c Class, err error) {
	w := c.Members[0]
	m.Mistakes = append(m.Mistakes, input.Mistake{File: cmp.Or(w.File, "assumed"), Line: w.Line, What: fmt.Sprintf("the answers of %s are left out: %v", w.Label(), err)})
}

// revisionLabel binds a namespace or pod to an istiod.
const revisionLabel = egress.RevisionLabel

// clientName is a workload's name among clients, which are called by lower-case words.
func clientName(w Workload) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(w.Namespace+"-"+w.Name))
	parts := slices.DeleteFunc(strings.Split(s, "-"), func(p string) bool { return p == "" })
	return "standin-" + strings.Join(parts, "-")
}

// client is a workload's stand-in.
func (w Workload) client(name string, settings Settings) egress.Client {
	c := egress.Client{
		Name: name, Namespace: w.Namespace, Injection: egress.LabelledInjection, Annotations: map[string]string{}, User: w.User,
		Escapes: w.User == sidecarUser || w.Group == sidecarUser, // its sidecar has no line of anything
		StandIn: &egress.StandIn{Labels: map[string]string{}, NamespaceLabels: map[string]string{}, ServiceAccount: w.ServiceAccount, Ports: w.Ports, Group: w.Group, Proxy: w.Proxy},
	}
	for k, v := range settings.Pods {
		c.Annotations[k] = v
	}
	for k, v := range w.Annotations {
		c.Annotations[k] = v
	}
	for k, v := range w.Labels {
		c.StandIn.Labels[k] = v
	}
	for k, v := range w.NamespaceLabels {
		c.StandIn.NamespaceLabels[k] = v
	}
	for _, labels := range []map[string]string{c.StandIn.Labels, c.StandIn.NamespaceLabels} {
		if labels[revisionLabel] != "" { // the dry mesh has one istiod, whatever it is called
			labels[revisionLabel] = "default"
		}
	}
	if w.HostNetwork { // which is never injected
		c.StandIn.Labels[injectLabel] = "false"
	}
	c.Default()
	c.Workload = dns1123(w.Name)
	return c
}

// injectLabel of a pod asks for a sidecar, or for none.
const injectLabel = "sidecar.istio.io/inject"

// dns1123 is a name that a Deployment can have.
func dns1123(s string) string {
	const longest = 50
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	s = strings.TrimLeft(s, "-")
	return cmp.Or(strings.TrimRight(s[:min(len(s), longest)], "-"), "workload")
}
