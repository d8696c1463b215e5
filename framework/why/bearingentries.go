package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// portOf is a port of an entry or a Service. The protocol is as it was written.
type portOf struct {
	number, target int
	protocol       string
}

func (p portOf) String() string {
	if p.protocol == "" {
		return fmt.Sprint(p.number)
	}
	return fmt.Sprintf("%d (%s)", p.number, p.protocol)
}

// listens are the ports of an entry or a Service.
func (o object) listens() []portOf {
	var out []portOf
	for _, x := range list(o.Spec["ports"]) {
		p := portOf{number: number(cmp.Or(at(x, "number"), at(x, "port"))), target: number(at(x, "targetPort"))}
		if p.protocol = strings.ToUpper(str(at(x, "protocol"))); o.Kind == "Service" {
			p.protocol = cmp.Or(str(at(x, "appProtocol")), str(at(x, "name")))
		}
		out = append(out, p)
	}
	return out
}

func (o object) listen(number int) (portOf, bool) {
	all := o.listens()
	i := slices.IndexFunc(all, func(p portOf) bool { return p.number == number })
	if i < 0 {
		return portOf{}, false
	}
	return all[i], true
}

func (o object) portList() string {
	var out []string
	for _, p := range o.listens() {
		out = append(out, p.String())
	}
	if len(out) == 0 {
		return "none"
	}
	return few(out)
}

// withPort says whether an object has the port of the call.
func (b *bearing) withPort(o object) (text string, has bool) {
	if b.call.port == 0 || b.call.protocol.Question {
		return "and has port " + o.portList(), true
	}
	p, ok := o.listen(b.call.port)
	if !ok {
		return fmt.Sprintf("but has no port %d, only %s", b.call.port, o.portList()), false
	}
	text = "and has port " + p.String()
	if p.target > 0 && p.target != p.number {
		text += fmt.Sprintf(", which leads to port %d", p.target)
	}
	if o.Kind == "ServiceEntry" {
		text += b.spoken(p)
	}
	return text, true
}

// Protocols of ports that are plain HTTP, and TLS.
var (
	plainHTTP = []string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB"}
	encrypted = []string{"TLS", "HTTPS"}
)

// spoken says where a port's protocol is another one than the probe speaks.
func (b *bearing) spoken(p portOf) string {
	switch k := b.call.protocol; {
	case k.GRPC || k.Scheme == "": // whether it encrypts depends on more than the scheme
		return ""
	case k.TLS && slices.Contains(plainHTTP, p.protocol):
		return ", and the probe speaks TLS"
	case !k.TLS && k.Stream && slices.Contains(encrypted, p.protocol):
		return ", and the probe does not speak TLS"
	}
	return ""
}

// entry tells of a ServiceEntry that has the host or the address.
func (b *bearing) entry(o object) {
	if o.Kind != "ServiceEntry" {
		return
	}
	var clauses []string
	names, heard := b.named(texts(at(o.raw, "spec", "hosts")))
	if len(names) > 0 {
		clauses = append(clauses, "names "+few(names))
	}
	addresses := b.addressed(o.texts("addresses"))
	heard = heard || len(addresses) > 0
	clauses = append(clauses, addresses...)
	if len(clauses) == 0 {
		return
	}
	b.parents = append(b.parents, o)
	port, has := b.withPort(o)
	text := joined(clauses)
	if strings.Contains(text, ", ") || len(clauses) > 1 || !strings.HasPrefix(port, "and") {
		text += ","
	}
	text += " " + port
	if a := texts(at(o.raw, "spec", "addresses")); len(a) > 0 && b.call.protocol.Question {
		text += ", and the address " + few(a)
	}
	text += b.resolved(o)
	unseen := b.unseen(o, "defaultServiceExportTo")
	if b.leftOut(o, o.hosts()) {
		unseen = strings.TrimPrefix(unseen+fmt.Sprintf(" and %s does not import it", b.sidecar), " and ")
	}
	switch {
	case strings.HasPrefix(unseen, "is "):
		text += "; but it " + unseen
	case unseen != "":
		text += "; but " + unseen
	}
	b.opened = b.opened || has && heard && unseen == ""
	b.say(o.String(), "%s", text)
	b.workloads(o)
}

