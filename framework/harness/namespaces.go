package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/pods"
)

// namespaces makes those that objects of cases name and that are not there. The run removes them at its end with
// everything else that it has made.
type namespaces struct {
	fixtures *fixture.Client
	pods     *pods.Pods
	clients  []egress.Client
	// confined says that the cluster is somebody else's: a namespace is not made there because an object names it.
	confined bool
}

// ensure makes the namespaces of objects, but for those that the objects bring along.
func (n *namespaces) ensure(ctx context.Context, objs []*fixture.Object) error {
	if n == nil || n.confined {
		return nil
	}
	for _, name := range named(objs) {
		if err := n.one(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// named are the namespaces that objects name, without those that are among the objects.
func named(objs []*fixture.Object) []string {
	var out []string
	for _, o := range objs {
		brought := slices.ContainsFunc(objs, func(x *fixture.Object) bool { return x.GetKind() == "Namespace" && x.GetName() == o.GetNamespace() })
		if ns := o.GetNamespace(); ns != "" && !brought && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

func (n *namespaces) one(ctx context.Context, name string) error {
	ns := &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err := n.fixtures.Get(ctx, ns)
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for namespace %s, which an object of the case names: %w", name, err)
	}
	// A client may start there later, and its pod is injected by the namespace's label.
	if i := slices.IndexFunc(n.clients, func(c egress.Client) bool { return c.Namespace == name }); i >= 0 {
		err = n.pods.Namespace(ctx, n.clients[i])
	} else {
		_, err = n.fixtures.Apply(ctx, "", ns)
	}
	if err = ignoreForeign(err); err != nil {
		return fmt.Errorf("make namespace %s, which an object of the case names: %w", name, err)
	}
	return nil
}

// ignoreForeign drops the error that somebody else has made an object in the meantime.
func ignoreForeign(err error) error {
	var foreign *fixture.ForeignError
	if errors.As(err, &foreign) {
		return nil
	}
	return err
}
