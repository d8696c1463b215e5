package migrate

import (
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// successor puts what an old field says into the field that has taken its place. It says whether it could.
type successor func(e *editor, m, key, value *input.Node) bool

// successors of fields that are removed or deprecated in istio.io/api, by message and name of the field. Fields that have
// none are left out where the API has removed them.
var successors = map[string]successor{
	"HTTPRoute.websocket_upgrade":                             websocket,
	"HTTPRoute.append_headers":                                header("request", "add"),
	"HTTPRoute.append_request_headers":                        header("request", "add"),
	"HTTPRoute.remove_request_headers":                        header("request", "remove"),
	"HTTPRoute.append_response_headers":                       header("response", "add"),
	"HTTPRoute.remove_response_headers":                       header("response", "remove"),
	"HTTPRouteDestination.append_request_headers":             header("request", "add"),
	"HTTPRouteDestination.remove_request_headers":             header("request", "remove"),
	"HTTPRouteDestination.append_response_headers":            header("response", "add"),
	"HTTPRouteDestination.remove_response_headers":            header("response", "remove"),
	"HTTPRoute.mirror_percent":                                percentage("mirrorPercentage"),
	"HTTPFaultInjection.Delay.percent":                        percentage("percentage"),
	"HTTPFaultInjection.Abort.percent":                        percentage("percentage"),
	"CorsPolicy.allow_origin":                                 allowOrigins,
	"OutlierDetection.consecutive_errors":                     gatewayErrors,
	"LoadBalancerSettings.ConsistentHashLB.minimum_ring_size": ringHash,
	"TLSMatchAttributes.source_subnet":                        sourceSubnet,
	"PortSelector.name":                                       portName,
}

func websocket(e *editor, m, key, _ *input.Node) bool {
	e.note(key, "%s is left out: every route may be upgraded to a WebSocket now", key.Value)
	e.remove(m, key.Value)
	return true
}

// header moves headers into the field headers, behind those that are there.
func header(way, what string) successor {
	return func(e *editor, m, key, value *input.Node) bool {
		headers := e.within(m, "headers")
		if headers == nil {
			return false
		}
		to := e.within(headers, way)
		if to == nil {
			return false
		}
		if have := input.Value(to, what); have == nil {
			e.set(to, what, value)
		} else if have.Kind == value.Kind {
			have.Content = append(have.Content, value.Content...)
		} else {
			return false
		}
		e.note(key, "%s is headers.%s.%s now", key.Value, way, what)
		take(key, input.At(to, what))
		e.remove(m, key.Value)
		return true
	}
}

// within returns the mapping of a field, which is made at the end if it is not there; nil if the field is something else.
func (e *editor) within(m *input.Node, field string) *input.Node {
	v := input.Value(m, field)
	if v == nil {
		v = mapping()
		e.set(m, field, v)
	}
	if v.Kind != yamlv3.MappingNode {
		return nil
	}
	return v
}

// instead puts another field in the place of one, with its comments. Where the other is there too, it is the one that
// Istio has always preferred.
func (e *editor) instead(m, key *input.Node, field string, value *input.Node) {
	old := key.Value
	e.rebuilt = true
	if index(m, field) >= 0 {
		e.note(key, "%s is left out: %s, which is there too, counts", old, field)
		e.remove(m, old)
		return
	}
	e.note(key, "%s is %s now", old, field)
	m.Content[slices.Index(m.Content, key)+1] = value
	e.replace(key, field)
}

func percentage(field string) successor {
	return func(e *editor, m, key, value *input.Node) bool {
		if value.Kind != yamlv3.ScalarNode {
			return false
		}
		to := mapping("value", literal(value.Value))
		take(value, to.Content[1])
		e.instead(m, key, field, to)
		return true
	}
}

func allowOrigins(e *editor, m, key, value *input.Node) bool {
	if value.Kind != yamlv3.SequenceNode {
		return false
	}
	to := list()
	for _, origin := range value.Content {
		match := mapping("exact", copied(origin))
		take(origin, match.Content[1])
		to.Content = append(to.Content, match)
	}
	e.instead(m, key, "allowOrigins", to)
	return true
}

// gatewayErrors: the field counted the answers 502, 503 and 504, and failures to connect.
func gatewayErrors(e *editor, m, key, value *input.Node) bool {
	e.instead(m, key, "consecutiveGatewayErrors", value)
	return true
}

func ringHash(e *editor, m, key, value *input.Node) bool {
	e.instead(m, key, "ringHash", mapping("minimumRingSize", value))
	return true
}

func sourceSubnet(e *editor, m, key, _ *input.Node) bool {
	e.note(key, "%s is left out, and this match takes connections from everywhere: the API has no field for it any more", key.Value)
	e.remove(m, key.Value)
	return true
}

func portName(e *editor, _, key, _ *input.Node) bool {
	e.note(key, "a port is chosen by its number now; write number instead of name here")
	return true
}
