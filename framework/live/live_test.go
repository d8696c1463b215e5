package live

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

func constraints(t *testing.T, found map[string]Host) Constraints {
	t.Helper()
	h, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	return Constraints{Hosts: h, Found: found, Files: fstest.MapFS{
		"evil.yaml": {Data: []byte("hosts: [evil.example]")}, "range.yaml": {Data: []byte("addresses: [91.198.174.192/27]")},
	}}
}

var elsewhere = map[string]Host{"www.wikipedia.org": {Address: netip.MustParseAddr("192.0.2.7")}}

func TestSkipReason(t *testing.T) {
	probe := egress.GET("client", "http://httpbin.org/")
	wiki := egress.GET("client", "https://www.wikipedia.org/")
	for name, x := range map[string]struct {
		c     egress.Case
		found map[string]Host
		want  string // part of the skipReason; "" for none
	}{
		"plain":               {egress.Case{Probes: []egress.Probe{probe}}, nil, ""},
		"host of ours":        {egress.Case{Probes: []egress.Probe{probe}, Fixtures: []string{"evil.yaml"}}, nil, "evil.example"},
		"UDP":                 {egress.Case{Probes: []egress.Probe{{URL: "udp://httpbin.org:7"}}}, nil, "does not speak udp"},
		"a user's own host":   {egress.Case{Probes: []egress.Probe{{URL: "grpc://api.payments.test:8443/svc/Method"}}}, nil, ""},
		"another port":        {egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org:8080/")}}, nil, "port 8080"},
		"the usual port":      {egress.Case{Probes: []egress.Probe{egress.GET("client", "http://www.google.com:443/")}}, nil, ""},
		"dials another port":  {egress.Case{Probes: []egress.Probe{{URL: "http://httpbin.org/", Connect: "httpbin.org:81"}}}, nil, "port 81"},
		"arrivals":            {egress.Case{Probes: []egress.Probe{{URL: "http://httpbin.org/", Arrivals: map[egress.Phase]int{egress.Applied: 2}}}}, nil, "what arrived"},
		"dead":                {egress.Case{Probes: []egress.Probe{{URL: "http://httpbin.org/", Dead: true}}}, nil, "nobody owns"},
		"provoked error":      {egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/status/503")}}, nil, "trouble"},
		"address of ours":     {egress.Case{Probes: []egress.Probe{probe}, Claim: "like 203.0.113.66"}, nil, "203.0.113.66"},
		"escaped address":     {egress.Case{Probes: []egress.Probe{{URL: "http://httpbin.org/", Output: egress.Always(`203\.0\.113\.66`)}}}, nil, "203.0.113.66"},
		"range, unknown":      {egress.Case{Probes: []egress.Probe{wiki}, Fixtures: []string{"range.yaml"}}, nil, ""},
		"range, as published": {egress.Case{Probes: []egress.Probe{wiki}, Fixtures: []string{"range.yaml"}}, map[string]Host{"www.wikipedia.org": {Address: netip.MustParseAddr("91.198.174.194")}}, ""},
		"range, elsewhere":    {egress.Case{Probes: []egress.Probe{wiki}, Fixtures: []string{"range.yaml"}}, elsewhere, "192.0.2.7 today"},
		"no range, elsewhere": {egress.Case{Probes: []egress.Probe{wiki}}, elsewhere, ""},
		"within, elsewhere":   {egress.Case{Probes: []egress.Probe{{URL: "https://www.wikipedia.org/", Within: egress.Always("91.198.174.192/27")}}}, elsewhere, "192.0.2.7 today"},
	} {
		got, err := constraints(t, x.found).SkipReason(x.c)
		if err != nil || (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, wanted %q", name, got, x.want)
		}
	}
}

// A case is not skipped because its fixture cannot be read: nobody would notice that it never runs.
func TestSkipReasonUnreadable(t *testing.T) {
	c := egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/")}, Fixtures: []string{"gone.yaml"}}
	if why, err := constraints(t, nil).SkipReason(c); err == nil || why != "" {
		t.Errorf("a missing fixture is the skipReason %q (%v)", why, err)
	}
}

func TestUnreachable(t *testing.T) {
	c := egress.Case{Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/")}}
	up, down := Host{Address: netip.MustParseAddr("192.0.2.1")}, Host{Detail: "exit 6, status 0"}
	for name, x := range map[string]struct {
		found     map[string]Host
		unreached bool
		summary   string
	}{
		"all":  {map[string]Host{"httpbin.org": up}, false, "all 1"},
		"none": {map[string]Host{"httpbin.org": down}, true, "reaches none"},
		"one":  {map[string]Host{"httpbin.org": down, "www.google.com": up}, true, "does not reach httpbin.org"},
	} {
		found := constraints(t, x.found)
		if got := found.Unreachable(c); (got != "") != x.unreached {
			t.Errorf("%s: %q", name, got)
		}
		if got := found.Summary(); !strings.Contains(got, x.summary) {
			t.Errorf("%s: summary %q, wanted %q in it", name, got, x.summary)
		}
	}
}

func TestNames(t *testing.T) {
	got := constraints(t, nil).Names([]egress.Case{{Probes: []egress.Probe{egress.GET("client", "https://en.wikipedia.org/"), egress.GET("client", "http://evil.example/"), egress.GET("control", "https://en.wikipedia.org/wiki/")}}})
	if len(got) != 1 || got[0] != "en.wikipedia.org" {
		t.Errorf("names: %v", got)
	}
}
