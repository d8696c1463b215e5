package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// egressRule is an EgressRule as in Istio 0.2 to 0.7 (istio/api routing/v1alpha1/egress_rule.proto), with what it was
// before that (proxy/v1/config/egress_rule.proto): type instead of kind, and spec.name and spec.domains.
type egressRule struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Namespace  string         `json:"namespace"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Name        string   `json:"name"`
		Domains     []string `json:"domains"`
		Destination struct {
			Service string `json:"service"`
			// Istio ignored these.
			Name      string            `json:"name"`
			Namespace string            `json:"namespace"`
			Domain    string            `json:"domain"`
			Labels    map[string]string `json:"labels"`
		} `json:"destination"`
		Ports []struct {
			Port     int    `json:"port"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
		UseEgressProxy bool `json:"use_egress_proxy"`
		UseProxy       bool `json:"useEgressProxy"`
	} `json:"spec"`
}

// protocols of an EgressRule and the port protocol of a ServiceEntry. "https" meant that the application speaks HTTP and
// the sidecar opens TLS.
var protocols = map[string]string{"http": "HTTP", "https": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "tcp": "TCP", "mongo": "MONGO"}

// egressRule turns an EgressRule into a ServiceEntry. A DestinationRule is further returned for ports that were https.
func (e *editor) egressRule(n, resolved *input.Node) ([]*input.Node, error) {
	var r egressRule
	if err := e.decode(resolved, &r); err != nil {
		return nil, err
	}
	hosts := r.Spec.Domains
	if r.Spec.Destination.Service != "" {
		hosts = append([]string{r.Spec.Destination.Service}, hosts...)
	}
	if len(hosts) == 0 || len(r.Spec.Ports) == 0 {
		return nil, e.mistake(input.At(resolved, "spec"), "spec.destination.service and spec.ports must be set")
	}
	if slices.Contains(hosts, "*") {
		e.res.Left++
		e.note(n, "left as it is: the destination * opened everything, which no ServiceEntry may; meshConfig.outboundTrafficPolicy.mode ALLOW_ANY does")
		return nil, nil
	}
	spec := input.Value(n, "spec")
	ports := input.Value(spec, "ports")
	var originate []*input.Node
	for i, p := range r.Spec.Ports {
		tls, err := e.port(ports.Content[i], input.Value(resolved, "spec", "ports", i), p.Port, strings.ToLower(p.Protocol))
		if err != nil {
			return nil, err
		}
		if tls {
			originate = append(originate, mapping("port", mapping("number", literal(fmt.Sprint(p.Port))), "tls", mapping("mode", "SIMPLE")))
		}
	}
	e.head(n, "ServiceEntry")
	hosts = e.destination(n, spec)
	if r.Spec.UseEgressProxy || r.Spec.UseProxy {
		e.note(proxyField(spec), "use_egress_proxy was true: the way through an egress gateway needs a Gateway and a VirtualService of its own, which are not made here")
	}
	e.remove(spec, "use_egress_proxy")
	e.remove(spec, "useEgressProxy")
	if len(originate) == 0 {
		return nil, nil
	}
	var rules []*input.Node
	for i, host := range hosts {
		rules = append(rules, originating(n, host, i, originate))
	}
	return rules, nil
}

func proxyField(spec *input.Node) *input.Node {
	if index(spec, "use_egress_proxy") >= 0 {
		return input.At(spec, "use_egress_proxy")
	}
	return input.At(spec, "useEgressProxy")
}

// originating is a DestinationRule that opens TLS to a host of the ServiceEntry n.
func originating(n *input.Node, host string, i int, ports []*input.Node) *input.Node {
	own := textOf(n, "metadata", "name")
	if i > 0 {
		own = fmt.Sprintf("%s-%d", own, i+1)
	}
	meta := mapping("name", own)
	if ns := textOf(n, "metadata", "namespace"); ns != "" {
		meta.Content = append(meta.Content, scalar("namespace"), scalar(ns))
	}
	return mapping("apiVersion", current, "kind", "DestinationRule", "metadata", meta,
		"spec", mapping("host", host, "trafficPolicy", mapping("portLevelSettings", copied(list(ports...)))))
}

