package policy

import (
	. "mesh-egress-conformance/framework/egress"
)

var allowAny = Case{
	Name:   "policy-allow-any",
	Area:   "policy",
	Claim:  "ALLOW_ANY lets everything through without a rule, and going back to REGISTRY_ONLY blocks it again",
	Source: `Istio task "Accessing External Services", Envoy passthrough`,
	Labels: []string{"source"},
	Needs:  Needs{Features: []Feature{Hermetic, MeshConfig}},
	Policy: AllowAny,
	Probes: []Probe{
		GET("client", "http://httpbin.org/headers").Want(Blocked, Pass, Blocked),
		GET("client", "https://www.google.com/").Want(Blocked, Pass, Blocked),
		GET("client", "https://www.wikipedia.org:8443/").Want(Blocked, Pass, Blocked),
	},
}

var registryOnly = Case{
	Name:     "policy-registry-only",
	Area:     "policy",
	Claim:    "REGISTRY_ONLY blocks what no rule names, whatever rule is applied for others",
	Source:   `Istio task "Accessing External Services", blocking by default`,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"http/httpbin.yaml"},
	Probes: []Probe{
		GET("client", "http://evil.example/").Want(B502, B502, B502),
		GET("client", "https://evil.example/").Want(BRST, BRST, BRST),
	},
}
