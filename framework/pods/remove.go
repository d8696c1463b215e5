package pods

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/fixture"
)

// Remove deletes the namespaces that this run made, and what it made in others, and waits until all of it
// is gone.
func (p *Pods) Remove(ctx context.Context) error {
	p.Close()
	all := p.fixtures.Remove(ctx, p.lodgers...)
	_, err := p.removeNamespaces(ctx, fixture.RunLabel+"="+p.run)
	return errors.Join(all, err)
}

// Sweep deletes whatever runs have left in the cluster, and says what it was. No other run may be under way.
func (p *Pods) Sweep(ctx context.Context) ([]string, error) {
	swept, err := p.removeNamespaces(ctx, fixture.RunLabel)
	if err != nil {
		return swept, err
	}
	left, err := p.fixtures.Labelled(ctx, fixture.RunLabel)
	if err != nil {
		return swept, err
	}
	for _, o := range left {
		swept = append(swept, fixture.Describe(o))
	}
	return swept, p.fixtures.Remove(ctx, left...)
}

func (p *Pods) removeNamespaces(ctx context.Context, selector string) (names []string, err error) {
	l, err := p.cs.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("find the namespaces of runs: %w", err)
	}
	var objs []*fixture.Object
	var all error
	for _, n := range l.Items {
		o := &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": n.Name}}}
		objs, names = append(objs, o), append(names, fixture.Describe(o))
		if n.Status.Phase != corev1.NamespaceTerminating {
			all = errors.Join(all, p.empty(ctx, n.Name))
		}
	}
	return names, errors.Join(all, p.fixtures.Remove(ctx, objs...))
}

// empty ends a namespace's pods at once. Left to the namespace controller alone, which looks again
// only after seconds, it takes ten times as long.
func (p *Pods) empty(ctx context.Context, namespace string) error {
	now, background := int64(0), metav1.DeletePropagationBackground
	if err := p.cs.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete namespace %s: %w", namespace, err)
	}
	err := p.cs.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &background}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("end the pods of namespace %s: %w", namespace, err)
	}
	return nil
}
