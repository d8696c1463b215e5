package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// rbac is the group of roles and of what binds them.
const rbac = "rbac.authorization.k8s.io"

// listers are the service accounts of a namespace that may list its Secrets, by the roles among the objects; none where they say so of
// nobody. istiod gives a proxy the certificate of a credentialName where its account is one, and asks the API server for the account by its
// name alone, without its groups (istio/istio, Authorize in pilot/pkg/credentials/kube).
func (m *Model) listers(namespace string) []string {
	var out []string
	for _, x := range m.rbac {
		cluster := x.Kind() == "ClusterRoleBinding"
		if !cluster && (x.Kind() != "RoleBinding" || x.Namespace() != namespace) || !m.mayList(x) {
			continue
		}
		for _, s := range mappings(x.At("subjects")) {
			if name, of := named(s, x.Namespace()); of == namespace && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// named is the service account that a subject of a binding is, and its namespace; "" for anybody else.
func named(subject map[string]any, bound string) (name, namespace string) {
	kind, _ := subject["kind"].(string)
	name, _ = subject["name"].(string)
	namespace, _ = subject["namespace"].(string)
	if kind == "ServiceAccount" {
		return name, cmp.Or(namespace, bound)
	}
	if parts := strings.Split(name, ":"); kind == "User" && len(parts) == 4 && parts[0] == "system" && parts[1] == "serviceaccount" {
		return parts[3], parts[2]
	}
	return "", ""
}

// listing are Kubernetes' own roles that include the listing of Secrets.
var listing = []string{"admin", "cluster-admin", "edit"}

// mayList says whether the role of a binding includes the listing of all Secrets of a namespace.
func (m *Model) mayList(binding manifest.Object) bool {
	kind, name := text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")
	if kind == "ClusterRole" && slices.Contains(listing, name) {
		return true
	}
	return slices.ContainsFunc(m.rbac, func(x manifest.Object) bool {
		return x.Kind() == kind && x.Name() == name && (kind == "ClusterRole" || x.Namespace() == binding.Namespace()) && lists(x)
	})
}

// lists says whether a role includes the listing of all Secrets.
func lists(role manifest.Object) bool {
	has := func(rule map[string]any, field, what string) bool {
		return slices.ContainsFunc(texts(rule[field]), func(s string) bool { return s == what || s == "*" })
	}
	return slices.ContainsFunc(mappings(role.At("rules")), func(rule map[string]any) bool {
		return len(texts(rule["resourceNames"])) == 0 && has(rule, "apiGroups", "") && has(rule, "resources", "secrets") && has(rule, "verbs", "list")
	})
}

// accounts are those of a namespace's workloads.
func (m *Model) accounts(namespace string) []string {
	var out []string
	for _, w := range m.Workloads {
		if w.Namespace == namespace && !slices.Contains(out, w.ServiceAccount) {
			out = append(out, w.ServiceAccount)
		}
	}
	slices.Sort(out)
	return out
}

// credentialed are the namespaces with workloads whose proxies may look for a credential there.
func (m *Model) credentialed() []string {
	var out []string
	for _, p := range m.credentials() {
		if !slices.Contains(out, p.namespace) && len(m.accounts(p.namespace)) > 0 {
			out = append(out, p.namespace)
		}
	}
	return out
}

// withheld says whether the roles among the objects let no workload of a namespace have a certificate, though they let somebody of it.
// istiod remembers for five minutes whom it has given one, so a dry mesh withholds the Secret and not the permission.
func (m *Model) withheld(namespace string) bool {
	may, have := m.listers(namespace), m.accounts(namespace)
	return len(may) > 0 && len(have) > 0 && !slices.ContainsFunc(have, func(a string) bool { return slices.Contains(may, a) })
}

// permissions says what the roles among the objects mean for the certificates of proxies. Where they say nothing of a namespace all its
// proxies get theirs: the role comes with the chart of a gateway, which need not be among the objects.
func (b *builder) permissions() {
	for _, ns := range b.m.credentialed() {
		may := b.m.listers(ns)
		switch {
		case len(may) == 0:
			b.assume("proxies of namespace %s get the certificates of credentialName: no Role among the objects says which service accounts may list Secrets there", ns)
		case b.m.withheld(ns):
			b.assume("proxies of namespace %s get no certificate of credentialName: of its service accounts %s alone may list Secrets, which no workload has", ns, strings.Join(may, ", "))
		default:
			for _, w := range b.m.Workloads {
				if w.Namespace == ns && !slices.Contains(may, w.ServiceAccount) {
					b.m.Mistakes = append(b.m.Mistakes, input.Mistake{File: w.File, Line: w.Line, What: fmt.Sprintf(
						"the proxy of %s gets certificates of credentialName here, though its service account %s may not list Secrets and others of its namespace may", w.Label(), w.ServiceAccount)})
				}
			}
		}
	}
}

// Permissions are the roles by which istiod gives the proxies of workloads their certificates.
func (m *Model) Permissions() []egress.Object {
	const name = "credentials-of-proxies"
	var out []egress.Object
	for _, ns := range m.credentialed() {
		meta := map[string]any{"name": name, "namespace": ns}
		var subjects []any
		for _, a := range m.accounts(ns) {
			subjects = append(subjects, map[string]any{"kind": "ServiceAccount", "name": a, "namespace": ns})
		}
		out = append(out, egress.Object{
			"apiVersion": rbac + "/v1", "kind": "Role", "metadata": meta,
			"rules": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"get", "list", "watch"}}},
		}, egress.Object{
			"apiVersion": rbac + "/v1", "kind": "RoleBinding", "metadata": clone(meta),
			"roleRef": map[string]any{"apiGroup": rbac, "kind": "Role", "name": name}, "subjects": subjects,
		})
	}
	return out
}
