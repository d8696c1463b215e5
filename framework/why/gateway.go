package why

import (
	"net"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// hop says what a gateway on the way did.
func (q Question) hop(a *Answer, h egress.Hop) {
	if h.Line == nil {
		a.because("gateway "+h.Gateway, "was given the connection, and its log does not say what became of it")
		return
	}
	if policy, denied := deniedBy(*h.Line); denied {
		a.because("gateway "+h.Gateway, "was given it")
		q.denied(a, policy)
		return
	}
	cluster := h.Line.UpstreamCluster
	config, have := q.Gateways[h.Gateway]
	unread := ""
	if !have {
		unread = "; what its proxy has could not be read, so rules of its own are not named"
	}
	a.because("gateway "+h.Gateway, "was given it, and sent it on by cluster %q%s", cluster, unread)
	s, ok := serviceOf(cluster)
	if !ok {
		return
	}
	if namespace, _, named := strings.Cut(h.Gateway, "/"); named { // whose proxies see other objects than the client's
		q.Namespace = namespace
	}
	q.service(a, s)
	objects, virtual := config.routedAt(*h.Line)
	a.routedBy(objects, virtual)
	if virtual == "" && h.Line.Authority == "" {
		for _, x := range q.leading(s) {
			a.because(x, "has a route of a gateway's connections to it")
		}
	}
	a.connectedBy(config, cluster, "the gateway")
}

// Unread says of a result whether it went by a gateway whose configuration could not be read, so that objects may be missing among
// those that decided.
func (q Question) Unread(r egress.ProbeResult) bool {
	return slices.ContainsFunc(Hops(r), func(h egress.Hop) bool {
		_, have := q.Gateways[h.Gateway]
		return !have
	})
}

// Hops are the gateways by which the call went that an answer is about: the last attempt.
func Hops(r egress.ProbeResult) []egress.Hop {
	n := len(r.Observations)
	if n == 0 {
		return nil
	}
	return r.Observations[n-1].Hops
}

// routedAt finds the objects in whose routes a gateway sent a request on, and the virtual host. Unlike a sidecar's, a gateway's tables and
// virtual hosts are named after the port at which it listens ("http.8080", "https.8443.PORT.GATEWAY.NAMESPACE", pilot/pkg/model/gateway.go
// in istio.io/istio), and one may be for all names.
func (c Config) routedAt(l egress.AccessLog) (objects []string, virtual string) {
	if l.Authority == "" {
		return nil, ""
	}
	_, port, _ := net.SplitHostPort(l.DownstreamLocal)
	best := -1
	for _, t := range c.Tables {
		if f := strings.Split(t.Name, "."); len(f) < 2 || f[1] != port {
			continue
		}
		for _, h := range t.Hosts {
			fits := h.fits(l.Authority)
			if fits < 0 || fits < best {
				continue
			}
			if fits > best {
				best, objects, virtual = fits, nil, ""
			}
			for _, r := range h.Routes {
				if !slices.Contains(r.Clusters, l.UpstreamCluster) {
					continue
				}
				virtual = h.Name
				if r.Object != "" && !slices.Contains(objects, r.Object) {
					objects = append(objects, r.Object)
				}
			}
		}
	}
	return objects, virtual
}

// fits says how well a virtual host fits a request to a host, as Envoy chooses among them: the longest of those that fit; -1 for not
// at all.
func (h VirtualHost) fits(authority string) int {
	name := authority
	if host, _, err := net.SplitHostPort(authority); err == nil {
		name = host
	}
	best := -1
	for _, d := range h.Domains {
		switch {
		case d == "*":
			best = max(best, 0)
		case strings.HasPrefix(d, "*") && hostMatches(d, name):
			best = max(best, len(d))
		case strings.EqualFold(d, name), strings.EqualFold(d, authority):
			best = max(best, exactly)
		}
	}
	return best
}

// exactly is more than any pattern fits: names have 253 characters at most.
const exactly = 1000

// leading are the VirtualServices with a route for a gateway's connections to a service: of those, unlike of requests, the
// gateway's configuration does not say what it was made of.
func (q Question) leading(s service) []string {
	var out []string
	for _, o := range q.Objects {
		if o.Kind != "VirtualService" || !slices.ContainsFunc(o.texts("gateways"), func(g string) bool { return g != "mesh" }) {
			continue
		}
		for _, field := range []string{"tls", "tcp"} {
			if o.leads(field, s.host) && !slices.Contains(out, o.String()) {
				out = append(out, o.String())
			}
		}
	}
	return out
}

// leads says whether a route of one kind leads to a host.
func (o Object) leads(field, host string) bool {
	routes, _ := o.Spec[field].([]any)
	for _, r := range routes {
		route, _ := r.(map[string]any)
		to, _ := route["route"].([]any)
		for _, t := range to {
			target, _ := t.(map[string]any)
			destination, _ := target["destination"].(map[string]any)
			if destination["host"] == host {
				return true
			}
		}
	}
	return false
}
