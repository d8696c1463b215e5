// Package migrate turns EgressRules, which Istio removed after 0.7, into the ServiceEntries and
// DestinationRules that replace them. It reads and writes YAML and needs no cluster.
package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/input"
)

// egressRule is config.istio.io/v1alpha2 EgressRule, as in Istio 0.2 to 0.7
// (istio/api routing/v1alpha1/egress_rule.proto).
type egressRule struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Destination struct {
			Service string `json:"service"`
		} `json:"destination"`
		Ports []struct {
			Port     int    `json:"port"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
		UseEgressProxy bool `json:"use_egress_proxy,omitempty"`
	} `json:"spec"`
}

// Result is what a file became.
type Result struct {
	YAML  []byte
	Rules int      // EgressRules that were read
	Notes []string // what could not be carried over, or means something else now
}

type object = map[string]any

// protocols of an EgressRule and the port protocol of a ServiceEntry. "https" is not here: it meant
// that the application speaks HTTP and the sidecar opens TLS.
var protocols = map[string]string{"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "tcp": "TCP", "mongo": "MONGO"}

// EgressRules converts a YAML file; file is its name, for errors, which have the line too. Documents of other kinds
// are an error: nothing is dropped silently.
func EgressRules(file string, in []byte) (*Result, error) {
	res := &Result{}
	var out bytes.Buffer
	docs, err := input.Documents(file, in)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		var r egressRule
		if err := input.Decode(doc, &r); err != nil {
			return nil, fmt.Errorf("%s:%d: this is no EgressRule: %w", file, doc.Line, err)
		}
		objs, notes, err := convert(r)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: EgressRule %q: %w", file, doc.Line, r.Metadata.Name, err)
		}
		res.Rules++
		res.Notes = append(res.Notes, notes...)
		for _, o := range objs {
			b, err := yaml.Marshal(o)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "---\n%s", b)
		}
	}
	if res.Rules == 0 {
		return nil, fmt.Errorf("%s: no EgressRule in it", file)
	}
	res.YAML = out.Bytes()
	return res, nil
}

func convert(r egressRule) (objs []object, notes []string, err error) {
	if r.Kind != "EgressRule" {
		return nil, nil, fmt.Errorf("kind is %q; only EgressRule can be converted", r.Kind)
	}
	if r.Metadata.Name == "" || r.Spec.Destination.Service == "" || len(r.Spec.Ports) == 0 {
		return nil, nil, errors.New("metadata.name, spec.destination.service and spec.ports must be set")
	}
	note := func(format string, a ...any) {
		notes = append(notes, fmt.Sprintf("%s: "+format, append([]any{r.Metadata.Name}, a...)...))
	}
	spec, host := target(r, note)
	var ports []any
	originate := []any{}
	for _, p := range r.Spec.Ports {
		if p.Port < 1 || p.Port > 65535 {
			return nil, nil, fmt.Errorf("port %d is out of range", p.Port)
		}
		proto := strings.ToLower(p.Protocol)
		kind, ok := protocols[proto]
		if proto == "https" {
			kind, ok = "HTTP", true
			originate = append(originate, object{"port": object{"number": p.Port}, "tls": object{"mode": "SIMPLE"}})
			note("port %d was https: the application goes on speaking HTTP to it and the sidecar opens TLS; an application that opens TLS itself needs protocol HTTPS and no DestinationRule", p.Port)
		}
		if !ok {
			return nil, nil, fmt.Errorf("protocol %q is unknown; known: http, https, http2, grpc, tcp, mongo", p.Protocol)
		}
		if spec["addresses"] != nil && kind != "TCP" && kind != "MONGO" {
			note("port %d has protocol %s with an address instead of a host name; requests are matched by Host header now", p.Port, p.Protocol)
		}
		ports = append(ports, object{"number": p.Port, "name": fmt.Sprintf("%s-%d", proto, p.Port), "protocol": kind})
	}
	spec["ports"] = ports
	if r.Spec.UseEgressProxy {
		note("use_egress_proxy was true: the way through an egress gateway needs a Gateway and a VirtualService of its own, which are not made here")
	}
	meta := object{"name": r.Metadata.Name}
	if r.Metadata.Namespace != "" {
		meta["namespace"] = r.Metadata.Namespace
	}
	objs = append(objs, object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": meta, "spec": spec})
	if len(originate) > 0 {
		objs = append(objs, object{
			"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta,
			"spec": object{"host": host, "trafficPolicy": object{"portLevelSettings": originate}},
		})
	}
	return objs, notes, nil
}

// target is the part of a ServiceEntry that says where: by name, by wildcard or by address.
func target(r egressRule, note func(string, ...any)) (spec object, host string) {
	service := r.Spec.Destination.Service
	spec = object{"location": "MESH_EXTERNAL", "resolution": "DNS", "hosts": []any{service}}
	switch {
	case isAddress(service):
		host = r.Metadata.Name + ".egress.invalid"
		spec["hosts"], spec["addresses"], spec["resolution"] = []any{host}, []any{service}, "NONE"
		note("the destination is an address, and a ServiceEntry needs a host: %s is a name that nobody resolves", host)
		return spec, host
	case service == "*":
		note("the destination * opened everything; a ServiceEntry cannot, meshConfig.outboundTrafficPolicy.mode ALLOW_ANY can")
		spec["resolution"] = "NONE"
	case strings.HasPrefix(service, "*"):
		spec["resolution"] = "NONE"
		note("the destination is a wildcard: connections go to the address that the application has resolved, and the Host header or SNI is trusted")
	}
	return spec, service
}

func isAddress(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}
