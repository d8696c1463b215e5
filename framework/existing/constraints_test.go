package existing

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

func constraints(t *testing.T) Constraints {
	t.Helper()
	h, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	client := egress.Client{Name: "client"}
	include := egress.Client{Name: "include", Annotations: map[string]string{"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8"}}
	manual := egress.Client{Name: "manual", Injection: egress.ManualInjection}
	bound := egress.Client{Name: "bound", Revision: "canary", Istiod: &egress.Revision{Name: "canary"}}
	for _, c := range []*egress.Client{&client, &include, &manual, &bound} {
		c.Default()
	}
	return Constraints{Hosts: h, Clients: []egress.Client{client, include, manual, bound}, Files: fstest.MapFS{
		"by-name.yaml": {Data: []byte("hosts: [edition.cnn.com]")}, "by-range.yaml": {Data: []byte("addresses: [91.198.174.192/27]")},
	}}
}

func TestSkipReason(t *testing.T) {
	probe := egress.GET("client", "http://httpbin.org/")
	from := func(client string) []egress.Probe { return []egress.Probe{egress.GET(client, "http://httpbin.org/")} }
	for name, x := range map[string]struct {
		c    egress.Case
		want string // part of the skipReason; "" for none
	}{
		"plain":                  {egress.Case{Probes: []egress.Probe{probe}, Fixtures: []string{"by-name.yaml"}}, ""},
		"mesh-wide":              {egress.Case{Probes: []egress.Probe{probe}, Policy: egress.AllowAny}, "whole mesh"},
		"an istiod of its own":   {egress.Case{Probes: from("bound")}, "needs an istiod of its own (revision canary)"},
		"mesh configuration":     {egress.Case{Probes: []egress.Probe{probe}, MeshConfig: egress.Object{"a": "b"}}, "whole mesh"},
		"address in a fixture":   {egress.Case{Probes: []egress.Probe{probe}, Fixtures: []string{"by-range.yaml"}}, "91.198.174.192/27"},
		"address in a URL":       {egress.Case{Probes: []egress.Probe{egress.GET("client", "http://198.51.100.10/")}}, "198.51.100.10"},
		"another address":        {egress.Case{Probes: []egress.Probe{probe}, Claim: "like 192.0.2.1"}, ""},
		"ranges of the cluster":  {egress.Case{Probes: from("include")}, "own ranges"},
		"injected by hand":       {egress.Case{Probes: from("manual")}, "only the harness's own clusters"},
		"dead":                   {egress.Case{Probes: []egress.Probe{{From: "client", URL: "http://dead.example/", Dead: true}}}, "nobody owns"},
		"several addresses":      {egress.Case{Probes: []egress.Probe{egress.GET("client", "http://multi.example/")}}, "single pod"},
		"ping":                   {egress.Case{Probes: []egress.Probe{{From: "client", URL: "icmp://evil.example"}}}, "echo requests"},
		"ExternalName":           {egress.Case{Probes: []egress.Probe{probe}, Objects: []egress.Object{{"kind": "Service", "spec": map[string]any{"externalName": "httpbin.org"}}}}, "own DNS"},
		"in another's namespace": {egress.Case{Name: "beyond", Probes: []egress.Probe{probe}}, "is not the run's"},
		"answers with several":   {egress.Case{Probes: []egress.Probe{probe}, DNS: map[egress.Phase]map[string]string{egress.Applied: {"moving.example": "multi.example"}}}, "multi.example is a host that no single pod"},
		"answers":                {egress.Case{Probes: []egress.Probe{probe}, DNS: map[egress.Phase]map[string]string{egress.Applied: {"moving.example": "httpbin.org", "other.example": "NXDOMAIN"}}}, ""},
		"leads to several":       {egress.Case{Probes: []egress.Probe{{From: "client", URL: "http://httpbin.org/", ArrivesAt: map[egress.Phase]string{egress.Applied: "multi.example"}}}}, "single pod"},
	} {
		k := constraints(t)
		k.Beyond = map[string][]string{"beyond": {"objects has the Sidecar istio-system/x, in a namespace that is not the run's"}}
		got, err := k.SkipReason(x.c)
		if err != nil || (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, wanted %q", name, got, x.want)
		}
	}
}

