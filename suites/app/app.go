package app

import (
	. "mesh-egress-conformance/framework/egress"
)

var egressHTTPBin = Case{
	Name:      "app-egresshttpbin",
	Area:      "app",
	Claim:     "a rule opens the way for an application called through the ingress gateway, without change of pod or image",
	Source:    "Istio Egress: Exit Through the Gift Shop",
	Labels:    []string{"source"},
	Needs:     Needs{Features: []Feature{Hermetic, IngressGateway}},
	Fixtures:  []string{"http/httpbin.yaml"},
	Unchanged: []string{"egresshttpbin"},
	Probes: []Probe{
		GET("control", "http://egresshttpbin-istioegress.${INGRESS_IP}.nip.io/").
			Via("egresshttpbin").At("httpbin.org").Want(B502, OK, B502),
	},
}
