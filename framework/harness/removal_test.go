package harness

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// What was removed beside another push is made and removed again, as far as istiod may lose it, and not for ever.
func TestRemoveAlone(t *testing.T) {
	entry := &fixture.Object{Object: egress.Object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}}
	route := &fixture.Object{Object: egress.Object{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}}
	gateway := &fixture.Object{Object: egress.Object{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}}
	service := &fixture.Object{Object: egress.Object{"apiVersion": "v1", "kind": "Service"}}
	all := []*fixture.Object{service, entry, route}
	for name, x := range map[string]struct {
		objects      []*fixture.Object
		beside       []bool // of each removal
		remakeFails  bool
		removed      []int // how many objects, each time
		note, failed string
	}{
		"alone":                      {objects: all, beside: []bool{false}, removed: []int{3}},
		"beside another push":        {objects: all, beside: []bool{true, false}, removed: []int{3, 2}, note: "removed 2 times"},
		"twice":                      {objects: all, beside: []bool{true, true, false}, removed: []int{3, 2, 2}, note: "removed 3 times"},
		"always":                     {objects: all, beside: []bool{true, true, true, true}, removed: []int{3, 2, 2, 2}, note: "beside each of 4 removals"},
		"a route and its gateway":    {objects: []*fixture.Object{gateway, route, entry}, beside: []bool{true, false}, removed: []int{3, 1}, note: "removed 2 times"},
		"nothing that could be lost": {objects: []*fixture.Object{service}, beside: []bool{true}, removed: []int{1}},
		"it cannot be made again":    {objects: all, beside: []bool{true}, remakeFails: true, removed: []int{3}, failed: "once more"},
	} {
		t.Run(name, func(t *testing.T) {
			var removed []int
			ch, err := removeAlone(x.objects, func(objs []*fixture.Object, first bool) (mesh.Settled, error) {
				if first != (len(removed) == 0) {
					t.Errorf("removal %d is the first: %t", len(removed), first)
				}
				removed = append(removed, len(objs))
				return mesh.Settled{Acknowledged: true, Beside: x.beside[len(removed)-1]}, nil
			}, func(objs []*fixture.Object) ([]*fixture.Object, mesh.Settled, error) {
				if x.remakeFails {
					return nil, mesh.Settled{}, errors.New("refused")
				}
				return objs, mesh.Settled{Acknowledged: true}, nil
			})
			if len(removed) != len(x.removed) {
				t.Fatalf("removed %v, wanted %v", removed, x.removed)
			}
			for i := range removed {
				if removed[i] != x.removed[i] {
					t.Errorf("removed %v, wanted %v", removed, x.removed)
				}
			}
			if !ch.Acknowledged || !strings.Contains(strings.Join(ch.Notes, " "), x.note) || (x.note == "") != (len(ch.Notes) == 0) {
				t.Errorf("%+v", ch)
			}
			if (err == nil) != (x.failed == "") || err != nil && !strings.Contains(err.Error(), x.failed) {
				t.Errorf("%v", err)
			}
		})
	}
}

// What istiod may lose goes before the namespace in which it lies.
func TestApart(t *testing.T) {
	entry := &fixture.Object{Object: egress.Object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}}
	service := &fixture.Object{Object: egress.Object{"apiVersion": "v1", "kind": "Service"}}
	namespace := &fixture.Object{Object: egress.Object{"apiVersion": "v1", "kind": "Namespace"}}
	for name, x := range map[string]struct {
		objs        []*fixture.Object
		first, then []*fixture.Object
	}{
		"no namespace":          {objs: []*fixture.Object{service, entry}, first: []*fixture.Object{service, entry}},
		"a namespace":           {objs: []*fixture.Object{namespace, service, entry}, first: []*fixture.Object{entry}, then: []*fixture.Object{namespace, service}},
		"a namespace by itself": {objs: []*fixture.Object{namespace}, then: []*fixture.Object{namespace}},
	} {
		if first, then := apart(x.objs); !slices.Equal(first, x.first) || !slices.Equal(then, x.then) {
			t.Errorf("%s: %d objects, then %d", name, len(first), len(then))
		}
	}
}
