package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// excluded finds calls that a sidecar never sees, by what leaves them to the network.
func (s *seen) excluded() []Surprise {
	var out []Surprise
	for _, a := range s.answers {
		if a.State != Allowed || a.Outcome != egress.Direct || !s.captured(a.class) || a.udp() {
			continue
		}
		of, why := a.class.Members[0].source(), s.excludedBy(a)
		i := slices.IndexFunc(out, func(x Surprise) bool { return x.Objects[0] == of && x.Why == why })
		if i < 0 {
			i = len(out)
			out = append(out, Surprise{
				Title: "calls of a workload go past its sidecar", Objects: []Source{of}, Why: why,
				Remedy: "take the exclusion away, and register what is called; what goes past the sidecar goes to everybody at that port or in that range, and no log has it",
			})
		}
		out[i].Proof = append(out[i].Proof, a.proof())
	}
	return out
}

// excludedBy says why a call is not redirected to the sidecar.
func (s *seen) excludedBy(a Answer) string {
	w := a.class.Members[0]
	if w.User == sidecarUser {
		return fmt.Sprintf("it runs as user %d, which is the sidecar's own: what that sends is not redirected", sidecarUser)
	}
	if w.Group == sidecarUser {
		return fmt.Sprintf("it runs as group %d, which is the sidecar's own: what that sends is not redirected", sidecarUser)
	}
	notes := s.m.Mesh.annotationsOf(w)
	addresses := s.o.addresses(a.question.Host)
	for _, k := range sortedKeys(notes) {
		if leaves(k, notes[k], addresses, a.question.Port) {
			return fmt.Sprintf("%s: %q leaves them to the network", k, notes[k])
		}
	}
	if proxy, _ := s.m.Mesh.Config["defaultConfig"].(map[string]any); proxy["interceptionMode"] == noInterception {
		return "interceptionMode " + noInterception + " of the mesh's defaultConfig leaves them to the network"
	}
	return "they are not redirected to the sidecar"
}

// leavesOut says whether a workload's annotations, or those of the installation, leave a call to the network that was made to where the
// client had its connection.
func (m *Model) leavesOut(w Workload, r egress.ProbeResult, port int) bool {
	var addresses []netip.Addr
	for _, x := range r.Observations {
		if a, err := netip.ParseAddrPort(x.Client.Remote); err == nil {
			addresses = append(addresses, a.Addr())
		}
	}
	for k, v := range m.Mesh.annotationsOf(w) {
		if leaves(k, v, addresses, port) {
			return true
		}
	}
	proxy, _ := m.Mesh.Config["defaultConfig"].(map[string]any)
	return proxy["interceptionMode"] == noInterception
}

// annotationsOf are those that a workload's pod has, its own before the installation's.
func (s Settings) annotationsOf(w Workload) map[string]string {
	out := map[string]string{}
	for _, from := range []map[string]string{s.Pods, w.Annotations} {
		for k, v := range from {
			out[k] = v
		}
	}
	return out
}

// noInterception is the mode of a proxy to which nothing is redirected.
const noInterception = "NONE"

// leaves says whether an annotation of a pod leaves a call to the network.
func leaves(annotation, value string, addresses []netip.Addr, port int) bool {
	in := func() bool {
		return slices.ContainsFunc(listed(value), func(r string) bool {
			p, ok := prefixOf(r)
			return r == "*" || ok && slices.ContainsFunc(addresses, p.Contains)
		})
	}
	switch name, _ := strings.CutPrefix(annotation, "traffic.sidecar.istio.io/"); name {
	case "excludeOutboundPorts":
		return slices.Contains(listed(value), strconv.Itoa(port))
	case "excludeOutboundIPRanges":
		return in()
	case "includeOutboundIPRanges":
		return !in()
	case "excludeInterfaces":
		return len(listed(value)) > 0
	case "sidecar.istio.io/interceptionMode":
		return value == noInterception
	case "proxy.istio.io/config":
		var proxy map[string]any
		return yaml.Unmarshal([]byte(value), &proxy) == nil && proxy["interceptionMode"] == noInterception
	}
	return false
}

// listed are the parts of a list with commas.
func listed(s string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }), func(x string) bool { return x == "" })
}

// addresses are those of a name, or an address itself.
func (o *Outside) addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	h, _ := o.all.Find(host)
	return h.Addresses()
}
