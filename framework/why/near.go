package why

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// Object is one object of the cluster, as data.
type Object struct {
	Kind, Namespace, Name string
	Spec                  map[string]any
}

func (o Object) String() string { return o.Kind + " " + o.Namespace + "/" + o.Name }

// rootNamespace is where Istio keeps what holds for the whole mesh.
const rootNamespace = "istio-system"

// texts is a list of strings in an object's spec.
func (o Object) texts(field string) []string {
	list, _ := o.Spec[field].([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (o Object) hosts() []string { return o.texts("hosts") }

// ports are a ServiceEntry's, each as "443 (TLS)".
func (o Object) ports() []string {
	var out []string
	o.eachPort(func(number int, protocol string) { out = append(out, fmt.Sprintf("%d (%s)", number, protocol)) })
	return out
}

func (o Object) eachPort(do func(number int, protocol string)) {
	list, _ := o.Spec["ports"].([]any)
	for _, x := range list {
		p, _ := x.(map[string]any)
		protocol, _ := p["protocol"].(string)
		n, err := strconv.Atoi(fmt.Sprint(p["number"]))
		if err == nil {
			do(n, cmp.Or(strings.ToUpper(protocol), "TCP"))
		}
	}
}

// port is the protocol of one of a ServiceEntry's ports.
func (o Object) port(number int) (protocol string, ok bool) {
	o.eachPort(func(n int, p string) {
		if n == number {
			protocol, ok = p, true
		}
	})
	return protocol, ok
}

// exportTo are the namespaces to which a ServiceEntry is exported, as it says, or the mesh for it; nil is all.
func (q Question) exportTo(o Object) []string {
	if to := o.texts("exportTo"); len(to) > 0 {
		return to
	}
	return q.ExportTo
}

// sees says whether a ServiceEntry is exported to the proxy's namespace.
func (q Question) sees(o Object) bool {
	to := q.exportTo(o)
	return len(to) == 0 || slices.Contains(to, "*") || slices.Contains(to, q.Namespace) || slices.Contains(to, ".") && o.Namespace == q.Namespace
}

// serviceEntries are those that have a host, or an address.
func (q Question) serviceEntries(host string) []Object {
	var out []Object
	for _, o := range q.Objects {
		if o.Kind != "ServiceEntry" {
			continue
		}
		if slices.ContainsFunc(o.hosts(), func(h string) bool { return hostMatches(h, host) }) || slices.ContainsFunc(o.texts("addresses"), func(a string) bool { return addressHas(a, host) }) {
			out = append(out, o)
		}
	}
	return out
}

func addressHas(address, host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(address); err == nil {
		return p.Contains(ip)
	}
	return address == host
}

// sidecar is the Sidecar that holds for the client's pod, of which Istio takes one: of its namespace one that selects it, else one
// for all of the namespace, else one for all of the mesh.
func (q Question) sidecar() (Object, bool) {
	var found Object
	best := 0
	for _, o := range q.Objects {
		if o.Kind != "Sidecar" {
			continue
		}
		rank, selects := 0, o.selector()
		switch {
		case len(selects) > 0:
			if o.Namespace == q.Namespace && has(q.Labels, selects) {
				rank = 3
			}
		case o.Namespace == q.Namespace:
			rank = 2
		case o.Namespace == rootNamespace:
			rank = 1
		}
		if rank > best {
			found, best = o, rank
		}
	}
	return found, best > 0
}

// selector are the labels of pods that an object is for; none is all.
func (o Object) selector() map[string]string {
	s, _ := o.Spec["workloadSelector"].(map[string]any)
	labels, _ := s["labels"].(map[string]any)
	out := map[string]string{}
	for k, v := range labels {
		out[k] = fmt.Sprint(v)
	}
	return out
}

func has(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// policyObject is what sets an outbound policy for the client: its Sidecar, where that says anything of it, else the mesh.
func (q Question) policyObject(policy egress.Policy) string {
	o, _ := q.sidecar()
	p, _ := o.Spec["outboundTrafficPolicy"].(map[string]any)
	mode, said := p["mode"].(string)
	switch {
	case said && mode == string(policy):
		return o.String()
	case !said && q.Policy == policy:
		return "the mesh configuration (outboundTrafficPolicy)"
	}
	return "the outbound policy"
}

// missing says what would let a call to a host and port out, and which objects nearly do.
func (q Question) missing(a *Answer, host string, port int) {
	a.Missing = fmt.Sprintf("a ServiceEntry with host %s and port %d that the proxy of namespace %s sees", host, port, q.Namespace)
	for _, o := range q.serviceEntries(host) {
		a.Nearly = append(a.Nearly, Reason{o.String(), q.notUsed(o, host, port)})
	}
	if known := q.Config.ports(host); len(known) > 0 && len(a.Nearly) == 0 {
		a.Nearly = append(a.Nearly, Reason{"the proxy's registry", fmt.Sprintf("knows the host on port %s", numbers(known))})
	}
	if len(a.Nearly) == 0 {
		a.Remedy = q.remedy(host, port)
	}
}

// notUsed says why a ServiceEntry that has the host does not let the call out.
func (q Question) notUsed(o Object, host string, port int) string {
	protocol, has := o.port(port)
	switch {
	case !has:
		return fmt.Sprintf("has the host, and no port %d: it has %s", port, strings.Join(o.ports(), ", "))
	case !q.sees(o):
		setting := "exportTo"
		if len(o.texts("exportTo")) == 0 {
			setting = "the mesh's defaultServiceExportTo"
		}
		return fmt.Sprintf("has the host and port %d, and is not exported to namespace %s (%s: %s)", port, q.Namespace, setting, strings.Join(q.exportTo(o), ", "))
	case slices.Contains(q.Config.ports(host), port):
		return fmt.Sprintf("has the host and port %d, and the proxy knows it, as %s: the call is none, or came to another address than the proxy has for the host", port, protocol)
	}
	if s, ok := q.sidecar(); ok {
		if limits, _ := s.Spec["egress"].([]any); len(limits) > 0 {
			return fmt.Sprintf("has the host and port %d, and the proxy does not know it: %s limits what it sees (egress.hosts)", port, s)
		}
	}
	return fmt.Sprintf("has the host and port %d, and the proxy does not have it (yet): another object may have taken its place", port)
}

func numbers(n []int) string {
	out := make([]string, len(n))
	for i, x := range n {
		out[i] = strconv.Itoa(x)
	}
	return strings.Join(out, ", ")
}

// remedy is a ServiceEntry that would let a call out, for the client's namespace alone.
func (q Question) remedy(host string, port int) string {
	protocol, name := "TCP", "tcp"
	switch p := q.Probe.Protocol(); {
	case p.TLS:
		protocol, name = "TLS", "tls"
	case p.GRPC:
		protocol, name = "GRPC", "grpc"
	case p.Status:
		protocol, name = "HTTP", "http"
	}
	spec := map[string]any{
		"hosts": []string{host}, "location": "MESH_EXTERNAL", "resolution": "DNS", "exportTo": []string{"."},
		"ports": []any{map[string]any{"number": port, "name": name, "protocol": protocol}},
	}
	if _, err := netip.ParseAddr(host); err == nil { // a ServiceEntry needs a host, whatever the client calls
		spec["hosts"], spec["addresses"], spec["resolution"] = []string{"address-" + dashed(host) + ".internal"}, []string{host}, "NONE"
	}
	b, err := yaml.Marshal(map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
		"metadata": map[string]any{"name": dashed(host), "namespace": q.Namespace}, "spec": spec,
	})
	if err != nil {
		return ""
	}
	return string(b)
}

// dashed is a host as the name of an object.
func dashed(host string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(host)), "-")
}
