package mesh

import (
	"testing"

	"mesh-egress-conformance/framework/fixture"
)

// istiod tells by their status that it has worked routes out. A ReferenceGrant has none, and nobody may wait for it.
func TestExpectedStatuses(t *testing.T) {
	for kind, want := range map[string]int{"HTTPRoute": 1, "Gateway": 1, "ReferenceGrant": 0} {
		o := &fixture.Object{Object: map[string]any{"apiVersion": GatewayAPIGroup + "/v1", "kind": kind, "metadata": map[string]any{"name": "x", "uid": "1"}}}
		e := expect(Written{Made: []*fixture.Object{o}})
		if len(e.statuses) != want || !e.concerns() {
			t.Errorf("%s: %d statuses, concerns: %t", kind, len(e.statuses), e.concerns())
		}
	}
}

func TestAddressed(t *testing.T) {
	entry := func(kind, resolution string, hosts, addresses []any) *fixture.Object {
		return &fixture.Object{Object: map[string]any{"kind": kind, "metadata": map[string]any{}, "spec": map[string]any{
			"resolution": resolution, "hosts": hosts, "addresses": addresses,
		}}}
	}
	host, wildcard := []any{"a.example"}, []any{"*.example"}
	optOut := entry("ServiceEntry", "DNS", host, nil)
	optOut.SetLabels(map[string]string{"networking.istio.io/enable-autoallocate-ip": "false"})
	for name, x := range map[string]struct {
		o    *fixture.Object
		want bool
	}{
		"DNS":            {entry("ServiceEntry", "DNS", host, nil), true},
		"STATIC":         {entry("ServiceEntry", "STATIC", host, nil), true},
		"NONE":           {entry("ServiceEntry", "NONE", host, nil), false},
		"unset":          {entry("ServiceEntry", "", host, nil), false},
		"DYNAMIC_DNS":    {entry("ServiceEntry", "DYNAMIC_DNS", wildcard, nil), false},
		"own addresses":  {entry("ServiceEntry", "DNS", host, []any{"192.0.2.1"}), false},
		"wildcard":       {entry("ServiceEntry", "STATIC", wildcard, nil), false},
		"opted out":      {optOut, false},
		"something else": {entry("VirtualService", "DNS", host, nil), false},
		"one of two":     {entry("ServiceEntry", "DNS", []any{"*.example", "a.example"}, nil), true},
		"nothing at all": {&fixture.Object{Object: map[string]any{"kind": "ServiceEntry"}}, false},
	} {
		if got := addressed(x.o); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
