package verify

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// Class are workloads that no object of the input tells apart: one of them answers for all.
type Class struct {
	// Client is the name of the client that stands in for the first of them.
	Client  string
	Members []Workload
}

// Label is how people name the class: by its first workload.
func (c Class) Label() string { return c.Members[0].Label() }

// Classes groups the workloads of a model. With every, each workload is a class of its own.
func (m *Model) Classes(every bool) []Class {
	var out []Class
	place := map[string]int{}
	for i, w := range m.Workloads {
		key := m.traits(w)
		if every {
			key = fmt.Sprint(i)
		}
		if at, have := place[key]; have {
			out[at].Members = append(out[at].Members, w)
			continue
		}
		place[key] = len(out)
		out = append(out, Class{Members: []Workload{w}})
	}
	names := map[string]bool{}
	for i := range out {
		name := clientName(out[i].Members[0])
		for n := 2; names[name]; n++ { // a Deployment and a Job may have one name
			name = fmt.Sprintf("%s-%d", clientName(out[i].Members[0]), n)
		}
		names[name] = true
		out[i].Client = name
	}
	return out
}

// traits are all of a workload by which something in the input may tell it from another one.
func (m *Model) traits(w Workload) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q user %d group %d host %t inject %q rev %q", w.Namespace, sortedPairs(w.Annotations), w.User, w.Group, w.HostNetwork, w.Labels[injectLabel], w.Labels[revisionLabel])
	for _, x := range m.Objects {
		if x.Namespace() != w.Namespace && x.Namespace() != RootNamespace {
			continue
		}
		if selects(x, w.Labels) {
			fmt.Fprintf(&b, " %s", x)
		}
	}
	for _, key := range m.routedBy() {
		fmt.Fprintf(&b, " %s=%q", key, w.Labels[key])
	}
	if m.namesAccounts() {
		fmt.Fprintf(&b, " account %q", w.ServiceAccount)
	}
	return b.String()
}

func sortedPairs(m map[string]string) []string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, k+"="+m[k])
	}
	return out
}

// selects says whether an object selects pods by labels that these are.
func selects(x manifest.Object, labels map[string]string) bool {
	for _, path := range [][]string{{"spec", "workloadSelector", "labels"}, {"spec", "workloadSelector", "matchLabels"}, {"spec", "selector", "matchLabels"}, {"spec", "selector", "labels"}} {
		want := stringMap(x.At(path...))
		if len(want) > 0 && subset(want, labels) {
			return true
		}
	}
	return false
}

func subset(want, have map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// routedBy are the labels of clients by which VirtualServices route (sourceLabels).
func (m *Model) routedBy() []string {
	found := map[string]bool{}
	for _, x := range m.Objects {
		if x.Kind() != "VirtualService" {
			continue
		}
		for _, kind := range []string{"http", "tls", "tcp"} {
			for _, route := range mappings(x.At("spec", kind)) {
				for _, match := range mappings(route["match"]) {
					for k := range stringMap(match["sourceLabels"]) {
						found[k] = true
					}
				}
			}
		}
	}
	return sortedKeys(found)
}

// namesAccounts says whether some policy asks who a client is.
func (m *Model) namesAccounts() bool {
	return slices.ContainsFunc(m.Objects, func(x manifest.Object) bool {
		if x.Kind() != "AuthorizationPolicy" {
			return false
		}
		for _, rule := range mappings(x.At("spec", "rules")) {
			for _, from := range mappings(rule["from"]) {
				source, _ := from["source"].(map[string]any)
				for _, f := range []string{"principals", "notPrincipals", "serviceAccounts", "notServiceAccounts"} {
					if source[f] != nil {
						return true
					}
				}
			}
			for _, when := range mappings(rule["when"]) {
				if key, _ := when["key"].(string); key == "source.principal" {
					return true
				}
			}
		}
		return false
	})
}

// Clients are the stand-ins of classes. What is called differently in two models is two clients.
func (m *Model) Clients(classes []Class) []egress.Client {
	var out []egress.Client
	names := map[string]bool{} // of their Deployments
	for _, c := range classes {
		k := c.Members[0].client(c.Client, m.Mesh)
		for n, name := 2, k.Workload; names[k.Namespace+"/"+k.Workload]; n++ {
			k.Workload = fmt.Sprintf("%s-%d", name, n)
		}
		names[k.Namespace+"/"+k.Workload] = true
		out = append(out, k)
	}
	return out
}
