package harness

import (
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// Two signs tell that istiod may have lost the removal of what it can lose.
func TestMayBeLost(t *testing.T) {
	entry := &fixture.Object{Object: egress.Object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}}
	service := &fixture.Object{Object: egress.Object{"apiVersion": "v1", "kind": "Service"}}
	for name, x := range map[string]struct {
		objects []*fixture.Object
		s       mesh.Settled
		told    bool
		want    bool
	}{
		"alone":                      {objects: []*fixture.Object{service, entry}, told: true},
		"beside another push":        {objects: []*fixture.Object{service, entry}, s: mesh.Settled{Beside: true}, want: true},
		"sent to nobody":             {objects: []*fixture.Object{entry}, s: mesh.Settled{Unconcerned: true}, told: true, want: true},
		"it concerned nobody before": {objects: []*fixture.Object{entry}, s: mesh.Settled{Unconcerned: true}},
		"nothing that could be lost": {objects: []*fixture.Object{service}, s: mesh.Settled{Beside: true, Unconcerned: true}, told: true},
	} {
		if got := mayBeLost(x.objects, x.told, x.s); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
