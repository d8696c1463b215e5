package why

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// routing tells of objects that lead calls of the names somewhere, or stand on the way.
func (b *bearing) routing(o object) {
	switch {
	case o.Kind == "VirtualService":
		b.virtualService(o)
	case o.Kind == "Gateway" && strings.HasSuffix(o.group, "istio.io"):
		b.gateway(o)
	case o.Kind == "Gateway":
		b.gatewayAPI(o)
	case strings.HasSuffix(o.Kind, "Route"):
		b.route(o)
	}
}

// fqdn is a host as a rule means it: one without a dot is a Service of the rule's namespace.
func fqdn(host, namespace string) string {
	if strings.Contains(host, ".") || host == "*" || host == "" {
		return strings.ToLower(host)
	}
	return strings.ToLower(host + "." + namespace + ".svc.cluster.local")
}

// matched are those of some hosts that stand for a name of the call, or for a Service that it names.
func (b *bearing) matched(shown []string, namespace string) []string {
	var out []string
	for _, h := range shown {
		full := fqdn(b.expand.Replace(h), namespace)
		hit := slices.ContainsFunc(b.call.names, func(n called) bool { return eq(full, n.name) })
		for _, s := range b.parents {
			hit = hit || s.isService() && slices.ContainsFunc(b.serviceNames(s), func(n string) bool { return eq(full, n) })
		}
		if hit {
			out = append(out, h)
		}
	}
	return out
}

// leading notes hosts to which routes lead, for the rules about them.
func (b *bearing) leading(host, namespace string) {
	if full := fqdn(b.expand.Replace(host), namespace); !slices.Contains(b.leads, full) {
		b.leads = append(b.leads, full)
	}
}

func (b *bearing) virtualService(o object) {
	hosts := b.matched(texts(at(o.raw, "spec", "hosts")), o.Namespace)
	if len(hosts) == 0 {
		return
	}
	text := "names " + few(hosts)
	if gateways := texts(at(o.raw, "spec", "gateways")); len(gateways) > 0 && !slices.Contains(gateways, "mesh") {
		text += fmt.Sprintf(" for gateway %s, not for sidecars", few(gateways))
	}
	var rules []string
	for _, kind := range []string{"http", "tls", "tcp"} {
		for _, r := range list(at(o.raw, "spec", kind)) {
			rules = append(rules, kind+" "+b.rule(o, r))
		}
	}
	if len(rules) > 0 {
		text += ": " + strings.Join(atMost(rules, "rules"), "; ")
	}
	if unseen := b.unseen(o, "defaultVirtualServiceExportTo"); unseen != "" {
		text += "; but it " + unseen
	}
	b.say(o.String(), "%s", text)
}

// atMost are the first of a list, with the number of the others.
func atMost(of []string, what string) []string {
	const shown = 4
	if len(of) <= shown {
		return of
	}
	return append(slices.Clone(of[:shown-1]), fmt.Sprintf("and %d more %s", len(of)-shown+1, what))
}

// rule is one route of a VirtualService: what must match, and what becomes of it then.
func (b *bearing) rule(o object, r any) string {
	var where []string
	for _, m := range list(at(r, "match")) {
		where = append(where, fieldsOf(m))
	}
	text := ""
	if len(where) > 0 {
		text = "(" + strings.Join(where, " or ") + ") "
	}
	var does, to []string
	for _, d := range list(at(r, "route")) {
		host := str(at(d, "destination", "host"))
		b.leading(host, o.Namespace)
		t := host
		if p := at(d, "destination", "port", "number"); p != nil {
			t += fmt.Sprintf(" port %v", p)
		}
		if s := str(at(d, "destination", "subset")); s != "" {
			t += " subset " + s
		}
		if w := at(d, "weight"); w != nil {
			t += fmt.Sprintf(" (weight %v)", w)
		}
		to = append(to, t)
	}
	if len(to) > 0 {
		does = append(does, "leads to "+few(to))
	}
	fields, _ := r.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if k == "match" || k == "route" || k == "name" {
			continue
		}
		if host := str(at(fields[k], "host")); host != "" {
			b.leading(host, o.Namespace)
		}
		does = append(does, "has "+k+" "+fieldsOf(fields[k]))
	}
	if len(does) == 0 {
		return text + "leads nowhere"
	}
	return text + joined(does)
}

