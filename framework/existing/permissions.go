// Package existing is what it takes to run cases on a cluster that belongs to somebody else: the check of
// permissions, an internet made of pods, what a case must not do there, and the clean-up.
//
// A run keeps to namespaces of its own, all of which carry the run's label, and changes nothing that
// other workloads can see.
package existing

import (
	"context"
	"fmt"
	"strings"

	authv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/mesh"
)

// permission is something that a run does.
type permission struct {
	verbs     []string
	group     string
	resource  string // with its subresource
	namespace string // "" for those that the run makes, or for the whole cluster
	why       string
}

// permissions of a run. In namespaces that do not exist yet they can only be asked for cluster-wide or,
// where a role is bound on creation, not at all; then the first use says what is missing.
var permissions = []permission{
	{[]string{"get", "create", "patch", "delete"}, "", "namespaces", "", "each run has namespaces of its own"},
	{[]string{"list", "watch", "create", "deletecollection"}, "", "pods", "", "client pods and the pods of the hermetic internet"},
	{[]string{"create", "get"}, "", "pods/exec", "", "the probe agent runs in client pods"},
	{[]string{"create", "get"}, "", "pods/portforward", "", "the arrival log is read through a port-forward"},
	{[]string{"get"}, "", "pods/log", "", "the sidecars' access logs are a witness"},
	{[]string{"create"}, "apps", "deployments", "", "client pods"},
	{[]string{"create"}, "", "serviceaccounts", "", "client pods"},
	{[]string{"create"}, "", "services", "", "client pods"},
	{[]string{"get", "create", "patch"}, "", "configmaps", "", "the run's certificate authority"},
	{[]string{"get", "create", "patch", "delete"}, "networking.istio.io", "serviceentries", "", "the cases"},
	{[]string{"get", "create", "patch", "delete"}, "networking.istio.io", "destinationrules", "", "the cases"},
	{[]string{"get", "create", "patch", "delete"}, "networking.istio.io", "virtualservices", "", "the cases"},
	{[]string{"get", "create", "patch", "delete"}, "networking.istio.io", "sidecars", "", "the cases"},
	{[]string{"get", "create", "patch", "delete"}, "security.istio.io", "authorizationpolicies", "", "the cases"},
	{[]string{"list"}, "", "pods", mesh.SystemNamespace, "istiod is found by its label"},
	{[]string{"create", "get"}, "", "pods/portforward", mesh.SystemNamespace, "istiod is asked which pushes the proxies have acknowledged"},
	{[]string{"get"}, "", "configmaps", mesh.SystemNamespace, "the mesh configuration says what the outbound policy is"},
}

// useful are permissions without which a run works too, but tells less or tidies up less.
var useful = []permission{
	{[]string{"list"}, "", "namespaces", "", "egressctl clean finds what another machine's runs have left"},
	{[]string{"list"}, "", "events", "", "they say why a pod does not start"},
	{[]string{"list"}, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "a missing injection webhook is said before the first pod starts"},
	{[]string{"get", "create", "patch"}, "telemetry.istio.io", "telemetries", "", "needed where sidecars write no access log"},
}

// Preflight asks the API server whether this user may do what a run does. The error names everything
// that is missing.
func Preflight(ctx context.Context, cs kubernetes.Interface) error {
	var missing []string
	for _, p := range permissions {
		res, sub, _ := strings.Cut(p.resource, "/")
		for _, verb := range p.verbs {
			what := authv1.ResourceAttributes{Verb: verb, Group: p.group, Resource: res, Subresource: sub, Namespace: p.namespace}
			may, err := kube.May(ctx, cs, what)
			if err != nil {
				return err
			}
			if !may {
				missing = append(missing, fmt.Sprintf("%s (%s)", kube.Permission(what), p.why))
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this user lacks permissions that a run needs:\n  %s\n(give them with a ClusterRole, docs/existing.md has one)", strings.Join(missing, "\n  "))
	}
	return nil
}
