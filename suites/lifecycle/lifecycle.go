package lifecycle

import (
	. "mesh-egress-conformance/framework/egress"
)

var cleanUp = Case{
	Name:     "lifecycle-clean-up",
	Area:     "lifecycle",
	Claim:    "deleting the rules blocks every host again that they had opened",
	Source:   `Istio task "Control Egress TCP Traffic" (v0.8), clean-up`,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1.yaml", "http/httpbin.yaml", "tls/google-sni.yaml"},
	Probes: []Probe{
		GET("client", "https://www.wikipedia.org/").Want(Blocked, OK, Blocked),
		GET("client", "http://httpbin.org/headers").Want(Blocked, OK, Blocked),
		GET("client", "https://www.google.com/").Want(Blocked, OK, Blocked),
	},
}