// resolved says where an entry leads, where that is not its host as DNS knows it.
func (b *bearing) resolved(o object) string {
	resolution := cmp.Or(str(o.Spec["resolution"]), "NONE")
	if label := o.labels["networking.istio.io/enable-autoallocate-ip"]; label != "" && b.call.protocol.Question {
		resolution += ", enable-autoallocate-ip: " + label
	}
	var to []string
	for _, e := range list(at(o.raw, "spec", "endpoints")) {
		t := str(at(e, "address"))
		if ports, ok := at(e, "ports").(map[string]any); ok {
			t += " " + compact(ports)
		}
		to = append(to, t)
	}
	selects := textMap(at(o.Spec, "workloadSelector", "labels"))
	switch {
	case len(to) > 0:
		return fmt.Sprintf("; resolution %s, endpoints %s", resolution, few(to))
	case len(selects) > 0:
		return fmt.Sprintf("; resolution %s, endpoints are the workloads with %s", resolution, labelled(selects))
	case resolution == "STATIC":
		return "; resolution STATIC, and no endpoints"
	case resolution != "DNS":
		return "; resolution " + resolution
	}
	return ""
}

// workloads tells of the WorkloadEntries that an entry selects.
func (b *bearing) workloads(o object) {
	selects := textMap(at(o.Spec, "workloadSelector", "labels"))
	if len(selects) == 0 {
		return
	}
	found := false
	for _, x := range b.stage.objects {
		if labels := textMap(at(x.Spec, "labels")); x.Kind == "WorkloadEntry" && x.Namespace == o.Namespace && has(labels, selects) {
			found = true
			b.say(x.String(), "has %s and the address %s", labelled(selects), str(at(x.raw, "spec", "address")))
		}
	}
	if !found {
		b.say("", "no WorkloadEntry of the case has %s", labelled(selects))
	}
}

func (o object) isService() bool { return o.Kind == "Service" && o.group == "" }

// serviceNames are those by which the client's pod may call a Service.
func (b *bearing) serviceNames(o object) []string {
	full := strings.ToLower(o.Name + "." + o.Namespace)
	out := []string{full, full + ".svc", full + ".svc.cluster.local"}
	if o.Namespace == b.client.Namespace {
		out = append(out, strings.ToLower(o.Name))
	}
	return out
}

// service tells of a Service that has the name or, without an address of its own, an endpoint that is dialled.
func (b *bearing) service(o object) {
	if !o.isService() {
		return
	}
	alias := str(at(o.Spec, "externalName"))
	if str(at(o.Spec, "type")) == "ExternalName" && alias != "" {
		b.alias(o, alias)
		return
	}
	var clauses []string
	for _, n := range b.call.names {
		if slices.Contains(b.serviceNames(o), n.name) {
			clauses = append(clauses, "has the name "+n.shown)
		}
	}
	headless := str(at(o.Spec, "clusterIP")) == "None"
	if headless {
		for _, a := range b.addressed(b.endpointsOf(o)) {
			clauses = append(clauses, "is headless, and an endpoint of it "+a)
		}
	}
	if len(clauses) == 0 {
		return
	}
	b.parents = append(b.parents, o)
	port, has := b.withPort(o)
	unseen := b.otherRevision(o)
	if to := o.annotations["networking.istio.io/exportTo"]; to != "" {
		unseen = "is exported to " + to
	}
	b.opened = b.opened || has && unseen == ""
	if unseen != "" {
		port += "; it " + unseen
	}
	b.say(o.String(), "%s, %s", joined(clauses), port)
}

