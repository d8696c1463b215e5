package pods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// A namespace that every cluster has, such as default, is nobody's to make; a workload's namespace may be that all the same, and
// its labels decide whether stand-ins there have a sidecar. They are laid over those that it has, which an annotation keeps until
// Return.

// borrowed is the annotation of such a namespace, with the labels that it had.
const borrowed = "mesh-egress-conformance/labels-before"

// systemNamespace is Istio's own: others go by its labels.
const systemNamespace = "istio-system"

// nameLabel is the one that the API server gives every namespace.
const nameLabel = corev1.LabelMetadataName

// borrow lays the labels of a stand-in's namespace over one that is there.
func (p *Pods) borrow(ctx context.Context, c egress.Client, have *fixture.Object) error {
	want := c.StandIn.NamespaceLabels
	labelled := func() bool {
		for k, v := range want {
			if k != nameLabel && have.GetLabels()[k] != v {
				return false
			}
		}
		return true
	}
	switch {
	case c.Namespace == systemNamespace && !injected(want): // without a sidecar, as it is
		return nil
	case c.Namespace == systemNamespace, p.ours(have) && !labelled():
		return fmt.Errorf("label namespace %s as its workloads have it (%v): it is the cluster's own, and its labels stay as they are: give the workloads another namespace", c.Namespace, want)
	case p.ours(have):
		return nil
	}
	err := relabel(ctx, p.cs, c.Namespace, func(ns *corev1.Namespace) error {
		before, err := labelsBefore(ns)
		if err != nil {
			return err
		}
		if before == nil {
			text, err := json.Marshal(theirs(ns.Labels))
			if err != nil {
				return err
			}
			metav1.SetMetaDataAnnotation(&ns.ObjectMeta, borrowed, string(text))
			before = ns.Labels
		}
		name := ns.Labels[nameLabel]
		ns.Labels = maps.Clone(before)
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		maps.Copy(ns.Labels, want)
		ns.Labels[nameLabel] = name
		return nil
	})
	if err != nil {
		return fmt.Errorf("label namespace %s as its workloads have it: %w", c.Namespace, err)
	}
	return nil
}

// injected says whether pods of a namespace with these labels get a sidecar.
func injected(labels map[string]string) bool {
	return labels["istio-injection"] == "enabled" || labels["istio-injection"] == "" && labels[egress.RevisionLabel] != ""
}

// theirs are the labels of a namespace, without the one that comes back by itself.
func theirs(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, nameLabel)
	return out
}

// labelsBefore are those of a namespace before it was borrowed; nil where it was not.
func labelsBefore(ns *corev1.Namespace) (map[string]string, error) {
	text, was := ns.Annotations[borrowed]
	if !was {
		return nil, nil
	}
	out := map[string]string{}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("read its annotation %s: %w", borrowed, err)
	}
	return out, nil
}

// relabel changes a namespace, again where somebody else has just changed it.
func relabel(ctx context.Context, cs kubernetes.Interface, name string, change func(*corev1.Namespace) error) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		ns, err := cs.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = change(ns)
		}
		if err == nil {
			_, err = cs.CoreV1().Namespaces().Update(ctx, ns, metav1.UpdateOptions{})
		}
		return err
	})
}

// Return gives namespaces that were there already the labels back that they had before stand-ins ran in them, whichever run that
// was. No other run may be at work in the cluster.
func Return(ctx context.Context, cs kubernetes.Interface) error {
	all, err := cs.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("look for namespaces whose labels were changed: %w", err)
	}
	var errs error
	for _, x := range all.Items {
		if _, was := x.Annotations[borrowed]; !was {
			continue
		}
		err := relabel(ctx, cs, x.Name, func(ns *corev1.Namespace) error {
			before, err := labelsBefore(ns)
			if err != nil || before == nil {
				return err
			}
			name, named := ns.Labels[nameLabel]
			if ns.Labels = before; named {
				ns.Labels[nameLabel] = name
			}
			delete(ns.Annotations, borrowed)
			return nil
		})
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("give namespace %s its labels back: %w", x.Name, err))
		}
	}
	return errs
}
