package origination

import (
	. "mesh-egress-conformance/framework/egress"
)

var port443 = Case{
	Name:     "origination-port-443",
	Area:     "origination",
	Claim:    "the application speaks HTTP to port 443 and the destination receives TLS",
	Source:   `Istio task "Control Egress Traffic" (v0.8), TLS origination by the sidecar`,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"origination/google.yaml"},
	Probes: []Probe{
		GET("client", "http://www.google.com:443/").OverTLS().Want(Blocked, OK, Blocked),
	},
}
