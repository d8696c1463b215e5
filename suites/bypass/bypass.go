package bypass

import (
	. "mesh-egress-conformance/framework/egress"
)

const direct = `Istio task "Control Egress Traffic", direct access to external services`

var excludeRanges = Case{
	Name:   "bypass-exclude-ip-ranges",
	Area:   "bypass",
	Claim:  "excludeOutboundIPRanges takes its addresses around the sidecar and no others",
	Source: direct,
	Labels: []string{"source"},
	Needs:  Needs{Features: []Feature{Hermetic}},
	Probes: []Probe{
		GET("client-exclude", "http://httpbin.org/headers").Want(Direct, Direct, Direct),
		GET("client-exclude", "https://httpbin.org/headers").Want(Direct, Direct, Direct),
		GET("client-exclude", "https://www.wikipedia.org/").Want(Blocked, Blocked, Blocked),
	},
}

var includeRanges = Case{
	Name:   "bypass-include-ip-ranges",
	Area:   "bypass",
	Claim:  "includeOutboundIPRanges with the cluster's ranges leaves the sidecar to in-mesh traffic",
	Source: direct,
	Labels: []string{"source"},
	Needs:  Needs{Features: []Feature{Hermetic}},
	Probes: []Probe{
		GET("client-include", "http://httpbin.org/headers").Want(Direct, Direct, Direct),
		GET("client-include", "https://www.wikipedia.org/").Want(Direct, Direct, Direct),
	},
}

var noSidecar = Case{
	Name:     "bypass-no-sidecar",
	Area:     "bypass",
	Claim:    "a pod without sidecar is never affected by rules or policy",
	Source:   "control group of every other case",
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"http/httpbin.yaml"},
	Probes: []Probe{
		GET("control", "http://httpbin.org/headers").Want(Direct, Direct, Direct),
		GET("control", "https://www.wikipedia.org/").Want(Direct, Direct, Direct),
		GET("client", "http://httpbin.org/headers").Want(Blocked, OK, Blocked),
	},
}
