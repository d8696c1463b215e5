package engine

import (
	"context"
	"errors"
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

// mark notes how far the logs of all proxies that the case may concern have been read. A gateway that is not there yet
// has no lines from before the case.
func (r *run) mark(ctx context.Context) error {
	gateways, err := r.e.Mesh.Gateways(ctx)
	if err != nil {
		return fmt.Errorf("find the gateways of the mesh: %w", err)
	}
	names := r.c.Clients()
	for _, g := range gateways {
		names = append(names, g.Name)
	}
	for _, name := range names {
		r.marks[name] = r.e.Mesh.Mark(name)
	}
	return nil
}

// proxied returns the lines of a client's proxy, or of a gateway, that are asked for and not from before the case.
func (r *run) proxied(ctx context.Context, name string, q egress.Lines) ([]egress.AccessLog, error) {
	return r.e.Mesh.Lines(ctx, name, r.marks[name], q)
}

// lines finds the sidecar's lines of one round: by the client's own connection, or, when the egress
// belongs to another client that was only called, by the request id that the ingress gateway gave.
func (r *run) lines(ctx context.Context, p egress.Probe, ph egress.Phase, x round, carrier ClientInfo) ([]egress.AccessLog, error) {
	through := p.Through[ph]
	if through == "" {
		info, err := r.e.Clients.Describe(p.From)
		if err != nil {
			return nil, err
		}
		if x.command == nil && x.client.Local == "" { // it had no connection
			return nil, nil
		}
		keeps := p.Protocol().Keeps
		return r.proxied(ctx, p.From, egress.Lines{From: x.client.Local, Match: func(l egress.AccessLog) bool {
			if keeps && l.RequestID != x.script.ID { // other requests used the connection too
				return false
			}
			return fromRound(l.DownstreamRemote, l.DownstreamLocal, x, info) || x.command.mayHave(l.DownstreamRemote, info) && x.command.during(l.Start())
		}})
	}
	// The other end is the gateway's pod, and not the Service's address that the client called.
	front, err := r.front(ctx, x.client.Local)
	if err != nil {
		return nil, err
	}
	if len(front) != 1 || front[0].RequestID == "" {
		return nil, fmt.Errorf("%w: the gateways have %d lines for connection %s, expected one with a request id", egress.ErrDisagree, len(front), x.client.Local)
	}
	return r.proxied(ctx, through, egress.Lines{Match: func(l egress.AccessLog) bool {
		host, _, _ := net.SplitHostPort(l.DownstreamRemote)
		return l.RequestID == front[0].RequestID && carrier.owns(host) && !strings.HasPrefix(l.UpstreamCluster, "inbound|")
	}})
}

// front finds the lines of a client's connection at the gateway that it called from outside the mesh, whichever that is.
func (r *run) front(ctx context.Context, local string) ([]egress.AccessLog, error) {
	if local == "" { // it called none
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		lines []egress.AccessLog
		err   error
	}
	answers := make(chan answer, len(r.gateways))
	for _, g := range r.gateways {
		go func() {
			found, err := r.proxied(ctx, g.Name, egress.Lines{From: local})
			answers <- answer{found, err}
		}()
	}
	var errs error
	for range r.gateways { // the first that has it ends the wait for the others
		a := <-answers
		if len(a.lines) > 0 {
			return a.lines, nil
		}
		errs = errors.Join(errs, a.err)
	}
	return nil, errs
}

// maxHops bounds how many gateways one attempt is followed through; more are a circle.
const maxHops = 8

// hops follows an attempt from its sidecar's line through the gateways by which it went.
func (r *run) hops(ctx context.Context, l *egress.AccessLog, carried carriedBy) ([]egress.Hop, error) {
	var out []egress.Hop
	for l != nil && l.UpstreamLocal != "" {
		h, err := r.next(ctx, *l, carried)
		if err != nil || h == nil {
			return out, err
		}
		if len(out) == maxHops {
			return out, fmt.Errorf("%w: it went through %d gateways and was still not outside", egress.ErrDisagree, maxHops)
		}
		out = append(out, *h)
		l = h.Line
	}
	return out, nil
}

// next finds the gateway to which a proxy's line says that it has sent something; nil where it was sent elsewhere. An
// address may have been that of an earlier gateway too, which has ended: the one that has a line is meant.
func (r *run) next(ctx context.Context, l egress.AccessLog, carried carriedBy) (*egress.Hop, error) {
	host, _, err := net.SplitHostPort(l.UpstreamHost)
	if err != nil {
		return nil, nil // what has no address is no gateway
	}
	var last *egress.Hop
	for _, g := range slices.Backward(r.gateways) { // the youngest first
		if !slices.Contains(g.Addresses, host) {
			continue
		}
		line, err := r.hop(ctx, g.Name, l, carried)
		if err != nil {
			return nil, fmt.Errorf("read the log of the gateway %s: %w", g.Name, err)
		}
		if line != nil {
			return &egress.Hop{Gateway: g.Name, Line: line}, nil
		}
		if last == nil {
			last = &egress.Hop{Gateway: g.Name}
		}
	}
	return last, nil
}

// hop finds a gateway's line of what another proxy has sent there; nil where there is none. Requests for one path that came one
// upon the other are told apart by the connections on which they went on.
func (r *run) hop(ctx context.Context, gateway string, l egress.AccessLog, carried carriedBy) (*egress.AccessLog, error) {
	found, err := r.proxied(ctx, gateway, egress.Lines{From: l.UpstreamLocal, Match: func(g egress.AccessLog) bool { return passedOn(l, g) }})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	// One connection may have carried several requests; they were made one after another.
	slices.SortFunc(found, func(a, b egress.AccessLog) int { return strings.Compare(a.StartTime, b.StartTime) })
	if carried == nil {
		return &found[0], nil
	}
	return &found[max(0, slices.IndexFunc(found, carried))], nil
}

// passedOn says whether a gateway's line is of what another proxy's line says that it has sent there: both ends of the
// connection are the same, and the gateway had it while the other one did. A gateway gives requests new ids; those of
// one connection are told apart by path and time. Where only one of the two reads HTTP, there is no path to compare, and
// a gateway that does not may have had the connection before the request.
func passedOn(l, g egress.AccessLog) bool {
	if g.DownstreamRemote != l.UpstreamLocal || g.DownstreamLocal != l.UpstreamHost {
		return false
	}
	if g.Method == "" && g.Path == "" && l.Method != "" {
		return g.Held(l.Start()) || l.Held(g.Start())
	}
	return (g.Path == l.Path || l.Method == "") && l.Held(g.Start())
}

// fromRound says whether a connection, given by both its ends, is the client's in a round.
func fromRound(peer, local string, x round, from ClientInfo) bool {
	if !x.client.Shell {
		return peer != "" && peer == x.client.Local && (x.client.Remote == "" || local == x.client.Remote)
	}
	host, port, err := net.SplitHostPort(peer)
	n, err2 := strconv.Atoi(port)
	return err == nil && err2 == nil && from.owns(host) && n >= x.script.Ports[0] && n <= x.script.Ports[1]
}

// foundLocal is the client's address as the other witnesses name it, for commands that cannot say it
// themselves. Of a command that the sidecar has no line of, it is an arrival from a port that the kernel has picked, at
// the time of the command, that is surely not the sidecar's.
func foundLocal(o egress.Observation, x round, from ClientInfo, sidecar upstreams, log []egress.Arrival) string {
	for _, l := range o.Mesh {
		if fromRound(l.DownstreamRemote, l.DownstreamLocal, x, from) || x.command.mayHave(l.DownstreamRemote, from) {
			return l.DownstreamRemote
		}
	}
	for _, a := range log {
		if fromRound(a.Peer, a.Local, x, from) {
			return a.Peer
		}
	}
	for _, a := range log {
		if len(o.Mesh) == 0 && x.command.received(a.Seq) && x.command.mayHave(a.Peer, from) && sidecar.excludes(a.Peer) {
			return a.Peer
		}
	}
	return ""
}

// upstreams are the connections that the sidecar of a pod has made itself, as its log tells them.
type upstreams struct {
	// whole says that the log names all of them. It does not where it is empty, since even the request that completed it
	// is missing, nor where a connection failed: its line names no address of the sidecar's own.
	whole bool
	own   map[string]bool
}

// excludes says whether a connection from an address of the pod is surely not the sidecar's.
func (u upstreams) excludes(local string) bool { return u.whole && !u.own[local] }

// upstreams reads which connections the sidecar of a client has made since the case began. A pod without a sidecar has
// none.
func (r *run) upstreams(ctx context.Context, client string, info ClientInfo) (upstreams, error) {
	out := upstreams{whole: true, own: map[string]bool{}}
	if !info.Captured {
		return out, nil
	}
	lines := 0
	_, err := r.proxied(ctx, client, egress.Lines{Match: func(l egress.AccessLog) bool {
		lines++
		out.own[l.UpstreamLocal] = true
		out.whole = out.whole && (l.UpstreamHost == "" || l.UpstreamLocal != "")
		return false
	}})
	out.whole = out.whole && lines > 0 && err == nil
	return out, err
}
