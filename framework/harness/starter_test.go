package harness

import (
	"slices"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// Clients that no case to come needs may end, but for those that every lane has, the control client, and those that have endpoints.
func TestUnneeded(t *testing.T) {
	clients := []egress.Client{{Name: "server", Service: true}}
	for _, n := range []string{"client", egress.ControlClient, "dns", "old"} {
		clients = append(clients, egress.Client{Name: n, Container: "curl"})
	}
	from := func(clients ...string) egress.Case {
		var c egress.Case
		for _, n := range clients {
			c.Probes = append(c.Probes, egress.Probe{From: n})
		}
		return c
	}
	for name, x := range map[string]struct {
		cases []egress.Case
		want  []string
	}{
		"none to come": {nil, []string{"dns", "old"}},
		"one":          {[]egress.Case{from("dns")}, []string{"old"}},
		"all":          {[]egress.Case{from("dns"), from("client", "old")}, nil},
	} {
		if got := unneeded(clients, x.cases); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
