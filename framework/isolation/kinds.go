package isolation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

const gatewayAPI = "gateway.networking.k8s.io"

// exporting are the kinds that say which namespaces they concern, with the part of the mesh configuration that says it
// for those of them that do not.
var exporting = map[string]string{
	"ServiceEntry":    "defaultServiceExportTo",
	"VirtualService":  "defaultVirtualServiceExportTo",
	"DestinationRule": "defaultDestinationRuleExportTo",
}

// istio adds an object of Istio's own kinds.
func (d *deriving) istio(o egress.Object, kind, ns string) {
	spec, _ := o["spec"].(map[string]any)
	switch {
	case exporting[kind] != "":
		if kind == "ServiceEntry" {
			for _, h := range texts(spec["hosts"]) {
				d.use("host ", h)
			}
		}
		d.exports(o, spec, d.c.BaseMeshConfig[exporting[kind]], ns)
	case kind == "Gateway":
		// It concerns the gateways that it selects, whatever namespace they are in.
		if labels, _ := spec["selector"].(map[string]any); len(labels) == 0 {
			d.noticed(o, "selects no gateway, and so concerns all proxies that are gateways")
			return
		}
		d.holds[Gateways] = true
		d.beyond(o, rootNamespace)
	case kind == "WorkloadEntry" || kind == "WorkloadGroup": // for entries of their own namespace
	case ns != rootNamespace: // the rest concerns workloads of its namespace
	case selectsGateway(spec):
		d.holds[Gateways] = true
	default:
		d.noticed(o, "lies in the root namespace and selects no gateway, so that it concerns every namespace")
	}
}

// exports adds the namespaces to which an object is exported.
func (d *deriving) exports(o, spec egress.Object, byDefault any, ns string) {
	to, given := texts(spec["exportTo"]), "is exported to every namespace"
	if len(to) == 0 {
		if to = texts(byDefault); len(to) == 0 {
			to, given = []string{"*"}, "has no exportTo, and so is exported to every namespace"
		}
	}
	for _, t := range to {
		switch t {
		case "*":
			d.noticed(o, given)
		case "~", ".", ns, d.home:
		default:
			d.namespace(t, describe(o)+" is exported to it")
			d.beyond(o, t)
		}
	}
}

// selectsGateway says whether an object selects the pods of a gateway, which no client's labels are.
func selectsGateway(spec egress.Object) bool {
	for _, field := range []string{"selector", "workloadSelector"} {
		s, _ := spec[field].(map[string]any)
		for _, labels := range []any{s["matchLabels"], s["labels"]} {
			l, _ := labels.(map[string]any)
			for _, v := range []any{l["istio"], l["app"]} {
				if text, _ := v.(string); slices.Contains(gatewayLabels, text) {
					return true
				}
			}
		}
	}
	refs, _ := spec["targetRefs"].([]any)
	if one, ok := spec["targetRef"]; ok {
		refs = append(slices.Clone(refs), one)
	}
	for _, r := range refs {
		ref, _ := r.(map[string]any)
		if ref["kind"] != "Gateway" && ref["kind"] != "Service" {
			return false
		}
	}
	return len(refs) > 0
}

// gatewayLabels are the values of the labels app and istio by which the gateways are selected.
var gatewayLabels = []string{"egressgateway", "ingressgateway", "istio-egressgateway", "istio-ingressgateway"}

// gatewayAPI adds an object of the Gateway API, which has its namespace already.
func (d *deriving) gatewayAPI(o egress.Object, kind string) {
	spec, _ := o["spec"].(map[string]any)
	switch {
	case kind == "Gateway":
		if addresses, _ := spec["addresses"].([]any); len(addresses) == 0 { // else it is for a gateway that is there
			d.alone(describe(o) + startsPods)
		}
		for _, l := range objects(spec["listeners"]) {
			if p := fmt.Sprint(l["port"]); l["protocol"] == "HTTP" && !everywhere[p] {
				d.holds["port "+p] = true
			}
		}
	case strings.HasSuffix(kind, "Route"):
		for _, ref := range objects(spec["parentRefs"]) {
			if ns, _ := ref["namespace"].(string); ns != "" && ns != Home {
				d.namespace(ns, describe(o)+" has a parent in it")
				d.beyond(o, ns)
			}
			if k := ref["kind"]; k != "ServiceEntry" && k != "Service" || kind == "HTTPRoute" || kind == "GRPCRoute" {
				continue
			}
			// Unlike an HTTPRoute, it leads its hosts' connections elsewhere in every namespace (case
			// egw-gwapi-tlsroute-everywhere).
			hosts := texts(spec["hostnames"])
			if len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return strings.HasPrefix(h, "*") }) {
				d.noticed(o, "leads connections of every namespace elsewhere, to whatever host")
			}
			for _, h := range hosts {
				d.holds["host "+h] = true
			}
		}
	}
}

// everywhere are ports on which every proxy listens for HTTP already, so that one Service more changes nothing for
// other hosts.
var everywhere = map[string]bool{"80": true}