// gateway tells of servers of a gateway that are open for a name.
func (b *bearing) gateway(o object) {
	for _, s := range list(at(o.raw, "spec", "servers")) {
		var hosts []string
		for _, h := range texts(at(s, "hosts")) {
			bare := h
			if _, after, ok := strings.Cut(h, "/"); ok {
				bare = after
			}
			if len(b.matched([]string{bare}, o.Namespace)) > 0 {
				hosts = append(hosts, h)
			}
		}
		if len(hosts) == 0 {
			continue
		}
		text := fmt.Sprintf("opens port %v (%v) for %s at the pods with %s", at(s, "port", "number"), at(s, "port", "protocol"), few(hosts), labelled(textMap(at(o.raw, "spec", "selector"))))
		if mode := str(at(s, "tls", "mode")); mode != "" {
			text += ", TLS " + mode
		}
		b.say(o.String(), "%s", text)
	}
}

// gatewayAPI tells of listeners of a gateway of the Gateway API that are open for a name.
func (b *bearing) gatewayAPI(o object) {
	for _, l := range list(at(o.raw, "spec", "listeners")) {
		host := str(at(l, "hostname"))
		if host != "" && len(b.matched([]string{host}, o.Namespace)) == 0 {
			continue
		}
		whom := "whatever host"
		if host != "" {
			whom = host
		}
		b.say(o.String(), "opens port %v (%v) for %s", at(l, "port"), at(l, "protocol"), whom)
	}
}

// route tells of a route of the Gateway API that is bound to an entry or a Service of the call, or to a gateway for its names.
func (b *bearing) route(o object) {
	hostnames := texts(at(o.raw, "spec", "hostnames"))
	mine := b.matched(hostnames, o.Namespace)
	var parents []string
	for _, p := range list(at(o.raw, "spec", "parentRefs")) {
		kind, name, ns := str(at(p, "kind")), str(at(p, "name")), b.expand.Replace(str(at(p, "namespace")))
		if ns == "" {
			ns = o.Namespace
		}
		bound := slices.ContainsFunc(b.parents, func(x object) bool { return x.Kind == kind && x.Name == name && x.Namespace == ns })
		if kind == "" {
			kind = "Gateway"
		}
		if bound || kind == "Gateway" && (len(mine) > 0 || len(hostnames) == 0) || len(mine) > 0 {
			t := kind + " " + name
			if port := at(p, "port"); port != nil {
				t += fmt.Sprintf(" port %v", port)
			}
			parents = append(parents, t)
		}
	}
	if len(parents) == 0 {
		return
	}
	var rules []string
	for _, r := range list(at(o.raw, "spec", "rules")) {
		rules = append(rules, b.backends(o, r))
	}
	text := "is bound to " + joined(parents)
	if len(hostnames) > 0 {
		text += " for " + few(hostnames)
		if len(mine) == 0 {
			text += ", which is none of the call's names"
		}
	}
	if len(rules) > 0 {
		text += ": " + strings.Join(atMost(rules, "rules"), "; ")
	}
	b.say(o.String(), "%s", text)
}

// backends is one rule of a route.
func (b *bearing) backends(o object, r any) string {
	var to, does []string
	for _, x := range list(at(r, "backendRefs")) {
		name, ns := str(at(x, "name")), str(at(x, "namespace"))
		t := name
		if ns != "" {
			t = ns + "/" + name
		}
		if kind := str(at(x, "kind")); kind == "Hostname" {
			b.leading(name, o.Namespace)
		} else {
			if ns == "" {
				ns = o.Namespace
			}
			b.leading(name+"."+ns+".svc.cluster.local", o.Namespace)
		}
		if p := at(x, "port"); p != nil {
			t += fmt.Sprintf(" port %v", p)
		}
		if w := at(x, "weight"); w != nil {
			t += fmt.Sprintf(" (weight %v)", w)
		}
		to = append(to, t)
	}
	if len(to) > 0 {
		does = append(does, "leads to "+few(to))
	} else {
		does = append(does, "has no backends")
	}
	fields, _ := r.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if k != "backendRefs" && k != "name" {
			does = append(does, "has "+k+" "+fieldsOf(fields[k]))
		}
	}
	return joined(does)
}

