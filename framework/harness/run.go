package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// Environment describes the session for its report.
func (s *Session) Environment() report.Environment {
	f := s.env.facts
	t := s.Timings()
	for k, v := range f.Timings {
		t["cluster: "+k] = v
	}
	var parts []report.Component
	for _, c := range f.Components {
		parts = append(parts, report.Component(c))
	}
	return report.Environment{
		Provider: f.Provider, Cluster: s.env.cluster.Name(), Kubernetes: f.Kubernetes, Istio: f.Istio, Envoy: f.Envoy,
		Source: f.Source, Internet: s.env.reach.summary(), Sabotage: string(s.opts.Sabotage), Deviations: s.env.deviations(), Foreign: s.env.foreign.names(), Timings: t, Components: parts,
		Clients: s.versions.clients(),
	}
}

// Observe makes one probe from a client, with all witnesses.
func (s *Session) Observe(ctx context.Context, p egress.Probe) (egress.ProbeResult, error) {
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
	return s.lanes[0].engine.Observe(ctx, p), nil
}
