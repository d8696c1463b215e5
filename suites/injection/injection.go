package injection

import (
	. "mesh-egress-conformance/framework/egress"
)

const startSleep = `Istio task "Control Egress TCP Traffic" (v0.8), start of the sleep sample`

var automatic = Case{
	Name:     "injection-automatic",
	Area:     "injection",
	Claim:    "a pod injected by the webhook is subject to the mesh's egress rules",
	Source:   startSleep,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"http/httpbin.yaml"},
	Probes: []Probe{
		GET("client", "http://httpbin.org/headers").Want(Blocked, OK, Blocked),
	},
}

var manual = Case{
	Name:     "injection-manual",
	Area:     "injection",
	Claim:    "a pod injected with istioctl kube-inject is subject to the same rules",
	Source:   startSleep,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"http/httpbin.yaml"},
	Probes: []Probe{
		GET("client-manual", "http://httpbin.org/headers").Want(Blocked, OK, Blocked),
		GET("client-manual", "https://www.wikipedia.org/").Want(Blocked, Blocked, Blocked),
	},
}
