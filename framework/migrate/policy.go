package migrate

import (
	networkingv1 "istio.io/api/networking/v1"

	"mesh-egress-conformance/framework/input"
)

// breaker is where the fields of a simple circuit breaker have gone in a TrafficPolicy. The breaker counted answers 5xx.
var breaker = []struct {
	old  string
	path []string
}{
	{"maxConnections", []string{"connectionPool", "tcp", "maxConnections"}},
	{"httpMaxPendingRequests", []string{"connectionPool", "http", "http1MaxPendingRequests"}},
	{"httpMaxRequests", []string{"connectionPool", "http", "http2MaxRequests"}},
	{"httpMaxRequestsPerConnection", []string{"connectionPool", "http", "maxRequestsPerConnection"}},
	{"httpMaxRetries", []string{"connectionPool", "http", "maxRetries"}},
	{"httpConsecutiveErrors", []string{"outlierDetection", "consecutive5xxErrors"}},
	{"httpDetectionInterval", []string{"outlierDetection", "interval"}},
	{"sleepWindow", []string{"outlierDetection", "baseEjectionTime"}},
	{"httpMaxEjectionPercent", []string{"outlierDetection", "maxEjectionPercent"}},
}

// destinationPolicy turns a DestinationPolicy into a DestinationRule.
func (e *editor) destinationPolicy(n, resolved *input.Node) error {
	spec, to, err := e.legacySpec(n, resolved)
	if err != nil {
		return err
	}
	policy := mapping()
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, value := spec.Content[i], spec.Content[i+1]
		switch snake(key.Value) {
		case "destination":
		case "source":
			e.note(key, "source is left out: a DestinationRule holds for all clients in its reach; exportTo and workloadSelector narrow that")
		case "load_balancing":
			if simple := input.Value(value, "name"); simple != nil {
				take(key, simple)
				e.set(policy, "loadBalancer", mapping("simple", simple))
			} else {
				e.note(key, "%s is left out: only a policy by name can be carried over", key.Value)
			}
		case "circuit_breaker":
			if err := e.breaker(policy, key, value); err != nil {
				return err
			}
		case "custom":
			e.note(key, "custom is left out: it was for other proxies")
		default:
			return e.mistake(key, "field %q is unknown in the spec of a DestinationPolicy", key.Value)
		}
	}
	rule := mapping("host", to.host())
	if len(to.Labels) > 0 {
		labels := input.Value(spec, "destination", "labels")
		rule.Content = append(rule.Content, scalar("subsets"), list(mapping("name", to.subset(), "labels", labels, "trafficPolicy", policy)))
	} else if len(policy.Content) > 0 {
		rule.Content = append(rule.Content, scalar("trafficPolicy"), policy)
	}
	take(input.At(spec, "destination"), rule.Content[0])
	e.head(n, "DestinationRule")
	e.rebuilt = true
	spec.Content, spec.Style = rule.Content, 0
	return e.checked(spec, &networkingv1.DestinationRule{})
}

// breaker spreads a simple circuit breaker over a traffic policy.
func (e *editor) breaker(policy, key, value *input.Node) error {
	simple := input.Value(value, "simpleCb")
	if simple == nil {
		simple = input.Value(value, "simple_cb")
	}
	if simple == nil {
		e.note(key, "%s is left out: only its simple form can be carried over", key.Value)
		return nil
	}
	known := map[string]bool{}
	for _, b := range breaker {
		known[snake(b.old)] = true
		i := max(index(simple, b.old), index(simple, snake(b.old)))
		if i < 0 {
			continue
		}
		to := policy
		for _, step := range b.path[:len(b.path)-1] {
			to = e.within(to, step)
		}
		last := b.path[len(b.path)-1]
		e.set(to, last, simple.Content[i+1])
		take(simple.Content[i], input.At(to, last))
	}
	for i := 0; i+1 < len(simple.Content); i += 2 {
		if k := simple.Content[i]; !known[snake(k.Value)] {
			return e.mistake(k, "field %q is unknown in a circuit breaker", k.Value)
		}
	}
	return nil
}
