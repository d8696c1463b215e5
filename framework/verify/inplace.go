package verify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// Asked in place, a class has a short-lived pod beside its first workload, with that one's labels. Where these alone would let
// something else of the cluster's change, the class is not asked. What selects pods by labels and is not looked for here, since it
// takes pods by their controller (ReplicaSets and their like) or when they are ready (Services, istiod, DNS), see framework/pods.

// guards are what in a cluster would take notice of a pod by its labels.
type guards struct {
	objects []manifest.Object
	logs    Logs
}

// InPlaceResources are the kinds that are read of a cluster besides Resources where it is to be asked in place.
func InPlaceResources() []Resource {
	return []Resource{
		{"policy", "PodDisruptionBudget", "poddisruptionbudgets", ""},
		{"autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", ""},
	}
}

// InPlace chooses among classes those that can be asked in place. Another member of a class stands for it where the first cannot. What
// cannot be asked is a mistake of the model's, with the reason. The error says what to do where no sidecar writes an access log.
func (m *Model) InPlace(set *manifest.Set, classes []Class, logs Logs) ([]Class, error) {
	g := guards{set.Objects, logs}
	var out []Class
	silent := 0 // workloads that could be asked but for their logs
	for _, c := range classes {
		var whys []string
		able := slices.IndexFunc(c.Members, func(w Workload) bool {
			why := g.touches(w)
			if why == "" {
				if why = g.silent(w); why != "" {
					silent++
				}
			}
			whys = append(whys, why)
			return why == ""
		})
		if able < 0 {
			m.passedBy(c, whys[0])
			continue
		}
		members := slices.Concat(c.Members[able:], c.Members[:able])
		out = append(out, Class{Client: c.Client, Members: members})
	}
	switch {
	case len(out) == 0 && silent > 0:
		return nil, fmt.Errorf("no workload can be asked in place: %s", g.logs.remedy())
	case len(out) == 0 && len(classes) > 0:
		return nil, fmt.Errorf("no workload can be asked in place, and nothing was made:\n%w", m.Mistakes)
	case len(out) == 0:
		return nil, errors.New("no workload can be asked in place: the namespaces that are read have none")
	}
	return out, nil
}

// passedBy notes a class that is not asked.
func (m *Model) passedBy(c Class, why string) {
	w := c.Members[0]
	m.unasked = append(m.unasked, c.Members...)
	m.Mistakes = append(m.Mistakes, input.Mistake{File: w.File, Line: w.Line, What: fmt.Sprintf("%s%s is not asked in place: %s", w.Label(), alikes(len(c.Members)-1), why)})
}

// alikes says how many more there are of a class.
func alikes(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (+%d)", n)
}

// touches says why a pod with a workload's labels would touch something else, or cannot be had; "" for neither.
func (g guards) touches(w Workload) string {
	template := g.template(w)
	switch {
	case w.HostNetwork:
		return "it runs in its node's network (hostNetwork), which no short-lived pod should be in"
	case ambient(w):
		return "it is in ambient mode: it has no sidecar whose log could be read"
	case slices.ContainsFunc(mappings(at(template, "spec", "containers")), func(c map[string]any) bool { return c["name"] == "istio-proxy" }):
		return "its sidecar is in its own template, and the cluster's webhook would give another one"
	}
	for _, x := range g.objects {
		if why := g.taken(x, w); why != "" {
			return why
		}
	}
	return ""
}

// ambient says whether a pod with a workload's labels is in ambient mode.
func ambient(w Workload) bool {
	const mode = "istio.io/dataplane-mode"
	if own := w.Labels[mode]; own != "" {
		return own == "ambient"
	}
	return w.NamespaceLabels[mode] == "ambient"
}