// alias tells of a Service that stands for a name outside.
func (b *bearing) alias(o object, of string) {
	mine := slices.ContainsFunc(b.call.names, func(n called) bool { return slices.Contains(b.serviceNames(o), n.name) })
	its := slices.ContainsFunc(b.call.names, func(n called) bool { return strings.EqualFold(n.name, of) })
	if !mine && !its {
		return
	}
	b.parents = append(b.parents, o)
	b.opened = b.opened || mine // what is asked of an alias, its host decides
	b.say(o.String(), "is an alias of %s (ExternalName), with port %s", of, o.portList())
	for _, x := range b.stage.objects {
		if mine && x.Kind == "ServiceEntry" && slices.ContainsFunc(x.hosts(), func(h string) bool { return eq(h, strings.ToLower(of)) }) {
			port, _ := b.withPort(x)
			b.say(x.String(), "names %s, of which %s is an alias, %s", of, o, port)
		}
	}
	if mine && !slices.ContainsFunc(b.stage.objects, func(x object) bool {
		return x.Kind == "ServiceEntry" && slices.ContainsFunc(x.hosts(), func(h string) bool { return eq(h, strings.ToLower(of)) })
	}) {
		b.say("", "no ServiceEntry of the case names %s, and %s", of, b.policy())
	}
}

// serviceLabel binds an EndpointSlice to its Service.
const serviceLabel = "kubernetes.io/service-name"

// ofService says whether an object has endpoints of a Service.
func (o object) ofService(s object) bool {
	return o.Namespace == s.Namespace && (o.Kind == "EndpointSlice" && o.labels[serviceLabel] == s.Name || o.Kind == "Endpoints" && o.Name == s.Name)
}

// endpointsOf are the addresses that objects of the case give a Service.
func (b *bearing) endpointsOf(s object) []string {
	var out []string
	for _, o := range b.stage.objects {
		if o.ofService(s) {
			out = append(out, o.endpointAddresses()...)
		}
	}
	return out
}

func (o object) endpointAddresses() []string {
	var out []string
	for _, e := range list(o.raw["endpoints"]) {
		out = append(out, texts(at(e, "addresses"))...)
	}
	for _, s := range list(o.raw["subsets"]) {
		for _, a := range list(at(s, "addresses")) {
			out = append(out, str(at(a, "ip")))
		}
	}
	return out
}

// endpoints tells of those of the Services that were named.
func (b *bearing) endpoints(o object) {
	for _, s := range b.parents {
		if s.isService() && o.ofService(s) {
			b.say(o.String(), "gives %s the endpoints %s", s, few(o.endpointAddresses()))
		}
	}
}

// portAlone says how an object that has the port of the call and neither its host nor its address bears on it; "" for not at all.
func (b *bearing) portAlone(o object) string {
	if b.call.protocol.Question || o.Kind != "ServiceEntry" && !o.isService() || slices.ContainsFunc(b.parents, o.is) || b.unseen(o, "defaultServiceExportTo") != "" {
		return ""
	}
	hosts := texts(at(o.raw, "spec", "hosts"))
	if o.isService() {
		hosts = []string{"the name " + o.Name}
	} else if b.leftOut(o, o.hosts()) {
		return ""
	}
	for _, p := range o.listens() {
		if b.call.port != 0 && b.call.port != p.number {
			continue
		}
		if o.Kind == "ServiceEntry" && len(o.texts("addresses")) == 0 && p.bytes() {
			return fmt.Sprintf("has port %s without an address, so that calls of that port to other hosts may be taken for its own; it names %s", p, few(hosts))
		}
	}
	p, ok := o.listen(b.call.port)
	if !ok || b.opened {
		return ""
	}
	if a := o.texts("addresses"); len(a) > 0 {
		return fmt.Sprintf("has port %s, for %s at %s", p, few(hosts), few(a))
	}
	return fmt.Sprintf("has port %s, for %s", p, few(hosts))
}

// bytes says whether connections to a port are carried by their address alone: their protocol has no host in it, or is not known.
func (p portOf) bytes() bool {
	return !slices.Contains(plainHTTP, p.protocol) && !slices.Contains(encrypted, p.protocol) && p.protocol != "UDP"
}
