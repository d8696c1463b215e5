package harness

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	if err := s.proxyOf(ctx, q.Probe.From, q); err != nil || !q.Captured {
		return err
	}
	var err error
	q.Objects, q.Policy, err = s.deciding(ctx)
	if config, err := mesh.PresentConfig(ctx, s.cs); err == nil { // as for the policy
		q.ExportTo = exportTo(config)
	}
	return err
}

// exportTo are the namespaces to which ServiceEntries are exported that do not say it; nil is all.
func exportTo(c mesh.Config) []string {
	var out []string
	list, _ := c["defaultServiceExportTo"].([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// proxyOf fills in what is known of a client and its sidecar.
func (s *Session) proxyOf(ctx context.Context, client string, q *why.Question) error {
	pod, err := s.lanes[0].rules.clients.get(client)
	if err != nil {
		return err
	}
	q.Namespace, q.Captured = pod.Namespace, pod.Captured() && !pod.Escapes
	if !q.Captured {
		return nil
	}
	if q.Labels, err = s.labels(ctx, pod.Namespace, pod.PodName); err != nil {
		return err
	}
	dump, err := s.pages.Page(ctx, pod.Namespace, pod.PodName, "/config_dump", "")
	if err != nil {
		return err
	}
	q.Config, err = why.ParseConfig(dump)
	return err
}

// labels are those of a pod, by which objects select it.
func (s *Session) labels(ctx context.Context, namespace, name string) (map[string]string, error) {
	p, err := s.cs.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the labels of pod %s/%s: %w", namespace, name, err)
	}
	return p.Labels, nil
}

// deciding are the objects of the cluster that decide about egress, and the mesh-wide policy.
func (s *Session) deciding(ctx context.Context) ([]why.Object, egress.Policy, error) {
	var policy egress.Policy
	if config, err := mesh.PresentConfig(ctx, s.cs); err == nil { // on a cluster of somebody else it may be out of reach
		policy = outboundPolicy(config)
	}
	objects, err := searched{s.env.cluster.RESTConfig(), s.cs}.egressObjects(ctx)
	if err != nil {
		return nil, policy, err
	}
	var out []why.Object
	for _, o := range objects {
		spec, _ := o.Object["spec"].(map[string]any)
		out = append(out, why.Object{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Spec: spec})
	}
	return out, policy, nil
}

// outboundPolicy is the mesh-wide one; Istio's default is ALLOW_ANY.
func outboundPolicy(c mesh.Config) egress.Policy {
	p, _ := c["outboundTrafficPolicy"].(map[string]any)
	if mode, ok := p["mode"].(string); ok {
		return egress.Policy(mode)
	}
	return egress.AllowAny
}
