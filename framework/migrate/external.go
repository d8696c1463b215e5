package migrate

import (
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// externalService turns the spec of an ExternalService, as it was in Istio 0.7 (istio/api
// networking/v1alpha3/external_service.proto), into that of a ServiceEntry.
func (e *editor) externalService(spec *input.Node) error {
	hosts := input.Value(spec, "hosts")
	if hosts == nil || hosts.Kind != yamlv3.SequenceNode || len(hosts.Content) == 0 {
		return e.mistake(input.At(spec, "hosts"), "spec.hosts must be a list of hosts")
	}
	ports := input.Value(spec, "ports")
	if ports == nil || ports.Kind != yamlv3.SequenceNode || len(ports.Content) == 0 {
		return e.mistake(input.At(spec, "ports"), "spec.ports must be a list of ports")
	}
	var addresses []*input.Node
	hosts.Content = slices.DeleteFunc(hosts.Content, func(h *input.Node) bool {
		if isAddress(h.Value) {
			addresses = append(addresses, h)
		}
		return isAddress(h.Value)
	})
	if len(addresses) > 0 {
		if len(hosts.Content) == 0 {
			standIn := strings.ReplaceAll(strings.Trim(e.label[strings.Index(e.label, " ")+1:], `"`), " ", "-") + ".egress.invalid"
			hosts.Content = append(hosts.Content, scalar(standIn))
			e.note(addresses[0], "the host %s is an address, and a ServiceEntry needs a host: %s is a name that nobody resolves", addresses[0].Value, standIn)
		}
		e.insert(spec, "hosts", "addresses", list(addresses...))
	}
	if index(spec, "discovery") >= 0 {
		e.rename(spec, "discovery", "resolution")
	} else {
		resolution := inferred(spec)
		e.note(spec, "discovery was not set, and Istio inferred it; resolution is %s now", resolution)
		e.insert(spec, "ports", "resolution", scalar(resolution))
	}
	e.insert(spec, "ports", "location", scalar("MESH_EXTERNAL"))
	return nil
}

// inferred is what Istio took where discovery was not set, by hosts and endpoints.
func inferred(spec *input.Node) string {
	endpoints := input.Value(spec, "endpoints")
	if endpoints == nil || len(endpoints.Content) == 0 {
		wild := func(h *input.Node) bool { return strings.HasPrefix(h.Value, "*") }
		if slices.ContainsFunc(input.Value(spec, "hosts").Content, wild) || index(spec, "addresses") >= 0 {
			return "NONE"
		}
		return "DNS"
	}
	if slices.ContainsFunc(endpoints.Content, func(n *input.Node) bool { return !isAddress(textOf(n, "address")) }) {
		return "DNS"
	}
	return "STATIC"
}
