package egress_test

import (
	"encoding/json"
	"fmt"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A case is a claim, and the smallest set of probes that would show it. Most are written as YAML (framework/casefile).
func ExampleCase() {
	c := egress.Case{
		Name: "payments-bank", Area: "payments", Claim: "payments may call the bank over HTTPS", Source: "our runbook",
		Needs: []egress.Feature{egress.Hermetic},
		Objects: []egress.Object{{
			"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": map[string]any{"name": "bank"},
			"spec": map[string]any{"hosts": []any{"httpbin.org"}, "ports": []any{map[string]any{"number": 443, "name": "tls", "protocol": "TLS"}}, "resolution": "DNS"},
		}},
		Probes: []egress.Probe{egress.GET("client", "https://httpbin.org/headers").Want(egress.BRST, egress.OK, egress.BRST)},
	}
	fmt.Println(c.Check(), c.Clients(), c.Phases())

	c.Probes[0].URL = "gopher://httpbin.org/"
	fmt.Println(c.Check() != nil, "a case that cannot be right is refused")
	// Output:
	// <nil> [client] [before applied removed]
	// true a case that cannot be right is refused
}

// Policy is the mesh-wide one while the rule is there.
func ExamplePolicy() {
	for _, p := range []egress.Policy{egress.RegistryOnly, egress.AllowAny} {
		fmt.Println(p)
	}
	// Output:
	// REGISTRY_ONLY
	// ALLOW_ANY
}

func ExampleGET() {
	p := egress.GET("client", "http://httpbin.org/headers", "--head").Want(egress.B502, egress.OK, egress.B502)
	fmt.Println(p)
	fmt.Println(p.Destination(), p.Scheme())
	// Output:
	// client → http://httpbin.org/headers --head
	// httpbin.org http
}

// Wants are what a probe must come to in each phase.
func ExampleWants() {
	var w egress.Wants
	if err := w.UnmarshalText([]byte("blocked OK blocked")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(w[egress.Before].Has(egress.BRST), w[egress.Applied].Has(egress.BRST))
	// Output: true false
}

// Of several outcomes that a case accepts, a probe has one.
func ExampleParseOutcome() {
	o, err := egress.ParseOutcome("OK|PASS")
	fmt.Println(o.Has(egress.Pass), o.Single(), err)
	fmt.Println(egress.BRST, "means", egress.BRST.Words())
	_, err = egress.ParseOutcome("FINE")
	fmt.Println(err != nil)
	// Output:
	// true false <nil>
	// BRST means blocked (reset)
	// true
}

// An outcome is what all witnesses agree on: the client, its sidecar, and the destination.
func ExampleClassify() {
	blocked := egress.Observation{
		ID: "probe-1", Target: "httpbin.org", Captured: true,
		Client: egress.ClientWitness{Command: "curl http://httpbin.org/", HTTPCode: 502},
		Mesh:   []egress.AccessLog{{ResponseCode: 502, RouteName: "block_all"}},
	}
	fmt.Println(egress.Classify(blocked))

	// The client alone proves nothing: nobody has seen its connection.
	blocked.Mesh = nil
	_, err := egress.Classify(blocked)
	fmt.Println(err != nil)
	// Output:
	// B502 <nil>
	// true
}

// What one probe came to, with everything that the verdict rests on.
func ExampleProbeResult() {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	r := egress.ProbeResult{
		Probe: "client → https://httpbin.org/", From: "client", Phase: egress.Applied, Want: egress.OK, Got: egress.OK, Verdict: egress.Conforms,
		Observations: []egress.Observation{{
			Arrivals: []egress.Arrival{{Time: at, Server: "httpbin.org", Kind: "tls", SNI: "httpbin.org"}},
			Hops:     []egress.Hop{{Gateway: "egressgateway", Line: &egress.AccessLog{UpstreamCluster: "outbound|443||httpbin.org"}}},
		}},
		Control: &egress.Control{Reached: true, Detail: "exit 0"},
	}
	for _, o := range r.Observations {
		fmt.Println("arrived at", o.Arrivals[0].Server, "through", o.Hops[0].Gateway)
	}
	fmt.Println("a client without sidecar reached it:", r.Control.Reached)
	// Output:
	// arrived at httpbin.org through egressgateway
	// a client without sidecar reached it: true
}

func ExamplePhases() {
	for _, ph := range egress.Phases() {
		fmt.Print(ph, " ")
	}
	var ph egress.Phase
	fmt.Println(ph.UnmarshalText([]byte("applied")), ph == egress.Applied)
	// Output: before applied changed removed <nil> true
}

// What is demanded in every phase, or in some.
func ExampleAlways() {
	always := egress.Always("wikipedia.org")
	applied := egress.ByPhase[string]{egress.Applied: "wikipedia.org"}
	fmt.Println(always[egress.Before], always[egress.Applied])
	fmt.Println(len(applied), applied[egress.Applied])
	// Output:
	// wikipedia.org wikipedia.org
	// 1 wikipedia.org
}

// The exit status of a run that had these verdicts.
func ExampleExitCode() {
	fmt.Println(
		egress.ExitCode([]egress.Verdict{egress.Conforms, egress.Skipped}),
		egress.ExitCode([]egress.Verdict{egress.Conforms, egress.Violates}),
		egress.ExitCode([]egress.Verdict{egress.Conforms, egress.Inconclusive}),
	)
	// Output: 0 1 2
}

func ExampleNotRun() {
	r := egress.NotRun(egress.Case{Name: "payments-ipv6"}, egress.Skipped, "needs ipv6")
	fmt.Println(r.Case.Name, r.Verdict, r.Why)
	// Output: payments-ipv6 skipped needs ipv6
}

// A client is a pod that makes probes, or is called by one.
func ExampleClient() {
	c := egress.Client{
		Name: "shop", Namespace: "shop", Manifest: "sleep/sleep.yaml", Workload: "sleep", Container: "sleep", Injection: egress.AutoInjection,
		StandIn: &egress.StandIn{Labels: map[string]string{"app": "cart"}, Ports: []egress.ContainerPort{{Name: "http", Port: 8080}}},
	}
	fmt.Println(c.Captured(), c.StandIn.Ports[0].Port)
	c.Injection = egress.NoInjection
	fmt.Println(c.Captured())
	// Output:
	// true 8080
	// false
}

func ExampleInjection() {
	var how egress.Injection = "auto"
	fmt.Println(how == egress.AutoInjection)
	// Output: true
}

// Clients that an istiod beside the default one serves.
func ExampleRevisionsOf() {
	canary := egress.Revision{Name: "canary", Environment: map[string]string{"PILOT_ENABLE_IP_AUTOALLOCATE": "false"}}
	all, err := egress.RevisionsOf([]egress.Client{{Name: "client", Namespace: "a"}, {Name: "early", Namespace: "b", Revision: "canary", Istiod: &canary}})
	fmt.Println(len(all), all["canary"].Environment, err)
	// Output: 1 map[PILOT_ENABLE_IP_AUTOALLOCATE:false] <nil>
}

// A connection that is held for a pause, or from one phase on.
func ExampleHold() {
	pause := egress.Hold{Pause: egress.Duration(90 * time.Second)}
	from := egress.Before
	over := egress.Hold{From: &from}
	fmt.Println(pause.Within(), pause.Pause)
	fmt.Println(over.Opens(egress.Before), over.Resumes(egress.Applied))
	// Output:
	// true 1m30s
	// true true
}

// Which part of the attempts each host receives.
func ExampleSpread() {
	var s egress.Spread
	err := json.Unmarshal([]byte(`{"a.example": "70%", "b.example": ">=10%"}`), &s)
	fmt.Println(s.Hosts(), err)
	var fifth egress.Share
	fmt.Println(fifth.UnmarshalText([]byte("10%..30%")), fifth.Contradicts(95, 100))
	// Output:
	// [a.example b.example] <nil>
	// <nil> true
}

func ExampleCount() {
	var n egress.Count
	err := json.Unmarshal([]byte(`"2..5"`), &n)
	fmt.Println(n, n.Has(3), n.Has(6), err)
	// Output: 2..5 true false <nil>
}

// Enough attempts that an endpoint that is never chosen is no chance.
func ExampleMisses() {
	fmt.Println(egress.Misses([]int{1, 1}) < egress.Misses([]int{9, 1}))
	// Output: true
}

// What a probe demands may differ from one Istio version to the next.
func ExampleVariant() {
	new := egress.Wants{egress.OK, egress.OK, egress.OK, egress.OK}
	p := egress.GET("client", "http://httpbin.org/").Want(egress.B502, egress.OK, egress.B502)
	p.Versions = []egress.Variant{{Since: "1.31", Wants: &new}}
	c := egress.Case{Probes: []egress.Probe{p}}
	fmt.Println(c.On("1.30").Probes[0].Wants[egress.Before], c.On("1.31").Probes[0].Wants[egress.Before])
	// Output: B502 OK
}

func ExampleVersioned() {
	fmt.Println(egress.Versioned())
	// Output: [want arrivesAt output arrival accessLog arrivals]
}

func ExampleOlder() {
	fmt.Println(egress.Older("1.9", "1.31"), egress.Older("1.31", "1.31"))
	// Output: true false
}

func ExampleProtocolOf() {
	p, ok := egress.ProtocolOf("grpc")
	fmt.Println(p.Scheme, p.GRPC, ok)
	_, ok = egress.ProtocolOf("gopher")
	fmt.Println(ok)
	// Output:
	// grpc true true
	// false
}

func ExampleProtocols() {
	for _, p := range egress.Protocols() {
		if p.Question {
			fmt.Println(p.Scheme, "has no connection")
		}
	}
	// Output: dns has no connection
}

func ExampleSchemes() {
	fmt.Println(len(egress.Schemes()) > len("http, https"))
	// Output: true
}

func ExampleAddrIn() {
	fmt.Println(egress.AddrIn("10.20.3.4:443", "10.20.0.0/16"), egress.AddrIn("10.21.3.4:443", "10.20.0.0/16"))
	// Output: true false
}

// Lines pick what is asked for out of a proxy's access log: here what a client's connection came to on one path.
func ExampleLines() {
	asked := egress.Lines{From: "10.0.0.7:11000", Match: func(l egress.AccessLog) bool { return l.Path == "/headers" }}
	for _, l := range []egress.AccessLog{
		{DownstreamRemote: "10.0.0.7:11000", Path: "/headers"},
		{DownstreamRemote: "10.0.0.7:11000", Path: "/ip"},
		{DownstreamRemote: "10.0.0.8:11000", Path: "/headers"},
	} {
		fmt.Println(asked.Have(l))
	}
	// Output:
	// true
	// false
	// false
}

// The connections of an attempt are the client's own and those that proxies made for it; what arrives by one of them is explained.
func ExampleConnection() {
	o := egress.Observation{
		Client: egress.ClientWitness{Local: "10.0.0.7:11000", Remote: "198.51.100.10:443"},
		Mesh:   []egress.AccessLog{{UpstreamLocal: "10.0.0.7:41000", UpstreamHost: "10.0.0.9:8443"}},
		Hops:   []egress.Hop{{Line: &egress.AccessLog{UpstreamLocal: "10.0.0.9:52000", UpstreamHost: "198.51.100.10:443"}}},
	}
	for _, c := range o.Connections() {
		fmt.Println(c.Local, "to", c.Remote)
	}
	fmt.Println(o.Explains(egress.Arrival{Peer: "10.0.0.9:52000", Local: "198.51.100.10:443"}))
	// Output:
	// 10.0.0.7:11000 to 198.51.100.10:443
	// 10.0.0.7:41000 to 10.0.0.9:8443
	// 10.0.0.9:52000 to 198.51.100.10:443
	// true
}
