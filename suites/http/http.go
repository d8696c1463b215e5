package http

import (
	. "mesh-egress-conformance/framework/egress"
)

var serviceEntry = Case{
	Name:     "http-serviceentry",
	Area:     "http",
	Claim:    "a ServiceEntry opens its host over HTTP and no other host or port",
	Source:   `Istio task "Control Egress Traffic"`,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"http/httpbin.yaml"},
	Probes: []Probe{
		GET("client", "http://httpbin.org/headers").Want(Blocked, OK, Blocked),
		GET("client", "http://edition.cnn.com/").Want(Blocked, Blocked, Blocked),
		GET("client", "http://httpbin.org:8080/headers").Want(Blocked, Blocked, Blocked),
		GET("client", "https://httpbin.org/headers").Want(Blocked, Blocked, Blocked),
	},
}
