package check

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// entry is a ServiceEntry as its webhook looks at it.
type entry struct {
	resolution                  string
	hosts, addresses, endpoints []*input.Node
}

// refusals are what Istio's own validation of a ServiceEntry refuses and its schema cannot say, in 1.28 to 1.31 alike: how
// its fields go together. Each gives the place and the words of a mistake; nil for none. Hosts and endpoints are only
// compared as far as egress needs it: a wildcard with STATIC, or with DNS and endpoints, is accepted.
var refusals = []func(entry) (at *input.Node, what, remedy string){
	func(e entry) (*input.Node, string, string) {
		i := slices.IndexFunc(e.hosts, func(h *input.Node) bool { return strings.HasPrefix(h.Value, "*.") })
		if i < 0 || !strings.HasPrefix(e.resolution, "DNS") || len(e.endpoints) > 0 {
			return nil, "", ""
		}
		return e.hosts[i], fmt.Sprintf("the wildcard %s with resolution %s: DNS cannot resolve a wildcard, and Istio's webhook refuses the entry", e.hosts[i].Value, e.resolution),
			"write resolution: NONE, which goes to the address that the client dials, or DYNAMIC_DNS (HTTP and TLS, location MESH_EXTERNAL), which resolves the name of each call; or give it endpoints, to which DNS leads all its names"
	},
	func(e entry) (*input.Node, string, string) {
		i := slices.IndexFunc(e.hosts, func(h *input.Node) bool { return h.Value == "*" })
		if i < 0 {
			return nil, "", ""
		}
		return e.hosts[i], "the host \"*\" stands for every name, and Istio's webhook refuses it", "name the hosts, or write a wildcard below a domain, such as \"*.example.com\""
	},
	func(e entry) (*input.Node, string, string) {
		i := slices.IndexFunc(e.addresses, func(a *input.Node) bool { return strings.Contains(a.Value, "/") })
		if i < 0 || e.resolution == "" || e.resolution == "NONE" || e.resolution == "STATIC" {
			return nil, "", ""
		}
		return e.addresses[i], fmt.Sprintf("the range %s with resolution %s: Istio's webhook refuses it", e.addresses[i].Value, e.resolution), "write resolution: NONE or STATIC, or single addresses"
	},
	func(e entry) (*input.Node, string, string) {
		if len(e.endpoints) == 0 || e.resolution != "" && e.resolution != "NONE" {
			return nil, "", ""
		}
		return e.endpoints[0], "endpoints with resolution NONE, which is the default: Istio's webhook refuses them", "write resolution: STATIC where they are addresses, DNS where they are names"
	},
	func(e entry) (*input.Node, string, string) {
		if len(e.endpoints) < 2 || e.resolution != "DNS_ROUND_ROBIN" {
			return nil, "", ""
		}
		return e.endpoints[1], "more than one endpoint with resolution DNS_ROUND_ROBIN: Istio's webhook refuses it", "leave one, or write resolution: DNS"
	},
}

// portOfEntry is a port of a ServiceEntry.
type portOfEntry struct {
	node     *input.Node
	file     string
	protocol string
}

// portsFor are the ports of a case's entries for a host and a port number.
func portsFor(l *casefile.Loaded, host, port string) []portOfEntry {
	var out []portOfEntry
	for _, d := range l.Objects {
		hosts, ports := input.Value(d.Node, "spec", "hosts"), input.Value(d.Node, "spec", "ports")
		if d.Field == "refused" || text(d.Node, "kind") != "ServiceEntry" || hosts == nil || ports == nil ||
			!slices.ContainsFunc(hosts.Content, func(h *input.Node) bool { return internet.Covers(h.Value, host) }) {
			continue
		}
		for _, p := range ports.Content {
			if text(p, "number") == port {
				out = append(out, portOfEntry{p, d.File, strings.ToUpper(text(p, "protocol"))})
			}
		}
	}
	return out
}

// speaksTLS says whether a probe itself encrypts. A gRPC call does so at port 443.
func speaksTLS(p egress.Probe) bool {
	return p.Protocol().TLS || p.Protocol().GRPC && targetOf(p).port == "443"
}

// protocols tells of probes that want an answer and speak TLS to a port that the case's entry calls plain HTTP, or plain HTTP
// to one that it calls TLS: the sidecar takes the entry at its word.
func (c *checker) protocols(l *casefile.Loaded) {
	for i, p := range l.Case.Probes {
		t := targetOf(p)
		t.host = nameIn(p.URL)
		if w := p.Wants[egress.Applied]; !p.Protocol().TLS && !p.Protocol().Status || w == 0 || w&^egress.Arrived != 0 {
			continue
		}
		wrong, says, right := []string{"TLS", "HTTPS"}, "plain HTTP", "HTTP"
		if speaksTLS(p) {
			wrong, says, right = []string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB"}, "TLS", "TLS"
		}
		ports := portsFor(l, t.host, t.port)
		if len(ports) == 0 || slices.ContainsFunc(ports, func(x portOfEntry) bool { return !slices.Contains(wrong, x.protocol) }) {
			continue
		}
		c.notices = append(c.notices, input.Mistake{
			File: ports[0].file, Line: ports[0].node.Line,
			What:   fmt.Sprintf("the entry says that port %s of %s speaks %s, and probe %d of case %s, which wants an answer, speaks %s there: the sidecar closes it", t.port, t.host, ports[0].protocol, i+1, l.Case.Name, says),
			Remedy: "write protocol: " + right,
		})
	}
}

// entries looks at ServiceEntries for what only Istio's webhook would say, when the case runs.
func (c *checker) entries(l *casefile.Loaded) {
	if !c.applies(l) {
		return
	}
	for _, d := range l.Objects {
		if d.Field == "refused" || text(d.Node, "kind") != "ServiceEntry" || !strings.HasPrefix(text(d.Node, "apiVersion"), "networking.istio.io/") {
			continue
		}
		elements := func(field string) []*input.Node {
			if n := input.Value(d.Node, "spec", field); n != nil {
				return n.Content
			}
			return nil
		}
		e := entry{resolution: text(d.Node, "spec", "resolution"), hosts: elements("hosts"), addresses: elements("addresses"), endpoints: elements("endpoints")}
		for _, refusal := range refusals {
			if at, what, remedy := refusal(e); at != nil {
				c.mistake(input.Mistake{File: d.File, Line: at.Line, What: "ServiceEntry: " + what}, "%s", remedy)
			}
		}
	}
}
