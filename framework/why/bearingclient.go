package why

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// proxyConfig is the annotation with the configuration of a pod's own proxy.
const proxyConfig = "proxy.istio.io/config"

// Settings of proxies (proxyMetadata) that decide about the names and the addresses that a sidecar answers for.
const (
	dnsCapture = "ISTIO_META_DNS_CAPTURE"
	dualStack  = "ISTIO_DUAL_STACK"
	captureOf  = "traffic.sidecar.istio.io/"
)

// captured tells of the client's part: has it a sidecar, and does its traffic come to it? It is false where no object of Istio's
// concerns the call.
func (b *bearing) captured() bool {
	k, who := b.client, b.who()
	switch {
	case !b.known:
		b.say(who, "is not described here")
		return true
	case !k.Captured():
		b.say(who, "has no sidecar, so no object of Istio decides about its calls")
		return false
	case !k.Proxied():
		b.say(who, "is an init container, and no sidecar runs beside it yet (%s: false)", egress.NativeSidecarAnnotation)
		return false
	case k.User == proxyUser:
		b.say(who, "runs as user %d, the proxy's own, whose traffic is not captured", proxyUser)
		return false
	case k.Escapes:
		b.say(who, "is described as one whose traffic goes around its sidecar (escapes)")
		return false
	}
	captures := b.switchedOn(dnsCapture)
	switch p := b.call.protocol; {
	case p.Scheme == "dns" && captures:
		b.say(who, "has its DNS questions answered by the sidecar, as far as it knows the names (%s)", dnsCapture)
		return true
	case p.Scheme == "dns":
		b.say(who, "puts a DNS question, and its sidecar answers none (%s is not set)", dnsCapture)
		return false
	case p.Scheme != "" && !p.Stream && (p.Scheme != "udp" || b.call.port != 53 || !captures):
		b.say("the call", "is %s, and sidecars capture TCP alone", strings.ToUpper(p.Scheme))
		return false
	}
	if b.call.bare {
		b.say("the call", "has no server name")
	}
	b.families()
	b.annotations()
	return true
}

// proxyUser is the user that sidecars run as.
const proxyUser = 1337

// switchedOn says whether a setting of the client's proxy is true, by its annotation or the mesh configuration.
func (b *bearing) switchedOn(setting string) bool {
	if at(map[string]any(b.mesh), "defaultConfig", "proxyMetadata", setting) == "true" {
		return true
	}
	// The annotation is YAML in a text; whoever switches the setting off names it as false.
	_, after, named := strings.Cut(b.client.Annotations[proxyConfig], setting)
	return named && strings.HasPrefix(strings.TrimLeft(after, `"': `), "true")
}

// families tells of a target without an IPv4 address.
func (b *bearing) families() {
	four := slices.ContainsFunc(b.call.addresses, func(d dialled) bool { return d.address.Unmap().Is4() })
	if len(b.call.addresses) == 0 || four {
		return
	}
	if b.switchedOn(dualStack) {
		b.say("the target", "has IPv6 addresses alone, and the proxy of %s was told of both families (%s)", b.who(), dualStack)
		return
	}
	b.say("the target", "has IPv6 addresses alone, and the proxy of %s was told of no second family (%s is not set)", b.who(), dualStack)
}

// annotations are those of the client that leave traffic to the network, with what they have to do with the call.
func (b *bearing) annotations() {
	for _, name := range slices.Sorted(maps.Keys(b.client.Annotations)) {
		which, ok := strings.CutPrefix(name, captureOf)
		if !ok {
			continue
		}
		value := b.client.Annotations[name]
		says := ""
		switch {
		case strings.HasSuffix(which, "Ports") && b.call.port > 0:
			says = fmt.Sprintf(", which does not name port %d", b.call.port)
			if slices.Contains(split(value), strconv.Itoa(b.call.port)) {
				says = fmt.Sprintf(", which names port %d", b.call.port)
			}
		case strings.HasSuffix(which, "IPRanges") && len(b.call.addresses) > 0:
			says = b.ranged(split(value))
		}
		b.say(b.who(), "is annotated with %s: %s%s", name, value, says)
	}
}

// ranged says which of the dialled addresses lie in ranges.
func (b *bearing) ranged(ranges []string) string {
	var in, out []string
	for _, d := range b.call.addresses {
		if slices.ContainsFunc(ranges, func(r string) bool { return r == "*" || addressHas(r, d.address.String()) }) {
			in = append(in, d.String())
		} else {
			out = append(out, d.String())
		}
	}
	switch {
	case len(out) == 0:
		return ", which has " + few(in)
	case len(in) == 0:
		return ", which does not have " + few(out)
	}
	return ", which has " + few(in) + " and not " + few(out)
}