// taken says why one object would take notice of a pod with a workload's labels; "" where it does not.
func (g guards) taken(x manifest.Object, w Workload) string {
	here := x.Namespace() == w.Namespace
	spec, _ := x.Fields["spec"].(map[string]any)
	switch x.Group() + "/" + x.Kind() {
	case "/Service":
		want := stringMap(spec["selector"])
		unready, _ := spec["publishNotReadyAddresses"].(bool)
		unready = unready || text(x, "metadata", "annotations", "service.alpha.kubernetes.io/tolerate-unready-endpoints") == "true"
		if here && unready && len(want) > 0 && subset(want, w.Labels) {
			return fmt.Sprintf("%s selects it with publishNotReadyAddresses: calls of the Service would go to a pod that serves nothing", x)
		}
	case "policy/PodDisruptionBudget":
		if here && chooses(spec["selector"], w.Labels) {
			return fmt.Sprintf("%s selects it: a pod more, which is not ready, would change what may be evicted", x)
		}
	case "autoscaling/HorizontalPodAutoscaler":
		if here && g.scales(spec, w) {
			return fmt.Sprintf("%s scales it: a pod more would count", x)
		}
	default:
		if path, makes := templates[x.Kind()]; makes && keepsAway(x, path, w) {
			return fmt.Sprintf("%s keeps its own pods away from it (required podAntiAffinity or topologySpreadConstraints): a pod more could keep one of these from being scheduled", x)
		}
	}
	return ""
}

// scales says whether an autoscaler counts pods with a workload's labels.
func (g guards) scales(spec map[string]any, w Workload) bool {
	ref, _ := spec["scaleTargetRef"].(map[string]any)
	kind, _ := ref["kind"].(string)
	name, _ := ref["name"].(string)
	if name == w.Name && (kind == w.Kind || strings.HasPrefix(w.File, kind+" ")) {
		return true
	}
	return slices.ContainsFunc(g.objects, func(x manifest.Object) bool {
		return x.Kind() == kind && x.Namespace() == w.Namespace && x.Name() == name && chooses(x.At("spec", "selector"), w.Labels)
	})
}

// chooses says whether a label selector, as Kubernetes' own kinds have it, is that of a pod. One that cannot be read may be.
func chooses(selector any, have map[string]string) bool {
	fields, is := selector.(map[string]any)
	if !is {
		return false // none selects nothing
	}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &s); err != nil {
		return true
	}
	got, err := metav1.LabelSelectorAsSelector(&s)
	return err != nil || got.Matches(labels.Set(have))
}

// keepsAway says whether the pods of an object may not be scheduled beside a pod with a workload's labels.
func keepsAway(x manifest.Object, path []string, w Workload) bool {
	spec, _ := x.At(append(slices.Clone(path), "spec")...).(map[string]any)
	here := x.Namespace() == w.Namespace
	for _, t := range mappings(spec["topologySpreadConstraints"]) {
		if here && t["whenUnsatisfiable"] != "ScheduleAnyway" && chooses(t["labelSelector"], w.Labels) {
			return true
		}
	}
	for _, t := range mappings(at(spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")) {
		named := texts(t["namespaces"])
		meant := here && len(named) == 0 || slices.Contains(named, w.Namespace) || t["namespaceSelector"] != nil
		if meant && chooses(t["labelSelector"], w.Labels) {
			return true
		}
	}
	return false
}

// template is the pod of a workload as the cluster has it.
func (g guards) template(w Workload) map[string]any {
	for _, x := range g.objects {
		path, makes := templates[x.Kind()]
		if !makes || x.Kind() != w.Kind || x.Namespace() != w.Namespace || x.Name() != w.Name {
			continue
		}
		if len(path) == 0 {
			return x.Fields
		}
		got, _ := x.At(path...).(map[string]any)
		return got
	}
	return nil
}

// InPlaceClients are the pods of classes that are asked in place.
func (m *Model) InPlaceClients(classes []Class) []egress.Client {
	out := m.Clients(classes)
	for i := range out {
		w := classes[i].Members[0]
		out[i].StandIn.InPlace = true
		// The cluster's own webhook knows the installation's settings, and its revisions are there.
		out[i].Annotations, out[i].StandIn.Labels, out[i].StandIn.NamespaceLabels = maps.Clone(w.Annotations), maps.Clone(w.Labels), nil
	}
	return out
}

// inPlace forgets of a model what is about the dry mesh: in place, the cluster itself is asked.
func (m *Model) inPlace() {
	m.asked = true
	m.Assumed, m.Ignored, m.Mistakes, m.Notices = nil, nil, nil, nil
}
