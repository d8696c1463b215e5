package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// asker asks what becomes of calls, and why, while whatever decides about them stays as it is.
type asker struct {
	*site
	engine  *engine.Engine
	clients clients
}

// Observe makes one probe from a client, with all witnesses.
func (s *Session) Observe(ctx context.Context, p egress.Probe) (egress.ProbeResult, error) {
	return s.asker.observe(ctx, p)
}

// Why makes one probe from a client and says which object let it out, or which one is missing. What this user may not
// read of the cluster is left out of the answer.
func (s *Session) Why(ctx context.Context, p egress.Probe) (why.Answer, egress.ProbeResult, error) {
	return s.asker.why(ctx, p)
}

// observe is Session.Observe.
func (s *asker) observe(ctx context.Context, p egress.Probe) (egress.ProbeResult, error) {
	if !slices.ContainsFunc(s.opts.Clients, func(c egress.Client) bool { return c.Name == p.From }) {
		names := make([]string, len(s.opts.Clients))
		for i, c := range s.opts.Clients {
			names[i] = c.Name
		}
		return egress.ProbeResult{}, fmt.Errorf("client %q is unknown; known: %s", p.From, strings.Join(names, ", "))
	}
	if err := s.starter.startClient(p.From).wait(ctx); err != nil {
		return egress.ProbeResult{}, s.because(ctx, err)
	}
	return s.engine.Observe(ctx, p), nil
}

// why is Session.Why.
func (s *asker) why(ctx context.Context, p egress.Probe) (why.Answer, egress.ProbeResult, error) {
	r, err := s.observe(ctx, p)
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
func (s *asker) surroundings(ctx context.Context, q *why.Question) error {
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

// proxyOf fills in what is known of a client and its sidecar.
func (s *asker) proxyOf(ctx context.Context, client string, q *why.Question) error {
	pod, err := s.clients.get(client)
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

// sidecarOf is proxyOf; a client whose calls go around its sidecar has one all the same.
func (s *asker) sidecarOf(ctx context.Context, client string, q *why.Question) error {
	err := s.proxyOf(ctx, client, q)
	if pod, bad := s.conn.pods.Get(client); err == nil && bad == nil && pod.Captured() && pod.Escapes {
		q.Captured = true
	}
	return err
}

// deciding are the objects of the cluster that decide about egress, and the mesh-wide policy.
func (s *asker) deciding(ctx context.Context) ([]why.Object, egress.Policy, error) {
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

// start starts who calls.
func (s *asker) start(ctx context.Context, st Standing, out *Examined) error {
	starting := map[string]*startup{}
	for _, n := range st.Clients {
		starting[n] = s.starter.startClient(n)
	}
	for n, u := range starting {
		if err := u.wait(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			out.Unstarted[n] = err
		}
	}
	if err := s.awaitCalled(ctx, st, out); err != nil {
		return err
	}
	s.times.mark("stand-ins ready")
	return nil
}

// deciding says which objects of a cluster decide about egress, and the mesh-wide policy.
type deciding func(context.Context) ([]why.Object, egress.Policy, error)

// ask makes all probes from all clients, and looks at their proxies while everything stands.
func (s *asker) ask(ctx context.Context, c egress.Case, st Standing, decide deciding, out *Examined) error {
	var probes []egress.Probe
	for _, x := range c.Probes {
		for _, p := range st.Probes {
			p.From = x.From
			probes = append(probes, p)
		}
	}
	judge := s.engine.Ask(ctx, probes)
	around := make([]why.Question, len(c.Probes))
	errs := make([]error, len(c.Probes))
	var objects []why.Object
	var policy egress.Policy
	var undecided error
	var wg sync.WaitGroup
	wg.Go(func() { objects, policy, undecided = decide(ctx) }) // while the witnesses are waited for
	for i, x := range c.Probes {
		wg.Go(func() { errs[i] = s.sidecarOf(ctx, x.From, &around[i]) })
	}
	results := judge()
	s.times.mark(fmt.Sprintf("%d questions asked", len(probes)))
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ask: %w", errors.Join(err, context.Cause(ctx)))
	}
	if undecided != nil {
		return undecided
	}
	gateways, err := s.conn.hopsOf(ctx, results)
	if err != nil {
		out.Notes = append(out.Notes, err.Error())
	}
	for i, x := range c.Probes {
		around[i].Objects, around[i].Policy, around[i].Gateways = objects, policy, gateways
		out.tell(x.From, Heard{Results: results[i*len(st.Probes) : (i+1)*len(st.Probes)], Around: around[i]}, errs[i])
	}
	return ctx.Err()
}
