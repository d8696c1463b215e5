package harness

import (
	"context"
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// Why makes one probe from a client and says which object let it out, or which one is missing. What this user may not
// read of the cluster is left out of the answer.
func (s *Session) Why(ctx context.Context, p egress.Probe) (why.Answer, egress.ProbeResult, error) {
	r, err := s.Observe(ctx, p)
	if err != nil {
		return why.Answer{}, r, err
	}
	q := why.Question{Probe: p, Result: r}
	if err := s.surroundings(ctx, &q); err != nil {
		return why.Answer{}, r, fmt.Errorf("find out why: %w", s.because(ctx, err))
	}
	return why.Explain(q), r, nil
}

// surroundings fills in what is known around a client's call.
func (s *Session) surroundings(ctx context.Context, q *why.Question) error {
	cl := s.lanes[0].rules.clients
	pod, err := cl.get(q.Probe.From)
	if err != nil {
		return err
	}
	q.Namespace, q.Captured = pod.Namespace, pod.Captured() && !pod.Escapes
	if !q.Captured {
		return nil
	}
	dump, err := s.pages.Page(ctx, pod.Namespace, pod.PodName, "/config_dump", "")
	if err != nil {
		return err
	}
	if q.Config, err = why.ParseConfig(dump); err != nil {
		return err
	}
	if config, err := mesh.PresentConfig(ctx, s.cs); err == nil { // on a cluster of somebody else it may be out of reach
		q.Policy = outboundPolicy(config)
	}
	objects, err := searched{s.env.cluster.RESTConfig(), s.cs}.egressObjects(ctx)
	if err != nil {
		return err
	}
	for _, o := range objects {
		spec, _ := o.Object["spec"].(map[string]any)
		q.Objects = append(q.Objects, why.Object{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Spec: spec})
	}
	return nil
}

// outboundPolicy is the mesh-wide one; Istio's default is ALLOW_ANY.
func outboundPolicy(c mesh.Config) egress.Policy {
	p, _ := c["outboundTrafficPolicy"].(map[string]any)
	if mode, ok := p["mode"].(string); ok {
		return egress.Policy(mode)
	}
	return egress.AllowAny
}