// connecting tells of DestinationRules for a name of the call, or for a host that a route leads to.
func (b *bearing) connecting(o object) {
	if o.Kind != "DestinationRule" {
		return
	}
	shown := str(at(o.raw, "spec", "host"))
	full := fqdn(b.expand.Replace(shown), o.Namespace)
	if len(b.matched([]string{shown}, o.Namespace)) == 0 && !slices.ContainsFunc(b.leads, func(h string) bool { return eq(full, h) }) {
		return
	}
	says := traffic(at(o.raw, "spec", "trafficPolicy"), "")
	for _, s := range list(at(o.raw, "spec", "subsets")) {
		name := str(at(s, "name"))
		own := traffic(at(s, "trafficPolicy"), "")
		if len(own) == 0 {
			own = []string{"no settings of its own"}
		}
		says = append(says, fmt.Sprintf("has subset %s with %s", name, strings.Join(own, " and ")))
	}
	text := "is for " + shown
	if len(says) > 0 {
		text += ": " + strings.Join(atMost(says, "settings"), "; ")
	}
	if labels := textMap(at(o.raw, "spec", "workloadSelector", "matchLabels")); len(labels) > 0 {
		text += "; for the pods with " + labelled(labels)
	}
	if unseen := b.unseen(o, "defaultDestinationRuleExportTo"); unseen != "" {
		text += "; but it " + unseen
	}
	b.say(o.String(), "%s", text)
}

// traffic is what a traffic policy says.
func traffic(policy any, port string) []string {
	fields, _ := policy.(map[string]any)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		switch k {
		case "port":
		case "portLevelSettings":
			for _, x := range list(fields[k]) {
				out = append(out, traffic(x, fmt.Sprintf(" at port %v", at(x, "port", "number")))...)
			}
		case "tls":
			out = append(out, tlsOf(fields[k])+port)
		default:
			out = append(out, k+" "+fieldsOf(fields[k])+port)
		}
	}
	return out
}

// tlsOf is what TLS settings of a DestinationRule say.
func tlsOf(v any) string {
	mode := str(at(v, "mode"))
	if mode == "" || mode == "DISABLE" {
		return "tls " + fieldsOf(v)
	}
	rest, _ := v.(map[string]any)
	rest = maps.Clone(rest)
	delete(rest, "mode")
	text := "originates TLS (" + mode + ")"
	if len(rest) > 0 {
		text = fmt.Sprintf("originates TLS (%s; %s)", mode, fieldsOf(rest))
	}
	return text
}

// quiet are kinds that decide about no call by themselves, or that are told of elsewhere.
var quiet = []string{
	"ServiceEntry", "Service", "EndpointSlice", "Endpoints", "WorkloadEntry", "VirtualService", "DestinationRule", "Gateway", "Sidecar", "NetworkPolicy",
	"Secret", "ConfigMap", "Role", "RoleBinding", "ServiceAccount", "Namespace", "Deployment", "Pod", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
}

// whatever tells of other objects that may concern any call.
func (b *bearing) whatever(o object) {
	if slices.Contains(quiet, o.Kind) || strings.HasSuffix(o.Kind, "Route") {
		return
	}
	selects := map[string]string{}
	for _, path := range [][]string{{"selector", "matchLabels"}, {"workloadSelector", "labels"}, {"podSelector", "matchLabels"}} {
		for k, v := range textMap(at(o.raw, append([]string{"spec"}, path...)...)) {
			selects[k] = v
		}
	}
	whom := "is there"
	if len(selects) > 0 {
		whom += ", for the pods with " + labelled(selects)
	}
	if action := str(at(o.raw, "spec", "action")); action != "" {
		whom += ", with action " + action
	}
	if o.Kind == "ReferenceGrant" {
		whom = fmt.Sprintf("lets %s refer to %s", compact(at(o.raw, "spec", "from")), compact(at(o.raw, "spec", "to")))
	}
	b.say(o.String(), "%s", whom)
}