// decode reads an object of an early version for what it says, strictly.
func (e *editor) decode(n *input.Node, into any) error {
	d := &input.Decoder{File: e.file}
	d.Value(n, into)
	for i := range d.Found {
		d.Found[i].What = e.label + ": " + d.Found[i].What
	}
	if err := d.Found.Err(); err != nil {
		return err
	}
	if name(n) == "without a name" {
		return e.mistake(n, "metadata.name must be set")
	}
	return nil
}

// port turns a port of an EgressRule into one of a ServiceEntry, and says whether the sidecar opened TLS on it.
func (e *editor) port(p, resolved *input.Node, number int, protocol string) (tls bool, err error) {
	kind, ok := protocols[protocol]
	switch {
	case number < 1 || number > 65535:
		return false, e.mistake(input.At(resolved, "port"), "port %d is out of range", number)
	case !ok:
		return false, e.mistake(input.At(resolved, "protocol"), "protocol %q is unknown; known: http, https, http2, grpc, tcp, mongo", textOf(resolved, "protocol"))
	case protocol == "https":
		e.note(input.At(resolved, "protocol"), "port %d was https: the application goes on speaking HTTP to it and the sidecar opens TLS; an application that opens TLS itself needs protocol HTTPS and no DestinationRule", number)
	}
	e.replace(input.Value(p, "protocol"), kind)
	e.rename(p, "port", "number")
	e.insert(p, "number", "name", scalar(fmt.Sprintf("%s-%d", protocol, number)))
	return protocol == "https", nil
}

// targets are the nodes that say where an EgressRule leads: names, wildcards or addresses.
func targets(spec *input.Node) []*input.Node {
	var out []*input.Node
	if service := input.Value(spec, "destination", "service"); service != nil {
		take(input.At(spec, "destination", "service"), service)
		out = append(out, service)
	}
	if domains := input.Value(spec, "domains"); domains != nil {
		out = append(out, domains.Content...)
	}
	return out
}

// destination says where in the words of a ServiceEntry, and returns its hosts.
func (e *editor) destination(n, spec *input.Node) []string {
	var names []string
	var hosts, addresses []*input.Node
	resolution := "DNS"
	for _, t := range targets(spec) {
		to := scalar(t.Value)
		if isAddress(t.Value) {
			resolution = "NONE"
			standIn := textOf(n, "metadata", "name") + ".egress.invalid"
			e.note(t, "the destination %s is an address, and a ServiceEntry needs a host: %s is a name that nobody resolves", t.Value, standIn)
			if len(addresses) == 0 {
				hosts, names = append(hosts, scalar(standIn)), append(names, standIn)
			}
			addresses = append(addresses, to)
		} else {
			if strings.HasPrefix(t.Value, "*") {
				resolution = "NONE"
				e.note(t, "the destination %s is a wildcard: connections go to the address that the application has resolved, and the Host header or SNI is trusted", t.Value)
			}
			hosts, names = append(hosts, to), append(names, t.Value)
		}
		take(t, to)
	}
	from := "destination"
	if index(spec, from) < 0 {
		from = "domains"
	}
	e.rename(spec, from, "hosts")
	e.set(spec, "hosts", list(hosts...))
	e.remove(spec, "domains")
	if len(addresses) > 0 {
		e.insert(spec, "hosts", "addresses", list(addresses...))
		e.byHost(spec)
	}
	e.insert(spec, "ports", "location", scalar("MESH_EXTERNAL"))
	e.insert(spec, "location", "resolution", scalar(resolution))
	return names
}

// byHost notes the ports whose requests are told apart by their Host header.
func (e *editor) byHost(spec *input.Node) {
	for _, p := range input.Value(spec, "ports").Content {
		if protocol := textOf(p, "protocol"); protocol != "TCP" && protocol != "MONGO" {
			e.note(p, "port %s has protocol %s with an address instead of a host name; requests are matched by Host header now", textOf(p, "number"), protocol)
		}
	}
}

func isAddress(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}
