package verify

import (
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/internet"
)

// ownNames asks for the names of an entry that no DNS server outside can know: without a dot, or of the cluster. Only a sidecar that
// answers its workload's DNS questions (ISTIO_META_DNS_CAPTURE) knows them. Nobody has them here either; the control client calls the
// stand-in that they lead to by its own name.
func (p *planner) ownNames(e entry) {
	for _, h := range e.hosts {
		if external(h) || h == "*" || p.service(h) {
			continue
		}
		s := p.leadsTo(e)
		if s == nil {
			if !ofService(h) {
				p.lack(e, "hosts", "host %q is not asked: without a dot nobody outside has it, and the entry gives it no address", h)
			}
			continue
		}
		fits := internet.NameFault(h) == ""
		if fits && !slices.Contains(s.certificate, h) {
			s.certificate = append(s.certificate, h)
		}
		for _, port := range e.ports {
			sp := p.speech(e, port)
			if sp.scheme == speeches["TLS"].scheme && !fits {
				p.lack(e, "hosts", "host %q is not asked at port %d: %s, so no certificate fits", h, port.number, internet.NameFault(h))
				continue
			}
			p.ports[port.number] = port.protocol
			s.serve(port.number, sp.service)
			s.serve(port.target, sp.service)
			p.ask(Question{Kind: Named, What: "a name that DNS capture alone knows", Host: sample(h), Port: port.number, speech: sp, server: s.names[0]}, e.object)
		}
	}
}

// leadsTo is the stand-in of the first endpoint of an entry, or of its first address; nil where there is none.
func (p *planner) leadsTo(e entry) *stand {
	for _, end := range e.endpoints {
		if a, err := netip.ParseAddr(end.address); err == nil && p.out.usable(a) {
			return p.at(a)
		}
		if s := p.byName[strings.ToLower(end.address)]; s != nil {
			return s
		}
	}
	for _, r := range e.addresses {
		if a, ok := p.out.within(r); ok {
			return p.at(a)
		}
	}
	return nil
}

// service says whether a name may be that of a Service among the objects, which the cluster's own DNS knows.
func (p *planner) service(name string) bool {
	first, _, _ := strings.Cut(name, ".")
	for _, m := range p.models {
		for _, x := range m.Objects {
			if x.Kind() == "Service" && x.Group() == "" && x.Name() == first {
				return true
			}
		}
	}
	return false
}
