package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/verify"
)

// Action is something that is done in a cluster that is asked in place.
type Action struct {
	Verbs    []string
	Resource string // of the core group, with its subresource
	Why      string
}

// Actions are all that asking in place takes besides reading. They are asked for in the whole cluster: the run has a namespace of its
// own, which is not there yet.
func Actions() []Action {
	return []Action{
		{[]string{"create", "delete", "get"}, "namespaces", "the control client has a namespace of its own"},
		{[]string{"create", "delete", "get", "list", "watch"}, "pods", "the pods that ask"},
		{[]string{"create", "delete", "get"}, configMaps, "each of them belongs to a ConfigMap, so that no controller adopts it"},
		{[]string{"create", "get"}, "pods/exec", "the probe agent runs in them"},
		{[]string{"create", "get"}, "pods/portforward", "proxies, and pods that play the outside, are asked what they have"},
		{[]string{"get"}, "pods/log", "the sidecars' access logs are a witness"},
	}
}

// useful is what asking in place does too, and does without where it may not.
var useful = []rbacv1.PolicyRule{
	{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}},
	{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, Verbs: []string{"list"}},
}

// InPlaceRole is the ClusterRole that has everything that asking in place reads, makes and removes, and nothing else.
func InPlaceRole() *rbacv1.ClusterRole {
	actions := Actions()
	out := role(append(verify.Resources(), verify.InPlaceResources()...), func(x verify.Resource) []string {
		verbs := verbsOf(x)
		i := slices.IndexFunc(actions, func(a Action) bool { return x.Group == "" && a.Resource == x.Name })
		if i < 0 {
			return verbs
		}
		verbs = append(slices.Clone(verbs), actions[i].Verbs...)
		actions = slices.Delete(actions, i, i+1)
		slices.Sort(verbs)
		return slices.Compact(verbs)
	})
	out.Name += "-in-place"
	for _, a := range actions {
		i := slices.IndexFunc(out.Rules, func(r rbacv1.PolicyRule) bool {
			return r.APIGroups[0] == "" && len(r.ResourceNames) == 0 && slices.Equal(r.Verbs, a.Verbs)
		})
		if i < 0 {
			i = len(out.Rules)
			out.Rules = append(out.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Verbs: a.Verbs})
		}
		out.Rules[i].Resources = append(out.Rules[i].Resources, a.Resource)
	}
	out.Rules = append(out.Rules, useful...)
	// Any ConfigMap may be read by then.
	out.Rules = slices.DeleteFunc(out.Rules, func(r rbacv1.PolicyRule) bool { return len(r.ResourceNames) > 0 })
	return out
}

// InPlaceRoleYAML is InPlaceRole as a file for kubectl.
func InPlaceRoleYAML() []byte { return roleYAML(InPlaceRole()) }

// undoable is what of Actions this user may not do, but for what is known to be missing.
func (r *reader) undoable(ctx context.Context, known []string) ([]string, error) {
	var missing []string
	for _, a := range Actions() {
		resource, sub, _ := strings.Cut(a.Resource, "/")
		for _, verb := range a.Verbs {
			ask := authv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: resource, Subresource: sub}
			may, err := kube.May(ctx, r.clients, ask)
			if err != nil {
				return nil, err
			}
			if what := kube.Permission(ask); !may && !slices.Contains(known, what) {
				missing = append(missing, fmt.Sprintf("%s (%s)", what, a.Why))
			}
		}
	}
	return missing, nil
}
