package migrate

import (
	"maps"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	networkingv1 "istio.io/api/networking/v1"

	"mesh-egress-conformance/framework/input"
)

// legacyPolicy is a RouteRule or a DestinationPolicy (istio/api routing/v1alpha1) as far as it is read as a whole.
type legacyPolicy struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Namespace  string         `json:"namespace"`
	Metadata   map[string]any `json:"metadata"`
	Spec       map[string]any `json:"spec"`
}

// service is how early versions named a service.
type service struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Domain    string            `json:"domain"`
	Service   string            `json:"service"`
	Labels    map[string]string `json:"labels"`
}

// host is the name of the service as networking.istio.io has it.
func (s service) host() string {
	switch {
	case s.Service != "":
		return s.Service
	case s.Name == "" || s.Namespace == "" && s.Domain == "":
		return s.Name // a short name belongs to the namespace of its rule, then as now
	case s.Domain == "":
		return s.Name + "." + s.Namespace + ".svc.cluster.local"
	case s.Namespace == "":
		return s.Name + "." + s.Domain
	}
	return s.Name + "." + s.Namespace + ".svc." + s.Domain
}

// subset is the name of the subset with these labels: their values, by key.
func (s service) subset() string {
	var values []string
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		values = append(values, strings.ToLower(strings.NewReplacer(".", "-", "_", "-").Replace(s.Labels[k])))
	}
	return strings.Join(values, "-")
}

// legacySpec reads the outer fields of a legacy policy, and says which service it is for.
func (e *editor) legacySpec(n, resolved *input.Node) (spec *input.Node, to service, err error) {
	var p legacyPolicy
	if err := e.decode(resolved, &p); err != nil {
		return nil, to, err
	}
	spec = input.Value(n, "spec")
	destination := input.Value(resolved, "spec", "destination")
	if destination == nil {
		return nil, to, e.mistake(input.At(resolved, "spec"), "spec.destination must be set")
	}
	if to, err = e.service(destination); err == nil && to.host() == "" {
		err = e.mistake(destination, "spec.destination must have a service or a name")
	}
	return spec, to, err
}

func (e *editor) service(n *input.Node) (s service, err error) {
	d := &input.Decoder{File: e.file}
	d.Value(n, &s)
	if len(d.Found) > 0 {
		return s, e.mistake(n, "%s", d.Found[0].What)
	}
	return s, nil
}

// builder collects the fields of a new spec in the order of the old one.
type builder struct {
	*editor
	into *input.Node
}

// put moves a field to the new spec under another name; value nil is its own value.
func (b builder) put(key *input.Node, name string, old, value *input.Node) {
	if value == nil {
		value = old
	}
	b.rebuilt = true
	key.Value = name
	b.into.Content = append(b.into.Content, key, value)
}

// lost notes a field that is left out, if it is there.
func (e *editor) lost(n *input.Node, why string, path ...any) {
	if v := input.Value(n, path...); v != nil {
		field := path[len(path)-1].(string)
		e.note(input.At(n, path...), "%s is left out: %s", field, why)
	}
}

// routeRule turns a RouteRule into a VirtualService. Labels in routes become subsets, which a DestinationRule must define.
func (e *editor) routeRule(n, resolved *input.Node) error {
	spec, to, err := e.legacySpec(n, resolved)
	if err != nil {
		return err
	}
	host := to.host()
	route := mapping()
	b := builder{e, route}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		if err := b.routeField(spec.Content[i], spec.Content[i+1], to); err != nil {
			return err
		}
	}
	if index(route, "route") < 0 && index(route, "redirect") < 0 {
		e.set(route, "route", list(mapping("destination", mapping("host", host))))
	}
	e.single(n, host)
	e.head(n, "VirtualService")
	e.rebuilt = true
	hosts := mapping("hosts", list(scalar(host)), "http", list(route))
	take(input.At(spec, "destination"), hosts.Content[0])
	spec.Content = hosts.Content
	spec.Style = 0
	return e.checked(spec, &networkingv1.VirtualService{})
}

// single notes a second VirtualService of a host: sidecars read one for each.
func (e *editor) single(n *input.Node, host string) {
	key := input.Value(n, "metadata", "namespace")
	scope := host
	if key != nil {
		scope = key.Value + "/" + host
	}
	if e.res.hosts == nil {
		e.res.hosts = map[string]int{}
	}
	if first, ok := e.res.hosts[scope]; ok {
		e.note(n, "%s has a VirtualService of the rule in line %d already, and sidecars read one for each host: put the routes into one, those of higher precedence first", host, first)
		return
	}
	e.res.hosts[scope] = n.Line
}

