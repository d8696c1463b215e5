package engine

import (
	"net"
	"slices"

	"mesh-egress-conformance/framework/egress"
)

// received is the destination's log, and where in it things are: a run of thousands of questions looks for the arrivals of each.
type received struct {
	log    []egress.Arrival // in the order of their numbers
	byID   map[string][]int // places, by the id of the probe
	byPeer map[string][]int // places, by the other side
}

func newReceived(log []egress.Arrival) *received {
	d := &received{log: log, byID: map[string][]int{}, byPeer: map[string][]int{}}
	for i, a := range log {
		if a.ProbeID != "" {
			d.byID[a.ProbeID] = append(d.byID[a.ProbeID], i)
		}
		if a.Peer != "" {
			d.byPeer[a.Peer] = append(d.byPeer[a.Peer], i)
		}
	}
	return d
}

// about are the arrivals that have an id or one of some other sides, from a number on.
func (d *received) about(since int64, id string, peers ...string) []*egress.Arrival {
	places := slices.Clone(d.byID[id])
	for _, p := range peers {
		places = append(places, d.byPeer[p]...)
	}
	slices.Sort(places)
	var out []*egress.Arrival
	for _, i := range slices.Compact(places) {
		if a := &d.log[i]; a.Seq >= since {
			out = append(out, a)
		}
	}
	return out
}

// from are the arrivals from a number on.
func (d *received) from(since int64) []egress.Arrival {
	i := slices.IndexFunc(d.log, func(a egress.Arrival) bool { return a.Seq >= since })
	if i < 0 {
		return nil
	}
	return d.log[i:]
}

// of picks the arrivals of one observation and marks them as explained. A gateway's connection to a host carries
// requests of many probes: those that name another one are explained, and are not this one's.
func (d *received) of(o egress.Observation, since int64, joined map[int64]bool) []egress.Arrival {
	var peers []string
	for _, c := range o.Connections() {
		peers = append(peers, c.Local)
	}
	var out []egress.Arrival
	for _, a := range d.about(since, o.ID, peers...) {
		if !o.Explains(*a) {
			continue
		}
		joined[a.Seq] = true
		if a.ProbeID == "" || a.ProbeID == o.ID {
			out = append(out, *a)
		}
	}
	return out
}

// carriedBy says which of a gateway's lines are of a connection by which a request arrived, known by its id; nil where the attempt
// has none.
type carriedBy func(egress.AccessLog) bool

func (d *received) carrying(id string, since int64) carriedBy {
	return func(l egress.AccessLog) bool {
		return slices.ContainsFunc(d.about(since, id), func(a *egress.Arrival) bool {
			return a.Peer == l.UpstreamLocal && a.Local == l.UpstreamHost
		})
	}
}

// carriage is the egress of a client in a phase.
type carriage struct {
	client string
	phase  egress.Phase
}

// strays are arrivals from a carrier's pod, from the start of a phase to that of the next, that no probe of the case
// explains. A blocked probe with strays beside it proves nothing.
func (r *run) strays(c carriage, d *received, joined map[int64]bool, broken map[brokenConn]bool) []egress.Arrival {
	info, err := r.e.Clients.Describe(c.client)
	if err != nil {
		return nil
	}
	end := r.until
	for ph, start := range r.starts {
		if ph > c.phase {
			end = min(end, start)
		}
	}
	var out []egress.Arrival
	for _, a := range d.from(r.starts[c.phase]) {
		if a.Seq >= end || joined[a.Seq] || r.paused(a) {
			continue
		}
		host, _, err := net.SplitHostPort(a.Peer)
		if err == nil && info.owns(host) && !spare(a, host, d.log, joined) && (a.Kind == "http" || !broken[brokenConn{c, a.Local}]) {
			out = append(out, a)
		}
	}
	return out
}

// brokenConn names connections of a client that its sidecar began in a phase, and that failed.
type brokenConn struct {
	carriage
	destination string
}

// brokenOff are the connections that failed before a request was on them, as by TLS that the other side does not speak: the
// sidecar's line names the destination and no address of its own, so the arrival cannot be joined.
func brokenOff(tries []*try, results []egress.ProbeResult) map[brokenConn]bool {
	out := map[brokenConn]bool{}
	for i, p := range results {
		for _, o := range p.Observations {
			for _, l := range o.Mesh {
				if l.UpstreamHost != "" && l.UpstreamLocal == "" {
					out[brokenConn{tries[i].carriage(), l.UpstreamHost}] = true
				}
			}
		}
	}
	return out
}

// spare says whether an arrival is a connection that was never used, from a pod that another probe led to the
// same address and port of a web server. Envoy opens one for each request that waits, and sends it on whichever is free first; where it
// makes TLS, the handshake is over by then.
func spare(a egress.Arrival, host string, log []egress.Arrival, joined map[int64]bool) bool {
	return (a.Kind == "tcp" || a.Kind == "tls") && slices.ContainsFunc(log, func(b egress.Arrival) bool {
		if !joined[b.Seq] || b.Server != a.Server || b.Local != a.Local || b.Kind != "http" {
			return false
		}
		peer, _, err := net.SplitHostPort(b.Peer)
		return err == nil && peer == host
	})
}
