package harness

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// Two signs tell that istiod may have lost the removal of what it can lose.
func TestMayBeLost(t *testing.T) {
	entry := &fixture.Object{Object: egress.Object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}}
	service := &fixture.Object{Object: egress.Object{"apiVersion": "v1", "kind": "Service"}}
	both := []string{"a.n", "b.n"}
	acked := func(sent ...string) mesh.Settled { return mesh.Settled{Acknowledged: true, Sent: sent} }
	for name, x := range map[string]struct {
		objects []*fixture.Object
		s       mesh.Settled
		told    []string
		want    bool
	}{
		"alone":                      {objects: []*fixture.Object{service, entry}, told: both, s: acked(both...)},
		"beside another push":        {objects: []*fixture.Object{service, entry}, s: mesh.Settled{Beside: true}, want: true},
		"sent to nobody":             {objects: []*fixture.Object{entry}, s: acked(), told: both, want: true},
		"sent to one of two":         {objects: []*fixture.Object{entry}, s: acked("b.n"), told: both, want: true},
		"it concerned one before":    {objects: []*fixture.Object{entry}, s: acked(both...), told: []string{"a.n"}},
		"it concerned nobody before": {objects: []*fixture.Object{entry}, s: acked()},
		"nobody has acknowledged it": {objects: []*fixture.Object{entry}, s: mesh.Settled{}, told: both},
		"nothing that could be lost": {objects: []*fixture.Object{service}, s: mesh.Settled{Beside: true}, told: both},
	} {
		if got := mayBeLost(x.objects, x.told, x.s); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// An object that is narrowed is deleted for those that it leaves; one of which only the labels have changed is not.
func TestChanged(t *testing.T) {
	object := func(uid string, generation int64) *fixture.Object {
		o := &fixture.Object{Object: egress.Object{}}
		o.SetUID(types.UID(uid))
		o.SetGeneration(generation)
		return o
	}
	before := []*fixture.Object{object("narrowed", 1), object("labelled", 2), object("service", 0), object("kept", 1)}
	now := []*fixture.Object{object("narrowed", 2), object("labelled", 2), object("service", 0), object("new", 1)}
	var got []string
	for _, o := range changed(before, now) {
		got = append(got, string(o.GetUID()))
	}
	if want := []string{"narrowed", "service"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
