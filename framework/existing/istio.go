package existing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/mesh"
)

// istiodMaps are the ConfigMaps that istiod puts into every namespace.
var istiodMaps = []string{"istio-ca-root-cert", "istio-ca-crl"}

// PrepareInstall makes Istio's namespace, which is a run's. It fails where that namespace is there already, where an
// Istio has left what a new istiod would overwrite, and for a user who is not the cluster's administrator.
func PrepareInstall(ctx context.Context, cs kubernetes.Interface, c *fixture.Client) error {
	admin, err := kube.May(ctx, cs, authv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"})
	if err != nil {
		return err
	}
	if !admin {
		return errors.New("installing Istio makes CRDs, cluster roles and webhooks, which takes an administrator of the cluster; this user is none")
	}
	there, err := istiodsMaps(ctx, cs)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s: an Istio that is gone has left them, and a new istiod would overwrite them: remove them, or install an Istio yourself", strings.Join(names(there), ", "))
	}
	_, err = c.Apply(ctx, "", &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": mesh.SystemNamespace}}})
	var foreign *fixture.ForeignError
	if errors.As(err, &foreign) {
		return fmt.Errorf("namespace %s is there already, without an istiod that runs: it is not ours to install into; mend that Istio or remove it: %w", mesh.SystemNamespace, err)
	}
	return err
}

// istiodsMaps finds what istiod has put into the namespaces of a cluster.
func istiodsMaps(ctx context.Context, cs kubernetes.Interface) ([]corev1.ConfigMap, error) {
	var out []corev1.ConfigMap
	for _, name := range istiodMaps {
		l, err := cs.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return nil, fmt.Errorf("look for the ConfigMaps of istiod: %w", err)
		}
		out = append(out, l.Items...)
	}
	return out, nil
}

func names(maps []corev1.ConfigMap) []string {
	out := make([]string, len(maps))
	for i, m := range maps {
		out[i] = "ConfigMap " + m.Namespace + "/" + m.Name
	}
	return out
}

// Uninstalled completes the removal of an Istio that a run had installed: it removes what that istiod has put into
// other namespaces. There was none of it before, see PrepareInstall; where there is an Istio again, it is that one's.
func Uninstalled(ctx context.Context, cs kubernetes.Interface) error {
	_, err := cs.CoreV1().Namespaces().Get(ctx, mesh.SystemNamespace, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for namespace %s: %w", mesh.SystemNamespace, err)
	}
	maps, err := istiodsMaps(ctx, cs)
	if err != nil {
		return err
	}
	var all error
	for _, m := range maps {
		uid := m.UID
		err := cs.CoreV1().ConfigMaps(m.Namespace).Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			all = errors.Join(all, fmt.Errorf("remove the ConfigMap %s from %s: %w", m.Name, m.Namespace, err))
		}
	}
	return all
}
