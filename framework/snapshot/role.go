package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	authv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/verify"
)

// roleName is that of Role.
const roleName = "egressctl-verify"

// Role is the ClusterRole that has everything that Take reads, and nothing else. Bound in single namespaces and istio-system, it is
// enough for Options.Namespaces.
func Role() *rbacv1.ClusterRole { return role(verify.Resources(), verbsOf) }

func role(resources []verify.Resource, verbsOf func(verify.Resource) []string) *rbacv1.ClusterRole {
	out := &rbacv1.ClusterRole{TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"}, ObjectMeta: metav1.ObjectMeta{Name: roleName}}
	for _, x := range resources {
		verbs := verbsOf(x)
		i := slices.IndexFunc(out.Rules, func(r rbacv1.PolicyRule) bool { return r.APIGroups[0] == x.Group && slices.Equal(r.Verbs, verbs) })
		if i < 0 {
			i = len(out.Rules)
			out.Rules = append(out.Rules, rbacv1.PolicyRule{APIGroups: []string{x.Group}, Verbs: verbs})
		}
		out.Rules[i].Resources = append(out.Rules[i].Resources, x.Name)
	}
	out.Rules = append(out.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{configMaps}, ResourceNames: verify.DefaultConfigMaps(), Verbs: []string{"get"}})
	return out
}

// configMaps is the resource of which single objects are read.
const configMaps = "configmaps"

// verbsOf is what is done with a kind: namespaces that are named are read by their names.
func verbsOf(x verify.Resource) []string {
	if x.Kind == "Namespace" {
		return []string{"get", "list"}
	}
	return []string{"list"}
}

// RoleYAML is Role as a file for kubectl, with each rule in a line.
func RoleYAML() []byte { return roleYAML(Role()) }

func roleYAML(role *rbacv1.ClusterRole) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata: {name: %s}\nrules:\n", role.APIVersion, role.Kind, role.Name)
	for _, r := range role.Rules {
		group := cmp.Or(r.APIGroups[0], `""`)
		names := ""
		if len(r.ResourceNames) > 0 {
			names = fmt.Sprintf("resourceNames: [%s], ", strings.Join(r.ResourceNames, ", "))
		}
		fmt.Fprintf(&b, "  - {apiGroups: [%s], resources: [%s], %sverbs: [%s]}\n", group, strings.Join(r.Resources, ", "), names, strings.Join(r.Verbs, ", "))
	}
	return []byte(b.String())
}

// preflight asks the API server whether this user may read everything. The error names all that is missing.
func (r *reader) preflight(ctx context.Context) error {
	var missing []string
	for _, s := range r.served {
		more, err := r.lacking(ctx, s)
		if err != nil {
			return err
		}
		missing = append(missing, more...)
	}
	if !r.o.NoSettings {
		more, err := r.unreadable(ctx, verify.DefaultConfigMaps())
		if err != nil {
			return err
		}
		missing = append(missing, more...)
	}
	if r.o.InPlace {
		more, err := r.undoable(ctx, missing)
		if err != nil {
			return err
		}
		if missing = append(missing, more...); len(missing) > 0 {
			return fmt.Errorf("this user may not\n  %s\n(egressctl verify --print-role --in-place prints a ClusterRole that is enough; nothing was made)", strings.Join(missing, "\n  "))
		}
	}
	return refused(missing)
}

// mayGet fails where some ConfigMaps may not be read.
func (r *reader) mayGet(ctx context.Context, names []string) error {
	missing, err := r.unreadable(ctx, names)
	if err != nil {
		return err
	}
	return refused(missing)
}

func refused(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("this user may not\n  %s\n(egressctl verify --print-role prints a ClusterRole that is enough; for an istiod with a revision, add the names of its ConfigMaps to it; "+
		"who may read single namespaces alone names them with --namespace, and needs that role in each of them and in %s)", strings.Join(missing, "\n  "), verify.RootNamespace)
}

// lacking is what of a kind may not be read.
func (r *reader) lacking(ctx context.Context, s served) ([]string, error) {
	ask := authv1.ResourceAttributes{Verb: "list", Group: s.Group, Version: s.version, Resource: s.Name}
	all, err := kube.May(ctx, r.clients, ask)
	if err != nil || all && (s.namespaced || len(r.o.Namespaces) == 0) {
		return nil, err
	}
	if len(r.o.Namespaces) == 0 {
		return []string{kube.Permission(ask)}, nil
	}
	var missing []string
	for _, ns := range r.places() {
		one := ask
		one.Namespace = ns
		if !s.namespaced {
			if !slices.Contains(r.o.Namespaces, ns) {
				continue
			}
			one.Verb, one.Name = "get", ns
		}
		may, err := kube.May(ctx, r.clients, one)
		if err != nil {
			return nil, err
		}
		if !may {
			missing = append(missing, kube.Permission(one))
		}
	}
	return missing, nil
}

// unreadable is which ConfigMaps may not be read.
func (r *reader) unreadable(ctx context.Context, names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		ask := authv1.ResourceAttributes{Verb: "get", Version: "v1", Resource: configMaps, Namespace: verify.RootNamespace, Name: name}
		may, err := kube.May(ctx, r.clients, ask)
		if err != nil {
			return nil, err
		}
		if !may {
			missing = append(missing, kube.Permission(ask))
		}
	}
	return missing, nil
}
