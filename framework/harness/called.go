package harness

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// awaitCalled waits until the kubelet calls those stand-ins ready to which rules lead: they are no endpoints before, and a call would
// fail otherwise then. For all others that would be a second for nothing.
func (s *asker) awaitCalled(ctx context.Context, st Standing, out *Examined) error {
	for _, c := range s.opts.Clients {
		if !slices.Contains(st.Clients, c.Name) || out.Unstarted[c.Name] != nil || !called(st.Objects, c) {
			continue
		}
		if err := s.conn.pods.AwaitReady(ctx, c.Name); err != nil {
			if ctx.Err() != nil {
				return err
			}
			out.Unstarted[c.Name] = err
		}
	}
	return nil
}

// called says whether some of the objects may lead calls to a stand-in: a Service that a rule names, or an entry of pods.
func called(objects []egress.Object, c egress.Client) bool {
	if c.StandIn == nil || c.StandIn.InPlace { // which never becomes ready
		return false
	}
	return slices.ContainsFunc(objects, func(o egress.Object) bool {
		x := fixture.Object{Object: o}
		if x.GetNamespace() != c.Namespace {
			return false
		}
		switch x.GetKind() {
		case "Service":
			return selects(o, c, "spec", "selector") && slices.ContainsFunc(objects, func(rule egress.Object) bool {
				return (&fixture.Object{Object: rule}).GetKind() != "Service" && mentions(rule["spec"], x.GetName())
			})
		case "ServiceEntry":
			return selects(o, c, "spec", "workloadSelector", "labels")
		}
		return false
	})
}

// selects says whether the labels at a place in an object select a stand-in.
func selects(o egress.Object, c egress.Client, path ...string) bool {
	selector, _, err := unstructured.NestedStringMap(o, path...)
	return err == nil && len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(c.StandIn.Labels))
}

// mentions says whether a value has a text that may be the name of a Service, short or whole.
func mentions(v any, service string) bool {
	switch v := v.(type) {
	case string:
		return v == service || strings.HasPrefix(v, service+".")
	case map[string]any:
		for _, x := range v {
			if mentions(x, service) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return mentions(x, service) })
	}
	return false
}
