package harness

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// extensible is a cluster whose internet takes hosts as a real one does.
type extensible struct {
	mortal
	in *served
}

func (c *extensible) Internet() cluster.Internet { return c.in }

type served struct {
	cluster.Internet
	hosts *internet.Hosts
	adds  int
}

func (s *served) Hosts(context.Context) (*internet.Hosts, error) { return s.hosts, nil }

func (s *served) Add(_ context.Context, more *internet.Hosts) (err error) {
	s.adds++
	s.hosts, err = s.hosts.Add(more)
	return err
}

func (s *served) SetGuests(_ context.Context, guests *internet.Hosts) (err error) {
	s.hosts, err = s.hosts.WithGuests(guests)
	return err
}

// own are the built-in hosts with more.
func own(t *testing.T, text string) *internet.Hosts {
	t.Helper()
	all, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	more, err := internet.ReadHosts("hosts.yaml", []byte("hosts:\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	if all, err = all.Add(more); err != nil {
		t.Fatal(err)
	}
	return all
}

// A running cluster gets the hosts that it lacks, keeps those that it has, and refuses others of the same name or address.
func TestExtend(t *testing.T) {
	c := &extensible{in: &served{hosts: own(t, "- {name: first.example, services: [{port: 80, kind: http}]}")}}
	for _, x := range []struct {
		hosts string
		adds  int    // so far
		want  string // part of the error; "" for none
	}{
		{"- {name: first.example, services: [{port: 80, kind: http}]}", 0, ""}, // whose address was chosen there
		{"- {name: late.example, address: 10.20.0.0/16, services: [{port: 80, kind: http}]}", 1, ""},
		{"- {name: late.example, address: 10.20.0.0/16, services: [{port: 80, kind: http}]}", 1, ""},
		{"- {name: late.example, address: 10.20.0.0/16, services: [{port: 81, kind: http}]}", 1, "hosts.yaml:2: the name late.example"},
		{"- {name: other.example, address: 10.20.0.0/16}", 1, "belongs to late.example"},
		{"- {name: other.example}", 2, ""},
	} {
		got, err := extend(t.Context(), c, own(t, x.hosts))
		if (x.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "cluster mortal")) {
			t.Errorf("%s: %v", x.hosts, err)
		}
		if c.in.adds != x.adds {
			t.Errorf("%s: added %d times, wanted %d", x.hosts, c.in.adds, x.adds)
		}
		if _, ok := c.in.hosts.Find("first.example"); !ok || err == nil && len(got.Hosts) != len(c.in.hosts.Hosts) {
			t.Errorf("%s: %d hosts", x.hosts, len(c.in.hosts.Hosts))
		}
	}
}

// A case that needs an IPv6 address of a host is skipped with the reason where its client has none, and no other.
func TestFamilies(t *testing.T) {
	hosts := own(t, `
- {name: v6.example, address: "2001:db8:8::6", services: [{port: 80, kind: http}]}
- {name: both.example, address: [192.0.2.8, "2001:db8:5::/48"], services: [{port: 80, kind: http}]}`)
	clients := []egress.Client{{Name: "four"}, {Name: "dual", DualStack: true}, {Name: egress.ControlClient}}
	from := func(client string, c egress.Case) egress.Case {
		c.Probes = slices.Clone(c.Probes)
		for i := range c.Probes {
			c.Probes[i].From = client
		}
		return c
	}
	entry := egress.Object{"kind": "ServiceEntry", "spec": map[string]any{"addresses": []any{"2001:db8:5::/48"}}}
	ranged := egress.Case{Probes: probing("http://both.example/").Probes, Objects: []egress.Object{entry}}
	for name, x := range map[string]struct {
		c             egress.Case
		without, with string // part of the reason in a cluster without IPv6, and with; "" for none
	}{
		"an IPv4 host":               {from("four", probing("http://httpbin.org/")), "", ""},
		"both":                       {from("four", probing("http://both.example/")), "", ""},
		"both, from both":            {from("dual", probing("http://both.example/")), "dual has addresses of both families", ""},
		"IPv6 alone":                 {from("four", probing("http://v6.example/")), "v6.example has IPv6 addresses alone, and pods here", "client four has none (give it dualStack: true)"},
		"IPv6 alone, from both":      {from("dual", probing("http://v6.example/")), "dual has addresses of both families", ""},
		"IPv6 alone, from control":   {from(egress.ControlClient, probing("http://v6.example/")), "pods here have no IPv6", ""},
		"an address":                 {from("four", probing("http://[2001:db8:5::9]/")), "2001:db8:5::9", "2001:db8:5::9"},
		"a range in an object":       {from("four", ranged), "2001:db8:5::/48", "none of its clients"},
		"a range, and both families": {from("dual", ranged), "dual has", ""},
		"nobody's address":           {from("four", egress.Case{Probes: probing("http://both.example/").Probes, Claim: "unlike 2001:db8:9::1"}), "", ""},
	} {
		for ipv6, want := range map[bool]string{false: x.without, true: x.with} {
			got, err := families{hosts, fstest.MapFS{}, clients, ipv6}.skipReason(x.c)
			if err != nil || (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("%s, IPv6 %t: %q %v", name, ipv6, got, err)
			}
		}
	}
}

// The first constraint that a case does not fit is the reason; one that cannot be told is an error.
func TestSkipReason(t *testing.T) {
	never := func(egress.Case) (string, error) { return "", nil }
	always := func(egress.Case) (string, error) { return "no case does", nil }
	e := environment{constraints: []constraint{{"here", never}, {"there", always}}}
	if got, err := e.skipReason(egress.Case{}); err != nil || got != "not there: no case does" {
		t.Errorf("%q %v", got, err)
	}
}
