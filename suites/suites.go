// Package suites lists every case and every client that cases name. The Ginkgo suite in this folder
// makes specs of the list; egressctl runs the same list.
package suites

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/suites/app"
	"mesh-egress-conformance/suites/bypass"
	"mesh-egress-conformance/suites/http"
	"mesh-egress-conformance/suites/injection"
	"mesh-egress-conformance/suites/lifecycle"
	"mesh-egress-conformance/suites/origination"
	"mesh-egress-conformance/suites/policy"
	"mesh-egress-conformance/suites/tcp"
	"mesh-egress-conformance/suites/tls"
)

// Cases returns all cases, sorted by area and name.
func Cases() []egress.Case {
	return slices.Concat(
		app.Cases,
		bypass.Cases,
		http.Cases,
		injection.Cases,
		lifecycle.Cases,
		origination.Cases,
		policy.Cases,
		tcp.Cases,
		tls.Cases,
	)
}

// Clients are the pods that cases may name.
func Clients() []egress.Client {
	sleep := func(name string, in egress.Injection, annotations map[string]string) egress.Client {
		return egress.Client{Name: name, Namespace: "egress-" + name, Manifest: "sleep.yaml", Workload: "sleep", Container: "sleep", Injection: in, Annotations: annotations}
	}
	return []egress.Client{
		sleep("client", egress.AutoInjection, nil),
		sleep(egress.ControlClient, egress.NoInjection, nil),
		sleep("client-exclude", egress.AutoInjection, map[string]string{
			"traffic.sidecar.istio.io/excludeOutboundIPRanges": "198.51.100.0/24",
		}),
		sleep("client-include", egress.AutoInjection, map[string]string{
			"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.96.0.0/16,10.244.0.0/16",
		}),
		sleep("client-manual", egress.ManualInjection, nil),
		{
			Name: "egresshttpbin", Namespace: "istioegress", Manifest: "egresshttpbin/egresshttpbin.yaml",
			Workload: "egresshttpbin", Injection: egress.AutoInjection,
			ReadyURL: "http://egresshttpbin-istioegress.${INGRESS_IP}.nip.io/healthz",
		},
	}
}

// Check finds mistakes in the whole list: bad cases, unknown clients, names used twice.
func Check(cases []egress.Case, clients []egress.Client) error {
	seen, known := map[string]bool{}, map[string]bool{}
	for _, c := range clients {
		if err := c.Check(); err != nil {
			return err
		}
		known[c.Name] = true
	}
	for _, c := range cases {
		if err := c.Check(); err != nil {
			return err
		}
		if seen[c.Name] {
			return fmt.Errorf("case %q is listed twice", c.Name)
		}
		seen[c.Name] = true
		for _, n := range c.Clients() {
			if !known[n] {
				return fmt.Errorf("case %q names the unknown client %q", c.Name, n)
			}
		}
		if !strings.HasPrefix(c.Name, c.Area+"-") {
			return fmt.Errorf("case %q: its name must begin with its area %q", c.Name, c.Area)
		}
	}
	return nil
}