// split are the parts of a list in an annotation.
func split(value string) []string {
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// sidecars tells of those that may hold for the client. Of several, the one is taken that Istio takes; where pods are selected by labels
// that are not known before they run, or two of the same rank are there, none is.
func (b *bearing) sidecars() {
	var fit []object
	ranks := map[int]int{}
	sure := b.known
	for _, o := range b.stage.objects {
		if o.Kind != "Sidecar" || b.otherRevision(o) != "" {
			continue
		}
		rank, known := b.fits(o)
		sure = sure && known
		if rank > 0 || !known {
			fit = append(fit, o)
			ranks[rank]++
		}
	}
	for _, n := range ranks {
		sure = sure && n == 1
	}
	b.q.Objects = nil
	for _, o := range fit {
		b.q.Objects = append(b.q.Objects, o.Object)
	}
	chosen, found := b.q.sidecar()
	for i, o := range fit {
		what := b.forWhom(o)
		if sure && found && o.Namespace == chosen.Namespace && o.Name == chosen.Name {
			b.sidecar = &fit[i]
			what += ", and holds for " + b.who()
		} else if sure {
			what += ", and another one holds for " + b.who()
		}
		b.say(o.String(), "is %s%s", what, sidecarSays(o))
	}
}

// fits is the rank of a Sidecar for the client's pod as Question.sidecar has it; known is false where its labels alone cannot tell.
func (b *bearing) fits(o object) (rank int, known bool) {
	selects := o.selector()
	switch {
	case len(selects) > 0 && o.Namespace != b.client.Namespace:
		return 0, true
	case len(selects) > 0 && !onlyApp(selects):
		return 0, selects["app"] != "" && selects["app"] != b.client.Workload
	case len(selects) > 0 && has(b.q.Labels, selects):
		return 3, true
	case len(selects) > 0:
		return 0, true
	case o.Namespace == b.client.Namespace:
		return 2, true
	case o.Namespace == rootNamespace:
		return 1, true
	}
	return 0, true
}

// onlyApp says whether labels are such that a client's description tells whether its pod has them.
func onlyApp(labels map[string]string) bool {
	for k := range labels {
		if k != "app" {
			return false
		}
	}
	return true
}

func (b *bearing) forWhom(o object) string {
	switch selects := o.selector(); {
	case len(selects) > 0:
		return "for the pods with " + labelled(selects)
	case o.Namespace == rootNamespace:
		return "for all namespaces"
	}
	return "for the client's namespace"
}

func labelled(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// sidecarSays is what of a Sidecar concerns egress.
func sidecarSays(o object) string {
	out := ""
	if stanza, said := o.Spec["outboundTrafficPolicy"].(map[string]any); said {
		if mode := str(stanza["mode"]); mode != "" {
			out += "; its outbound policy is " + mode
		} else {
			out += "; its outbound policy has no mode"
		}
	}
	for _, e := range list(at(o.raw, "spec", "egress")) {
		out += "; it imports " + strings.Join(texts(at(e, "hosts")), ", ")
		if p := at(e, "port", "number"); p != nil {
			out += fmt.Sprintf(" for port %v", p)
		}
	}
	return out
}

// leftOut says that the Sidecar that holds for the client does not import an object's hosts. Nothing is said where hosts are bound to
// a port or excluded, or may overlap.
func (b *bearing) leftOut(o object, hosts []string) bool {
	if b.sidecar == nil {
		return false
	}
	listeners := list(b.sidecar.Spec["egress"])
	if len(listeners) == 0 {
		return false
	}
	for _, l := range listeners {
		for _, h := range texts(at(l, "hosts")) {
			ns, name, ok := strings.Cut(h, "/")
			if !ok || at(l, "port") != nil && slices.ContainsFunc(hosts, func(x string) bool { return overlap(name, x) }) {
				return false
			}
			if ns == "." {
				if ns = b.sidecar.Namespace; ns == rootNamespace { // whose own it means then, no document says
					return false
				}
			}
			if (ns == "*" || ns == o.Namespace) && slices.ContainsFunc(hosts, func(x string) bool { return overlap(name, x) }) {
				return false
			}
		}
	}
	return true
}

// overlap says whether two hosts, each of which may be a wildcard, have a name in common.
func overlap(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == "*" || b == "*" || a == b || eq(a, b) || eq(b, a)
}

// networkPolicies tells of those that select the client's pod, or may.
func (b *bearing) networkPolicies() {
	for _, o := range b.stage.objects {
		if o.Kind != "NetworkPolicy" || !b.known || o.Namespace != b.client.Namespace {
			continue
		}
		selects := textMap(at(o.Spec, "podSelector", "matchLabels"))
		whom := "all pods of the client's namespace"
		if len(selects) > 0 || at(o.Spec, "podSelector", "matchExpressions") != nil {
			if onlyApp(selects) && !has(map[string]string{"app": b.client.Workload}, selects) {
				continue
			}
			whom = "those pods of the client's namespace that its podSelector selects"
		}
		ways := texts(at(o.Spec, "policyTypes"))
		if len(ways) > 0 && !slices.Contains(ways, "Egress") {
			continue
		}
		b.say(o.String(), "allows %s connections to %s", whom, networks(o))
	}
}

// networks are where a NetworkPolicy lets pods connect to.
func networks(o object) string {
	var out []string
	for _, rule := range list(at(o.raw, "spec", "egress")) {
		to, ports := list(at(rule, "to")), ""
		for _, p := range list(at(rule, "ports")) {
			ports += fmt.Sprintf(", %s %v", cmp.Or(str(at(p, "protocol")), "TCP"), at(p, "port"))
		}
		if len(to) == 0 {
			out = append(out, "anywhere"+ports)
		}
		for _, t := range to {
			cidr := str(at(t, "ipBlock", "cidr"))
			if p, err := netip.ParsePrefix(cidr); err == nil && at(t, "ipBlock", "except") == nil {
				out = append(out, p.String()+ports)
				continue
			}
			if labels := textMap(at(t, "namespaceSelector", "matchLabels")); len(labels) == 1 && labels["kubernetes.io/metadata.name"] != "" && at(t, "podSelector") == nil {
				out = append(out, "namespace "+labels["kubernetes.io/metadata.name"]+ports)
				continue
			}
			out = append(out, compact(t)+ports)
		}
	}
	if len(out) == 0 {
		return "nowhere"
	}
	return strings.Join(atMost(slices.Compact(out), "ways"), "; ")
}