func (b builder) routeField(key, value *input.Node, to service) error {
	switch name := snake(key.Value); name {
	case "destination":
	case "precedence":
		b.note(key, "precedence %s is left out: routes of one VirtualService are tried in their order", value.Value)
	case "match":
		return b.match(key, value)
	case "route":
		return b.routes(key, value, to)
	case "redirect", "rewrite":
		b.put(key, name, value, nil)
	case "websocket_upgrade", "append_headers", "cors_policy", "http_fault":
		if name == "http_fault" {
			b.lost(value, "a fault is the same for all requests", "delay", "overrideHeaderName")
			b.lost(value, "a fault is the same for all requests", "abort", "overrideHeaderName")
		}
		b.put(key, map[string]string{"websocket_upgrade": "websocketUpgrade", "append_headers": "appendHeaders", "cors_policy": "corsPolicy", "http_fault": "fault"}[name], value, nil)
	case "http_req_timeout":
		b.simple(key, value, "timeout", "simpleTimeout", "timeout")
	case "http_req_retries":
		b.simple(key, value, "retries", "simpleRetry")
	case "mirror":
		s, err := b.service(value)
		if err != nil {
			return err
		}
		b.put(key, "mirror", value, b.target(value, s))
	case "l4_fault":
		b.note(key, "l4Fault is left out: there are no faults in TCP")
	default:
		return b.mistake(key, "field %q is unknown in the spec of a RouteRule", key.Value)
	}
	return nil
}

// simple takes what is below a policy of its simple kind; a custom one cannot be carried over.
func (b builder) simple(key, value *input.Node, name string, path ...any) {
	found := input.Value(value, path...)
	if found == nil {
		b.note(key, "%s is left out: only its simple form can be carried over", key.Value)
		return
	}
	for _, spelling := range []string{"overrideHeaderName", "override_header_name"} {
		b.lost(value, "a header cannot change it", path[0], spelling)
		b.remove(input.Value(value, path[0]), spelling)
	}
	b.put(key, name, value, found)
}

// target is a Destination.
func (b builder) target(at *input.Node, s service) *input.Node {
	d := mapping("host", s.host())
	if len(s.Labels) > 0 {
		b.note(at, "labels are subset %q of %s now, which a DestinationRule must define", s.subset(), s.host())
		d.Content = append(d.Content, scalar("subset"), scalar(s.subset()))
	}
	return d
}

func (b builder) routes(key, value *input.Node, rule service) error {
	if value.Kind != yamlv3.SequenceNode {
		return b.mistake(value, "route must be a list")
	}
	for _, r := range value.Content {
		to := rule
		if d := input.Value(r, "destination"); d != nil {
			s, err := b.service(d)
			if err != nil {
				return err
			}
			to = s
		}
		if l := input.Value(r, "labels"); l != nil {
			if err := input.Decode(l, &to.Labels); err != nil {
				return b.mistake(l, "labels: %v", err)
			}
		}
		weight := input.Value(r, "weight")
		for i := 0; r.Kind == yamlv3.MappingNode && i+1 < len(r.Content); i += 2 {
			if k := r.Content[i].Value; k != "destination" && k != "labels" && k != "weight" {
				return b.mistake(r.Content[i], "field %q is unknown in a route", k)
			}
		}
		r.Kind, r.Tag, r.Value = yamlv3.MappingNode, "!!map", ""
		r.Content = mapping("destination", b.target(r, to)).Content
		if weight != nil {
			r.Content = append(r.Content, scalar("weight"), weight)
		}
	}
	b.put(key, "route", value, nil)
	return nil
}

// match turns the conditions of a RouteRule into those of one HTTPMatchRequest.
func (b builder) match(key, value *input.Node) error {
	to := mapping()
	if headers := input.Value(value, "request", "headers"); headers != nil {
		others := mapping()
		for i := 0; i+1 < len(headers.Content); i += 2 {
			k, v := headers.Content[i], headers.Content[i+1]
			if v.Kind == yamlv3.ScalarNode { // a mere text was matched exactly
				v = mapping("exact", v)
			}
			switch k.Value {
			case "uri", "scheme", "method", "authority":
				to.Content = append(to.Content, k, v)
			default:
				others.Content = append(others.Content, k, v)
			}
		}
		if len(others.Content) > 0 {
			to.Content = append(to.Content, scalar("headers"), others)
		}
	}
	if source := input.Value(value, "source"); source != nil {
		s, err := b.service(source)
		if err != nil {
			return err
		}
		if labels := input.Value(source, "labels"); labels != nil {
			to.Content = append(to.Content, scalar("sourceLabels"), labels)
		}
		if s.host() != "" {
			b.note(source, "source %s is left out, so the route holds for every client with these labels: clients are told by labels, and by nothing else", s.host())
		}
	}
	b.lost(value, "only requests are matched here", "tcp")
	b.lost(value, "only requests are matched here", "udp")
	if len(to.Content) == 0 {
		b.note(key, "match is left out: nothing of it could be carried over, and the route holds for all requests")
		return nil
	}
	b.put(key, "match", value, list(to))
	return nil
}
