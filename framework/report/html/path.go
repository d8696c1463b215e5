package html

import (
	"fmt"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// node is one station of an attempt on its way to the destination.
type node struct {
	Role  string `json:"role"` // client, sidecar, gateway, destination
	Name  string `json:"name"`
	In    string `json:"in,omitempty"`  // address at which the connection came in
	Out   string `json:"out,omitempty"` // address from which the next one went out
	State state  `json:"state"`
	Note  string `json:"note,omitempty"`
}

// state is what is known of a station.
type state string

const (
	passed  state = "passed"  // the attempt went on from here
	stopped state = "stopped" // it ended here: the proxy answered, or closed the connection
	unseen  state = "unseen"  // it should have come by, and no witness says so
	reached state = "reached" // the destination has it
	missed  state = "missed"  // the destination has nothing of it
)

// path is the way of an attempt, as its witnesses prove it: client → sidecar → gateways → destination.
func path(from string, o egress.Observation) []node {
	nodes := []node{{Role: "client", Name: from, Out: o.Client.Local, State: passed}}
	if o.DNS {
		return append(nodes, question(o))
	}
	arrival := landed(o)
	switch {
	case !o.Captured:
		nodes[0].Note = "has no sidecar"
	case len(o.Mesh) > 0:
		nodes = append(nodes, proxy("sidecar", "Envoy of "+from, o.Mesh))
	case arrival != nil:
		nodes = append(nodes, node{Role: "sidecar", Name: "Envoy of " + from, State: unseen, Note: "has no line: the connection went past it"})
	default:
		nodes = append(nodes, node{Role: "sidecar", Name: "Envoy of " + from, State: unseen, Note: "has no line of this connection"})
	}
	for _, h := range o.Hops {
		if h.Line == nil {
			nodes = append(nodes, node{Role: "gateway", Name: h.Gateway, State: unseen, Note: "has no line of this connection"})
			continue
		}
		nodes = append(nodes, proxy("gateway", h.Gateway, []egress.AccessLog{*h.Line}))
	}
	return append(nodes, destination(o, arrival))
}

func question(o egress.Observation) node {
	n := node{Role: "destination", Name: "name server", In: o.Client.Remote, State: reached, Note: "a DNS question: the client alone is its witness"}
	if o.Client.ExitCode != 0 {
		n.State = missed
	}
	return n
}

// landed is the arrival of an attempt; one at the host that is meant for it comes first.
func landed(o egress.Observation) *egress.Arrival {
	for i, a := range o.Arrivals {
		if a.Server == o.Target {
			return &o.Arrivals[i]
		}
	}
	if len(o.Arrivals) > 0 {
		return &o.Arrivals[0]
	}
	return nil
}

func proxy(role, name string, lines []egress.AccessLog) node {
	l := lines[0]
	n := node{Role: role, Name: name, In: l.DownstreamLocal, Out: l.UpstreamLocal, State: passed}
	var note []string
	if l.UpstreamCluster != "" {
		note = append(note, l.UpstreamCluster)
	} else if l.RouteName != "" {
		note = append(note, "route "+l.RouteName)
	}
	if l.UpstreamLocal == "" {
		n.State = stopped
		if l.ResponseCode != 0 {
			note = append(note, fmt.Sprintf("answered %d itself", l.ResponseCode))
		}
	}
	if l.ResponseFlags != "" {
		note = append(note, "flags "+l.ResponseFlags)
	}
	if len(lines) > 1 {
		note = append(note, fmt.Sprintf("%d lines in all", len(lines)))
	}
	n.Note = strings.Join(note, ", ")
	return n
}

func destination(o egress.Observation, a *egress.Arrival) node {
	n := node{Role: "destination", Name: o.Target}
	if n.Name == "" || n.Name == egress.Anywhere {
		n.Name = "any host"
	}
	switch {
	case a != nil:
		n.Name, n.In, n.State = a.Server, a.Local, reached
		n.Note = strings.TrimSpace(a.Kind + " " + a.Method + " " + a.Path)
		if o.Target != "" && o.Target != egress.Anywhere && a.Server != o.Target {
			n.Note += ", meant for " + o.Target
		}
	case o.Blind:
		n.State, n.Note = unseen, "on the live internet, whose arrivals nobody sees"
	default:
		n.State, n.Note = missed, "nothing of it arrived"
	}
	return n
}
