package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// Runs lists the runs that have left namespaces in a cluster. What `egressctl up` made for a cluster of
// its own is not a run.
func Runs(ctx context.Context, cs kubernetes.Interface) (map[string][]string, error) {
	l, err := cs.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: fixture.RunLabel})
	if err != nil {
		return nil, fmt.Errorf("look for namespaces of runs: %w", err)
	}
	out := map[string][]string{}
	for _, n := range l.Items {
		if r := n.Labels[fixture.RunLabel]; strings.HasPrefix(r, "run-") {
			out[r] = append(out[r], n.Name)
		}
	}
	return out, nil
}

// Clean removes the namespaces of one run, or of all, and the Istio that it has installed. It says which
// namespaces they were.
func Clean(ctx context.Context, cs kubernetes.Interface, dyn dynamic.Interface, run string) ([]string, error) {
	runs, err := Runs(ctx, cs)
	if err != nil {
		return nil, err
	}
	with, err := installers(ctx, dyn)
	if err != nil {
		return nil, err
	}
	for _, r := range with {
		if slices.Contains(runs[r], mesh.SystemNamespace) {
			continue
		}
		runs[r] = append(runs[r], mesh.SystemNamespace) // the rest of an Istio whose namespace is gone already
	}
	var removed []string
	var all error
	for r, namespaces := range runs {
		if run != "" && r != run {
			continue
		}
		if slices.Contains(namespaces, mesh.SystemNamespace) {
			all = errors.Join(all, Uninstall(ctx, cs, dyn, r))
			removed = append(removed, mesh.SystemNamespace)
		}
		for _, n := range namespaces {
			if n == mesh.SystemNamespace {
				continue
			}
			if err := cs.CoreV1().Namespaces().Delete(ctx, n, metav1.DeleteOptions{}); err != nil {
				all = errors.Join(all, fmt.Errorf("remove namespace %s of %s: %w", n, r, err))
				continue
			}
			removed = append(removed, n)
		}
	}
	if run != "" && runs[run] == nil {
		all = errors.Join(all, fmt.Errorf("the cluster has nothing of run %q", run))
	}
	slices.Sort(removed)
	return removed, all
}
