package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// clusterWide are the kinds of objects without namespace that Istio's charts make, in the order in which they
// are removed: what would call an istiod that is gone comes first.
var clusterWide = []schema.GroupVersionResource{
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
}

// istiodMaps are the ConfigMaps that istiod puts into every namespace.
var istiodMaps = []string{"istio-ca-root-cert", "istio-ca-crl"}

// PrepareInstall makes Istio's namespace, which carries the run's label. It fails where that namespace is
// there already, and for a user who is not the cluster's administrator.
func PrepareInstall(ctx context.Context, cs kubernetes.Interface, run string) error {
	admin, err := allowed(ctx, cs, authv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"})
	if err != nil {
		return err
	}
	if !admin {
		return errors.New("installing Istio makes CRDs, cluster roles and webhooks, which takes an administrator of the cluster; this user is none")
	}
	_, err = cs.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: mesh.SystemNamespace, Labels: map[string]string{fixture.RunLabel: run}}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s is there already, without an istiod that runs: it is not ours to install into; mend that Istio or remove it", mesh.SystemNamespace)
	}
	if err != nil {
		return fmt.Errorf("make namespace %s: %w", mesh.SystemNamespace, err)
	}
	return nil
}

// installers names the runs of whose Istio something is in the cluster without belonging to a namespace.
func installers(ctx context.Context, dyn dynamic.Interface) ([]string, error) {
	var out []string
	for _, k := range clusterWide {
		l, err := dyn.Resource(k).List(ctx, metav1.ListOptions{LabelSelector: fixture.RunLabel})
		if apierrors.IsForbidden(err) {
			continue // whoever may not list them has not made them
		}
		if err != nil {
			return nil, fmt.Errorf("look for the %s of an Istio that a run has installed: %w", k.Resource, err)
		}
		for i := range l.Items {
			if r := l.Items[i].GetLabels()[fixture.RunLabel]; !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// Uninstall removes the Istio that a run has installed: what carries the run's label, and what istiod has put
// into other namespaces.
func Uninstall(ctx context.Context, cs kubernetes.Interface, dyn dynamic.Interface, run string) error {
	selector := metav1.ListOptions{LabelSelector: fixture.RunLabel + "=" + run}
	var all error
	for _, k := range clusterWide {
		if err := dyn.Resource(k).DeleteCollection(ctx, metav1.DeleteOptions{}, selector); err != nil {
			all = errors.Join(all, fmt.Errorf("remove the %s of Istio: %w", k.Resource, err))
		}
	}
	if ns, err := cs.CoreV1().Namespaces().Get(ctx, mesh.SystemNamespace, metav1.GetOptions{}); err == nil && ns.Labels[fixture.RunLabel] == run {
		all = errors.Join(all, removeNamespace(ctx, cs, mesh.SystemNamespace))
	}
	for _, name := range istiodMaps {
		maps, err := cs.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			all = errors.Join(all, fmt.Errorf("look for the ConfigMaps of istiod: %w", err))
			continue
		}
		for _, m := range maps.Items {
			if err := cs.CoreV1().ConfigMaps(m.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				all = errors.Join(all, fmt.Errorf("remove the ConfigMap %s from %s: %w", name, m.Namespace, err))
			}
		}
	}
	return all
}

// removeNamespace waits until a namespace is gone: istiod lives as long as it does, and writes.
func removeNamespace(ctx context.Context, cs kubernetes.Interface, name string) error {
	err := cs.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	ctx, cancel := context.WithTimeout(ctx, egress.Patience(60*time.Second))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for err == nil {
		if _, err = cs.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err != nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until namespace %s is gone: %w", name, ctx.Err())
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove namespace %s: %w", name, err)
}
