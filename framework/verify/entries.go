package verify

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/manifest"
)

// entry is a ServiceEntry as far as it says what is outside.
type entry struct {
	object     manifest.Object
	hosts      []string
	addresses  []netip.Prefix
	ports      []entryPort
	endpoints  []endpoint
	resolution string
	exportTo   []string
	inside     bool // it stands for pods of the mesh
	former     bool // it is of another version of the objects than the present one
}

type entryPort struct {
	number   int
	name     string
	protocol string
	target   int // where it leads; the number itself where nothing else is said
	place    int // in the list
}

type endpoint struct {
	address string
	ports   map[string]int
}

func entryOf(x manifest.Object) entry {
	e := entry{object: x, resolution: cmp.Or(text(x, "spec", "resolution"), "NONE"), exportTo: texts(x.At("spec", "exportTo"))}
	for _, h := range texts(x.At("spec", "hosts")) {
		e.hosts = append(e.hosts, strings.ToLower(h))
	}
	for _, a := range texts(x.At("spec", "addresses")) {
		if p, ok := prefixOf(a); ok {
			e.addresses = append(e.addresses, p)
		}
	}
	for i, p := range mappings(x.At("spec", "ports")) {
		n, ok := number(p["number"])
		if !ok || n < 1 || n > 65535 {
			continue
		}
		port := entryPort{number: n, target: n, place: i}
		port.name, _ = p["name"].(string)
		port.protocol, _ = p["protocol"].(string)
		port.protocol = strings.ToUpper(port.protocol)
		if t, ok := number(p["targetPort"]); ok && t > 0 {
			port.target = t
		}
		e.ports = append(e.ports, port)
	}
	for _, p := range mappings(x.At("spec", "endpoints")) {
		out := endpoint{ports: map[string]int{}}
		out.address, _ = p["address"].(string)
		ports, _ := p["ports"].(map[string]any)
		for name, v := range ports {
			if n, ok := number(v); ok {
				out.ports[name] = n
			}
		}
		e.endpoints = append(e.endpoints, out)
	}
	e.inside = x.At("spec", "workloadSelector") != nil
	return e
}

// prefixOf reads an address or a range, whatever bits are set beyond its length.
func prefixOf(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// serves says whether a host pattern, exact or with a leading *, is that of a name.
func serves(pattern, name string) bool {
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(name, suffix) && len(name) > len(suffix)
	}
	return pattern == name
}

// entries are the ServiceEntries of a model.
func (m *Model) entries() []entry {
	var out []entry
	for _, x := range m.Objects {
		if x.Kind() == "ServiceEntry" {
			out = append(out, entryOf(x))
		}
	}
	return out
}

// originates says in which mode a DestinationRule makes TLS for a host; "" where none does.
func (m *Model) originates(host string, port int) (mode string) {
	for _, x := range m.Objects {
		if x.Kind() != "DestinationRule" || !serves(strings.ToLower(text(x, "spec", "host")), host) {
			continue
		}
		for _, policy := range policiesOf(x) {
			tls, _ := at(policy, "tls").(map[string]any)
			for _, p := range mappings(policy["portLevelSettings"]) {
				if n, ok := number(at(p, "port", "number")); ok && n == port {
					tls, _ = p["tls"].(map[string]any)
				}
			}
			if s, _ := tls["mode"].(string); s == "SIMPLE" || s == "MUTUAL" {
				return s
			}
		}
	}
	return ""
}

// policiesOf are the traffic policies of a DestinationRule, those of its subsets too.
func policiesOf(x manifest.Object) []map[string]any {
	var out []map[string]any
	if p, ok := x.At("spec", "trafficPolicy").(map[string]any); ok {
		out = append(out, p)
	}
	for _, s := range mappings(x.At("spec", "subsets")) {
		if p, ok := s["trafficPolicy"].(map[string]any); ok {
			out = append(out, p)
		}
	}
	return out
}

// external says whether a name is outside of the cluster: not a Service's, by its full or short name.
func external(name string) bool {
	return strings.Contains(strings.TrimPrefix(name, "*."), ".") && !ofService(name) && name != "*"
}

// ofService says whether a name is one of the cluster's own, which its DNS answers.
func ofService(name string) bool {
	return strings.HasSuffix(name, ".cluster.local") || strings.HasSuffix(name, ".svc")
}

// routed are the hosts outside that VirtualServices name.
func (m *Model) routed() map[string]manifest.Object {
	out := map[string]manifest.Object{}
	for _, x := range m.Objects {
		if x.Kind() != "VirtualService" {
			continue
		}
		for _, h := range texts(x.At("spec", "hosts")) {
			if h = strings.ToLower(h); external(h) {
				if _, have := out[h]; !have {
					out[h] = x
				}
			}
		}
	}
	return out
}

// covered says whether some entry has a host.
func covered(entries []entry, name string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool {
		return slices.ContainsFunc(e.hosts, func(h string) bool { return h == name || serves(h, name) })
	})
}