// A case is not skipped because its fixture cannot be read: nobody would notice that it never runs.
func TestSkipReasonUnreadable(t *testing.T) {
	c := egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/")}, Fixtures: []string{"gone.yaml"}}
	for _, policy := range []egress.Policy{"", egress.AllowAny} {
		c.Policy = policy
		if why, err := constraints(t).SkipReason(c); err == nil || why != "" {
			t.Errorf("a missing fixture is the reason %q to skip (%v)", why, err)
		}
	}
}

// A mesh that is not REGISTRY_ONLY is made so by a Sidecar, beside which a case's own would not count.
func TestSkipReasonOwnPolicy(t *testing.T) {
	c := egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/")}, Objects: []egress.Object{{"kind": "Sidecar"}}}
	x := constraints(t)
	if why, err := x.SkipReason(c); why != "" || err != nil {
		t.Errorf("skipped although the mesh is REGISTRY_ONLY: %s %v", why, err)
	}
	x.OwnPolicy = true
	if why, err := x.SkipReason(c); why == "" || err != nil {
		t.Error("a case's Sidecar beside the run's own")
	}
}

func TestNames(t *testing.T) {
	got := constraints(t).Names([]egress.Case{
		{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/")}, Fixtures: []string{"by-name.yaml"}},
		{Probes: []egress.Probe{egress.GET("client", "http://evil.example/")}, Policy: egress.AllowAny}, // skipped
	})
	if strings.Join(got, " ") != "httpbin.org edition.cnn.com" {
		t.Errorf("got %v", got)
	}
}

// Of hosts of one's own, pods can play names and wildcards, and not ranges or addresses that a case counts on.
func TestOwnHosts(t *testing.T) {
	k := constraints(t)
	more, err := internet.ReadHosts("hosts.yaml", []byte(`
hosts:
  - {name: "*.s3.example", services: [{port: 443, kind: https}]}
  - {name: db.example, address: 10.20.30.40, services: [{port: 5432, kind: postgres}]}
  - {name: dc.example, address: 10.99.0.0/16, services: [{port: 5432, kind: postgres}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if k.Hosts, err = k.Hosts.Add(more); err != nil {
		t.Fatal(err)
	}
	bucket := egress.Case{Probes: []egress.Probe{egress.GET("client", "https://a.s3.example/")}}
	named := egress.Case{Probes: []egress.Probe{{From: "client", URL: "tcp://db.example:5432"}}}
	for name, x := range map[string]struct {
		c    egress.Case
		want string // part of the reason; "" for none
	}{
		"below a wildcard":      {bucket, ""},
		"by name":               {named, ""},
		"in its private range":  {egress.Case{Probes: []egress.Probe{{From: "client", URL: "tcp://db.example:5432", Within: egress.Always("10.20.0.0/16")}}}, "10.20.0.0/16, which no pod can own"},
		"a range by name":       {egress.Case{Probes: []egress.Probe{{From: "client", URL: "tcp://dc.example:5432"}}}, "dc.example is a host that no single pod"},
		"an address of a range": {egress.Case{Probes: []egress.Probe{{From: "client", URL: "tcp://10.99.12.1:5432"}}}, "10.99.12.1"},
	} {
		got, err := k.SkipReason(x.c)
		if err != nil || (x.want == "") != (got == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if got := k.Names([]egress.Case{bucket, named}); !slices.Contains(got, "*.s3.example") || !slices.Contains(got, "db.example") || slices.Contains(got, "dc.example") {
		t.Errorf("pods for %q", got)
	}
}
