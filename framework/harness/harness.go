// Package harness puts the parts together: a cluster, an Istio in it, client pods and the engine. A
// Session is what both the suites and egressctl run cases in, so both run the same thing.
package harness

import (
	"context"
	"errors"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// Session is a cluster with Istio in which cases can run.
type Session struct {
	*site
	hold    hold
	istiods *istiods // nil until the session is joined
	cases   *runner  // nil until there are lanes, and where nothing but questions are asked
	// asker asks in a lane, of a session that is open. examiner tries objects in a cluster of the harness's own; it is nil elsewhere.
	asker    *asker
	examiner *examiner
}

// Cluster is the cluster that the session runs in.
func (s *Session) Cluster() cluster.Cluster { return s.env.cluster }

// EmbeddedFeatures are those of an embedded cluster with locally built parts.
var EmbeddedFeatures = []egress.Feature{egress.Hermetic, egress.MeshConfig, egress.IngressGateway, egress.EgressGateway, egress.Credential, egress.TPROXY, egress.GatewayAPI, egress.NFTables, egress.NetworkPolicy, egress.IPv6}

// Ready waits for the base clients and both gateways.
func (s *Session) Ready(ctx context.Context) error {
	for _, n := range append([]string{gatewaysStartup}, baseClients...) {
		if err := s.starter.lookup(n).wait(ctx); err != nil {
			return err
		}
	}
	s.times.mark("everything ready")
	return nil
}

// Timings are the moments, in seconds since the session's start, at which its steps were complete.
func (s *Session) Timings() map[string]float64 { return s.times.all() }

// Keep lets an owned cluster live on.
func (s *Session) Keep() error {
	s.hold.temporary = false
	return cluster.Detach(s.env.cluster)
}

// Close removes what the session made: the whole cluster if it brought it up, else its own
// namespaces and rules. It works on a session that is only half open.
func (s *Session) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Limits.Cluster.Close)
	defer cancel()
	var all error
	all = errors.Join(all, s.starter.close(ctx))
	dead := s.env.dead()
	if !dead && !s.hold.temporary && s.hold.run != "" && s.istiods != nil {
		if s.cases != nil {
			all = errors.Join(all, s.cases.removeAll(ctx))
		}
		all = errors.Join(all, s.opts.Sabotage.mend(ctx, s.istiods.target()))
		if s.env.ours && !s.opts.Watch {
			all = errors.Join(all, mesh.RestoreConfig(ctx, s.conn.cs), pods.Return(ctx, s.conn.cs))
		}
	}
	if s.examiner != nil && s.examiner.guests && !dead && !s.hold.temporary {
		all = errors.Join(all, sendGuestsAway(ctx, s.env.cluster))
	}
	if s.istiods != nil {
		s.istiods.close()
	}
	if s.conn != nil {
		s.conn.close()
	}
	all = errors.Join(all, s.hold.remove(ctx, s.conn, dead))
	if s.istiods != nil && !dead && !s.hold.temporary && all == nil {
		all = s.istiods.revisions.forget(ctx)
	}
	all = errors.Join(all, s.env.close(ctx))
	if s.hold.lock != nil {
		all = errors.Join(all, s.hold.lock.end(dead || all == nil))
	}
	return all
}
