package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// unservedError says why nobody in the cluster looks after an object.
type unservedError struct{ why string }

func (e *unservedError) Error() string { return e.why }

func unserved(format string, a ...any) error { return &unservedError{fmt.Sprintf(format, a...)} }

func isUnserved(err error) bool {
	var e *unservedError
	return errors.As(err, &e)
}

// served refuses what of the Gateway API nobody in the cluster looks after, and returns the others: Gateways of a class that is not
// there, such as another product's, and routes of Gateways that are not. Istio never says of them that it has seen them.
func (r *rules) served(ctx context.Context, g given, objs []*fixture.Object) ([]*fixture.Object, error) {
	gateways := map[string]bool{}
	for _, x := range g.have.objects {
		for _, o := range x.made {
			if x.refused == nil && ofGatewayAPI(o, "Gateway") {
				gateways[o.GetNamespace()+"/"+o.GetName()] = true
			}
		}
	}
	var out []*fixture.Object
	for _, o := range objs {
		if ofGatewayAPI(o, "Gateway") {
			why, err := r.unclassed(ctx, o)
			if err != nil {
				return nil, err
			}
			if gateways[o.GetNamespace()+"/"+o.GetName()] = why == nil; why != nil {
				g.refuse(o, why)
				continue
			}
		}
		out = append(out, o)
	}
	return slices.DeleteFunc(out, func(o *fixture.Object) bool {
		missing := unparented(o, gateways)
		return missing != "" && g.refuse(o, unserved("it is a route of Gateway %s, which is not there: add that, or leave the route out", missing))
	}), nil
}

func ofGatewayAPI(o *fixture.Object, kindEnds string) bool {
	return o.GroupVersionKind().Group == mesh.GatewayAPIGroup && strings.HasSuffix(o.GetKind(), kindEnds)
}

// unclassed says why nobody looks after a Gateway; nil where Istio does.
func (r *rules) unclassed(ctx context.Context, o *fixture.Object) (why, err error) {
	spec, _ := o.Object["spec"].(map[string]any)
	name, _ := spec["gatewayClassName"].(string)
	class, err := r.fixtures.Get(ctx, &fixture.Object{Object: map[string]any{"apiVersion": mesh.GatewayAPIGroup + "/v1", "kind": "GatewayClass", "metadata": map[string]any{"name": name}}})
	switch {
	case apierrors.IsNotFound(err), fixture.NotTaken(err) && !fixture.Unknown(err):
		return unserved("its class %q is not there, and the dry mesh has those of Istio alone", name), nil
	case err != nil:
		return nil, fmt.Errorf("find the class of %s: %w", fixture.Describe(o), err)
	}
	s, _ := class.Object["spec"].(map[string]any)
	if by, _ := s["controllerName"].(string); !strings.HasPrefix(by, "istio.io/") {
		return unserved("its class %q is that of %s, and not of Istio", name, by), nil
	}
	return nil, nil
}

// unparented is the first Gateway that a route names and that is not among these; "" where there is none. Parents of other kinds,
// Services and ServiceEntries, are Istio's matter.
func unparented(o *fixture.Object, gateways map[string]bool) string {
	if !ofGatewayAPI(o, "Route") {
		return ""
	}
	spec, _ := o.Object["spec"].(map[string]any)
	parents, _ := spec["parentRefs"].([]any)
	for _, p := range parents {
		m, _ := p.(map[string]any)
		at := func(field, otherwise string) string {
			if s, ok := m[field].(string); ok {
				return s
			}
			return otherwise
		}
		name := at("namespace", o.GetNamespace()) + "/" + at("name", "")
		if at("group", mesh.GatewayAPIGroup) == mesh.GatewayAPIGroup && at("kind", "Gateway") == "Gateway" && !gateways[name] {
			return name
		}
	}
	return ""
}
