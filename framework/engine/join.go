package engine

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Witnesses are joined by connection. Both ends of it must agree, and its time: a port is used again, by the kernel
// within seconds for another destination, by the harness after portCycle. No clock is needed for the time of what the
// harness has begun itself: a line that had been read before the case began, or an arrival from before the phase, is
// not of this connection.

// EgressGateway is the name under which Mesh.Lines knows the egress gateway.
const EgressGateway = "istio-egressgateway"

// IngressGateway is the name under which Mesh.Lines knows the ingress gateway.
const IngressGateway = "istio-ingressgateway"

// mark notes how far the logs of all proxies that the case may concern have been read.
func (r *run) mark() {
	for _, name := range append(r.c.Clients(), EgressGateway, IngressGateway) {
		r.marks[name] = r.e.Mesh.Mark(name)
	}
}

// proxied returns the lines of a client's proxy, or of a gateway, that match and are not from before the case.
func (r *run) proxied(ctx context.Context, name string, match func(egress.AccessLog) bool) ([]egress.AccessLog, error) {
	return r.e.Mesh.Lines(ctx, name, r.marks[name], match)
}

// from are the arrivals from the beginning of a phase on. They have no end there: the destination may note a
// connection that nobody waits for any more.
func (r *run) from(ph egress.Phase, log []egress.Arrival) []egress.Arrival {
	i := slices.IndexFunc(log, func(a egress.Arrival) bool { return a.Seq >= r.starts[ph] })
	if i < 0 {
		return nil
	}
	return log[i:]
}

// lines finds the sidecar's lines of one round: by the client's own connection, or, when the egress
// belongs to another client that was only called, by the request id that the ingress gateway gave.
func (r *run) lines(ctx context.Context, p egress.Probe, x round, carrier ClientInfo) ([]egress.AccessLog, error) {
	if p.Through == "" {
		info, err := r.e.Clients.Describe(p.From)
		if err != nil {
			return nil, err
		}
		return r.proxied(ctx, p.From, func(l egress.AccessLog) bool {
			if p.Protocol().Keeps && l.RequestID != x.script.ID { // other requests used the connection too
				return false
			}
			return fromRound(l.DownstreamRemote, l.DownstreamLocal, x, info.IP)
		})
	}
	// The other end is the gateway's pod, and not the Service's address that the client called.
	front, err := r.proxied(ctx, IngressGateway, func(l egress.AccessLog) bool { return l.DownstreamRemote == x.client.Local })
	if err != nil {
		return nil, err
	}
	if len(front) != 1 || front[0].RequestID == "" {
		return nil, fmt.Errorf("%w: the ingress gateway has %d lines for connection %s, expected one with a request id", egress.ErrDisagree, len(front), x.client.Local)
	}
	return r.proxied(ctx, p.Through, func(l egress.AccessLog) bool {
		host, _, _ := net.SplitHostPort(l.DownstreamRemote)
		return l.RequestID == front[0].RequestID && host == carrier.IP && !strings.HasPrefix(l.UpstreamCluster, "inbound|")
	})
}

// hop finds the egress gateway's line of what a sidecar has sent there.
func (r *run) hop(ctx context.Context, l egress.AccessLog) ([]egress.AccessLog, error) {
	found, err := r.proxied(ctx, EgressGateway, func(g egress.AccessLog) bool { return passedOn(l, g) })
	if len(found) > 1 { // one connection carried several requests; they were made one after another
		slices.SortFunc(found, func(a, b egress.AccessLog) int { return strings.Compare(a.StartTime, b.StartTime) })
		found = found[:1]
	}
	return found, err
}

// passedOn says whether a gateway's line is of what a sidecar's line says that it has sent there: both ends of the
// connection are the same, and the gateway had it while the sidecar did. A gateway gives requests new ids; those of
// one connection are told apart by path and time.
func passedOn(l, g egress.AccessLog) bool {
	return g.DownstreamRemote == l.UpstreamLocal && g.DownstreamLocal == l.UpstreamHost && g.Path == l.Path && l.Held(g.Start())
}

// fromRound says whether a connection, given by both its ends, is the client's in a round.
func fromRound(peer, local string, x round, ip string) bool {
	if !x.client.Shell {
		return peer != "" && peer == x.client.Local && (x.client.Remote == "" || local == x.client.Remote)
	}
	host, port, err := net.SplitHostPort(peer)
	n, err2 := strconv.Atoi(port)
	return err == nil && err2 == nil && host == ip && n >= x.script.Ports[0] && n <= x.script.Ports[1]
}

// foundLocal is the client's address as the other witnesses name it, for commands that cannot say it
// themselves.
func foundLocal(o egress.Observation, x round, ip string, log []egress.Arrival) string {
	for _, l := range o.Mesh {
		if fromRound(l.DownstreamRemote, l.DownstreamLocal, x, ip) {
			return l.DownstreamRemote
		}
	}
	for _, a := range log {
		if fromRound(a.Peer, a.Local, x, ip) {
			return a.Peer
		}
	}
	return ""
}

// arrivalsOf picks the arrivals of one observation and marks them as explained.
func arrivalsOf(o egress.Observation, log []egress.Arrival, joined map[int64]bool) []egress.Arrival {
	var out []egress.Arrival
	for _, a := range log {
		if o.Explains(a) {
			out = append(out, a)
			joined[a.Seq] = true
		}
	}
	return out
}
