package harness

import (
	"context"
	"errors"
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
	if err := s.proxyOf(ctx, q.Probe.From, q); err != nil || !q.Captured {
		return err
	}
	var err error
	q.Gateways, _ = s.conn.hopsOf(ctx, []egress.ProbeResult{q.Result}) // the answer says of which one it is not known
	q.Objects, q.Policy, err = s.deciding(ctx)
	if config, err := mesh.PresentConfig(ctx, s.conn.cs); err == nil { // as for the policy
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
	if q.Labels, err = s.conn.labels(ctx, pod.Namespace, pod.PodName); err != nil {
		return err
	}
	q.Config, err = s.conn.configOf(ctx, pod.Namespace, pod.PodName)
	return err
}

// configOf is what a proxy has.
func (c *connection) configOf(ctx context.Context, namespace, pod string) (why.Config, error) {
	dump, err := c.pages.Page(ctx, namespace, pod, "/config_dump", "")
	if err != nil {
		return why.Config{}, err
	}
	return why.ParseConfig(dump)
}

// hopsOf is what the gateways have by which calls went, by the names that hops have. One that does not say it is missing, and the
// error says so.
func (c *connection) hopsOf(ctx context.Context, results []egress.ProbeResult) (map[string]why.Config, error) {
	return hopsConfigs(results, c.followed.All(), func(namespace, pod string) (why.Config, error) { return c.configOf(ctx, namespace, pod) })
}

// hopsConfigs is hopsOf, among these gateways.
func hopsConfigs(results []egress.ProbeResult, gateways []mesh.Gateway, read func(namespace, pod string) (why.Config, error)) (map[string]why.Config, error) {
	met := map[string]bool{}
	for _, r := range results {
		for _, h := range why.Hops(r) {
			met[h.Gateway] = true
		}
	}
	out := map[string]why.Config{}
	var errs []error
	for _, g := range gateways {
		if !met[g.Log] {
			continue
		}
		delete(met, g.Log)
		c, err := read(g.Namespace, g.Pod)
		if err != nil {
			errs = append(errs, fmt.Errorf("read what the proxy of gateway %s has, whose rules are not named without it: %w", g.Log, err))
			continue
		}
		out[g.Log] = c
	}
	for name := range met {
		errs = append(errs, fmt.Errorf("read what the proxy of gateway %s has, whose rules are not named without it: the gateway is not there any more", name))
	}
	return out, errors.Join(errs...)
}

// deciding are the objects of the cluster that decide about egress, and the mesh-wide policy.
func (s *Session) deciding(ctx context.Context) ([]why.Object, egress.Policy, error) {
	var policy egress.Policy
	if config, err := mesh.PresentConfig(ctx, s.conn.cs); err == nil { // on a cluster of somebody else it may be out of reach
		policy = outboundPolicy(config)
	}
	objects, err := searched{s.env.cluster.RESTConfig(), s.conn.cs}.egressObjects(ctx)
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
