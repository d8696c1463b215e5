package migrate

import (
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

const (
	firstGroup  = "istio.io" // of Istio 0.1
	legacyGroup = "config.istio.io"
	group       = "networking.istio.io"
	current     = group + "/v1"
)

// legacyTypes are the kinds as Istio 0.1 named them, in a field type.
var legacyTypes = map[string]string{"egress-rule": "EgressRule", "route-rule": "RouteRule", "destination-policy": "DestinationPolicy"}

// wrapper is the kind of every rule that Istio 0.1 kept in Kubernetes. Its name begins with the type of the rule, and its spec is
// the rule (istio/pilot adapter/config/tpr/conversion.go).
const wrapper = "IstioConfig"

// wrappedRules are types of the rules in it, with what says the same today. Their fields have other names than those that are read here.
var wrappedRules = map[string]string{"route-rule-": "a VirtualService", "destination-policy-": "a DestinationRule", "ingress-rule-": "a Gateway with a VirtualService"}

// gone are groups about other things than routing, with what took their place (release notes of Istio 1.6).
var gone = map[string]string{
	"authentication.istio.io": "PeerAuthentication and RequestAuthentication of security.istio.io/v1 say the same",
	"rbac.istio.io":           "AuthorizationPolicy of security.istio.io/v1 says the same",
}

// any migrates an object, or the items of a list of objects. It returns further objects that belong behind it.
func (e *editor) any(n, resolved *input.Node) ([]*input.Node, error) {
	items := input.Value(n, "items")
	if !strings.HasSuffix(textOf(n, "kind"), "List") || items == nil || items.Kind != yamlv3.SequenceNode {
		return e.object(n, resolved)
	}
	behind := slices.Clone(input.Value(resolved, "items").Content)
	for i := 0; i < len(items.Content); i++ {
		more, err := e.object(items.Content[i], behind[0])
		if err != nil {
			return nil, err
		}
		behind = behind[1:]
		if len(more) > 0 {
			e.rebuilt = true
			items.Content = slices.Insert(items.Content, i+1, more...)
			i += len(more)
		}
	}
	return nil, nil
}

// object migrates one object in its place.
func (e *editor) object(n, resolved *input.Node) ([]*input.Node, error) {
	if n.Kind != yamlv3.MappingNode {
		return nil, nil // no object at all
	}
	g, v, _ := strings.Cut(textOf(n, "apiVersion"), "/")
	kind := textOf(n, "kind")
	if legacy := legacyTypes[textOf(n, "type")]; legacy != "" && kind == "" {
		kind = legacy
	}
	e.label = kind + " " + name(n)
	if g == firstGroup && kind == wrapper && strings.HasPrefix(textOf(n, "metadata", "name"), "egress-rule-") {
		kind = "EgressRule"
	}
	legacy := g == legacyGroup || g == firstGroup || g == group && v == "v1alpha1" || g == "" && v == ""
	switch {
	case legacy && kind == "EgressRule":
		return e.egressRule(n, resolved)
	case legacy && kind == "RouteRule":
		return nil, e.routeRule(n, resolved)
	case legacy && kind == "DestinationPolicy":
		return nil, e.destinationPolicy(n, resolved)
	case gone[g] != "":
		e.res.Left++
		e.note(n, "left as it is: no Istio since 1.6 reads %s; %s", g+"/"+v, gone[g])
		return nil, nil
	case g == firstGroup && kind == wrapper && held(n) != "":
		e.res.Left++
		e.note(n, "left as it is: it has a rule in the words of Istio 0.1, which are not read here; %s says the same", held(n))
		return nil, nil
	case g == legacyGroup || g == firstGroup:
		e.res.Left++
		e.note(n, "left as it is: no current object of Istio does what %s %s did", g+"/"+v, kind)
		return nil, nil
	case g == group && (v == "v1alpha1" || v == "v1alpha3" || v == "v1beta1" || v == "v1"):
		return nil, e.networking(n, kind)
	}
	return nil, nil
}

// held is what says today what the rule in a wrapper said; "" where its name does not tell which rule that is.
func held(n *input.Node) string {
	for prefix, today := range wrappedRules {
		if strings.HasPrefix(textOf(n, "metadata", "name"), prefix) {
			return today
		}
	}
	return ""
}

// name is the name of an object, quoted; of one of the earliest form too.
func name(n *input.Node) string {
	for _, path := range [][]any{{"metadata", "name"}, {"name"}, {"spec", "name"}} {
		if text := textOf(n, path...); text != "" {
			return `"` + text + `"`
		}
	}
	return "without a name"
}

// head gives an object its current apiVersion and kind. The earliest form, with type, name and namespace beside spec,
// gets metadata.
func (e *editor) head(n *input.Node, kind string) {
	e.res.Changed++
	if index(n, "type") >= 0 && index(n, "kind") < 0 {
		e.rename(n, "type", "kind")
	}
	i := index(n, "kind")
	e.replace(n.Content[i+1], kind)
	switch j := index(n, "apiVersion"); {
	case j >= 0:
		e.replace(n.Content[j+1], current)
	default: // in front, where people look for it, below a comment that stands there
		key := scalar("apiVersion")
		first := n.Content[0]
		key.HeadComment, first.HeadComment = first.HeadComment, ""
		e.rebuilt = true
		n.Content = slices.Insert(n.Content, 0, key, scalar(current))
	}
	if index(n, "metadata") < 0 {
		e.insert(n, "kind", "metadata", mapping())
	}
	meta := input.Value(n, "metadata")
	for _, from := range []*input.Node{n, input.Value(n, "spec")} {
		for _, field := range []string{"name", "namespace"} {
			v := input.Value(from, field)
			inSpec := from != n && field == "name" && kind == "ServiceEntry"
			if v == nil || from != n && !inSpec || from == n && index(meta, field) >= 0 {
				continue
			}
			e.remove(from, field)
			if index(meta, field) < 0 {
				e.set(meta, field, v)
			}
		}
	}
}
