package harness

import (
	"mesh-egress-conformance/framework/report"
)

// Environment describes the session for its report.
func (s *Session) Environment() report.Environment { return s.describe() }

// describe describes for a report what cases run in.
func (s *site) describe() report.Environment {
	f := s.env.facts
	t := s.times.all()
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
