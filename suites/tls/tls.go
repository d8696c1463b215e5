package tls

import (
	. "mesh-egress-conformance/framework/egress"
)

var serviceEntrySNI = Case{
	Name:     "tls-serviceentry-sni",
	Area:     "tls",
	Claim:    "an HTTPS ServiceEntry opens its host by SNI, end to end, and no other name",
	Source:   `Istio task "Control Egress Traffic"`,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tls/google-sni.yaml"},
	Probes: []Probe{
		GET("client", "https://www.google.com/").OverTLS().Want(Blocked, OK, Blocked),
		GET("client", "https://www.wikipedia.org/").Want(Blocked, Blocked, Blocked),
		GET("client", "http://www.google.com/").Want(Blocked, Blocked, Blocked),
	},
}