// service adds a Service, which every proxy hears of.
func (d *deriving) service(o egress.Object, ns string) {
	if to, limited := exportedTo(o); limited {
		for _, t := range to {
			if t != "." && t != "~" && t != ns {
				d.namespace(t, describe(o)+" is exported to it")
				d.beyond(o, t)
			}
		}
		return
	}
	if Headless(o) {
		d.noticed(o, "is headless, so that every proxy lets connections to its endpoints pass")
		return
	}
	for _, port := range SharedPorts(o) {
		d.holds["port "+port] = true
	}
}

// exportedTo are the namespaces that a Service's annotation exports it to; limited is false where all see it.
func exportedTo(o egress.Object) (to []string, limited bool) {
	meta, _ := o["metadata"].(map[string]any)
	notes, _ := meta["annotations"].(map[string]any)
	text, ok := notes["networking.istio.io/exportTo"].(string)
	if !ok {
		return nil, false
	}
	for _, t := range strings.Split(text, ",") {
		to = append(to, strings.TrimSpace(t))
	}
	return to, !slices.Contains(to, "*")
}

// Headless says whether a Service has no address of its own, so that proxies take its endpoints' for it.
func Headless(o egress.Object) bool {
	spec, _ := o["spec"].(map[string]any)
	return spec["clusterIP"] == "None"
}

// SharedPorts are the ports that a Service makes ones of HTTP for the whole mesh: every proxy listens there at all addresses and
// answers unknown hosts (0.0.0.0_PORT, pilot/pkg/networking/core/listener.go). There are none of one that not all see, of
// an alias, which is known by its own name alone, and where every proxy does so anyway.
func SharedPorts(o egress.Object) []string {
	spec, _ := o["spec"].(map[string]any)
	if _, limited := exportedTo(o); limited || spec["type"] == "ExternalName" {
		return nil
	}
	var out []string
	for _, p := range objects(spec["ports"]) {
		port := fmt.Sprint(p["port"])
		name, _ := p["name"].(string)
		if proto, ok := p["appProtocol"].(string); ok {
			name = proto
		}
		if name, _, _ = strings.Cut(name, "-"); slices.Contains(httpNames, strings.ToLower(name)) && !everywhere[port] {
			out = append(out, port)
		}
	}
	return out
}

// httpNames are the protocols for which a proxy listens on a Service's port at all addresses.
var httpNames = []string{"http", "http2", "grpc", "kubernetes.io/h2c"}

// clusterWide are kinds without namespace, by group; all others of these groups have one.
var clusterWide = map[string][]string{
	"":                          {"Namespace", "Node", "PersistentVolume"},
	"apps":                      nil,
	"batch":                     nil,
	"autoscaling":               nil,
	"policy":                    nil,
	"discovery.k8s.io":          nil,
	"networking.k8s.io":         {"IngressClass", "IPAddress", "ServiceCIDR"},
	"rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding"},
	"networking.istio.io":       nil,
	"security.istio.io":         nil,
	"telemetry.istio.io":        nil,
	"extensions.istio.io":       nil,
	gatewayAPI:                  {"GatewayClass"},
}

// namespaced says whether an object lies in a namespace; known is false where nobody can tell.
func (d *deriving) namespaced(o egress.Object) (is, known bool) {
	if wide, ok := clusterWide[groupOf(o)]; ok {
		return !slices.Contains(wide, kindOf(o)), true
	}
	if d.at.Namespaced == nil {
		return false, false
	}
	version, _ := o["apiVersion"].(string)
	return d.at.Namespaced(version, kindOf(o))
}

func (d *deriving) placeOf(o egress.Object) string {
	meta, _ := o["metadata"].(map[string]any)
	if ns, _ := meta["namespace"].(string); ns != "" {
		return ns
	}
	return d.home
}

func kindOf(o egress.Object) string { k, _ := o["kind"].(string); return k }

func groupOf(o egress.Object) string {
	v, _ := o["apiVersion"].(string)
	group, _, versioned := strings.Cut(v, "/")
	if !versioned {
		return ""
	}
	return group
}

func nameOf(o egress.Object) string {
	meta, _ := o["metadata"].(map[string]any)
	n, _ := meta["name"].(string)
	return n
}

func describe(o egress.Object) string {
	meta, _ := o["metadata"].(map[string]any)
	if ns, _ := meta["namespace"].(string); ns != "" {
		return kindOf(o) + " " + ns + "/" + nameOf(o)
	}
	return kindOf(o) + " " + nameOf(o)
}

// texts are the strings of a list.
func texts(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// objects are the mappings of a list.
func objects(v any) []egress.Object {
	var out []egress.Object
	list, _ := v.([]any)
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// mentions says whether any string of a value, as JSON has it, is one that is looked for.
func mentions(v any, is func(string) bool) bool {
	b, err := json.Marshal(v)
	return err == nil && is(string(b))
}

// names says whether a text has a name in it, and not as a part of a longer one.
func names(text, name string) bool {
	part := func(b byte) bool { return b == '-' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(name)
		if (start == 0 || !part(text[start-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
		from = end
	}
}
