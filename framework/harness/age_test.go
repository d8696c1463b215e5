package harness

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/fixture"
)

func thing(apiVersion, kind, name string) *fixture.Object {
	return &fixture.Object{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name}}}
}

func TestYounger(t *testing.T) {
	created := time.Date(2026, 11, 1, 12, 0, 5, 0, time.UTC)
	made := created.Add(900 * time.Millisecond) // by this machine's clock
	there := func(kind string) *fixture.Object {
		o := thing("networking.istio.io/v1", kind, "there")
		o.SetCreationTimestamp(metav1.NewTime(created))
		return o
	}
	secret := thing("v1", "Secret", "there")
	secret.SetCreationTimestamp(metav1.NewTime(created))
	later := there("ServiceEntry")
	later.SetCreationTimestamp(metav1.NewTime(created.Add(time.Second)))
	entry := thing("networking.istio.io/v1", "ServiceEntry", "new")
	for name, x := range map[string]struct {
		there, objs []*fixture.Object
		sameClock   bool
		want        time.Time
	}{
		"no setup":             {nil, []*fixture.Object{entry}, true, time.Time{}},
		"of the same kind":     {[]*fixture.Object{there("ServiceEntry")}, []*fixture.Object{entry}, true, created.Add(time.Second)},
		"in another version":   {[]*fixture.Object{there("ServiceEntry")}, []*fixture.Object{thing("networking.istio.io/v1beta1", "ServiceEntry", "new")}, true, created.Add(time.Second)},
		"the youngest counts":  {[]*fixture.Object{later, there("ServiceEntry")}, []*fixture.Object{entry}, true, created.Add(2 * time.Second)},
		"of another clock":     {[]*fixture.Object{there("ServiceEntry")}, []*fixture.Object{entry}, false, made.Add(time.Second)},
		"of another kind":      {[]*fixture.Object{there("Gateway")}, []*fixture.Object{entry}, true, time.Time{}},
		"whose age is nothing": {[]*fixture.Object{secret}, []*fixture.Object{thing("v1", "Secret", "new")}, true, time.Time{}},
	} {
		if got := younger(x.there, x.objs, made, x.sameClock); !got.Equal(x.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestNamespacesFirst(t *testing.T) {
	for name, x := range map[string]struct{ kinds, want []string }{
		"nothing to do":              {[]string{"Sidecar", "Gateway"}, []string{"Sidecar", "Gateway"}},
		"rules before entries":       {[]string{"Gateway", "ServiceEntry", "VirtualService", "DestinationRule"}, []string{"Gateway", "DestinationRule", "ServiceEntry", "VirtualService"}},
		"namespaces before all":      {[]string{"ServiceEntry", "Namespace"}, []string{"Namespace", "ServiceEntry"}},
		"and rules after namespaces": {[]string{"ServiceEntry", "DestinationRule", "Namespace"}, []string{"Namespace", "DestinationRule", "ServiceEntry"}},
	} {
		var objs []*fixture.Object
		for _, k := range x.kinds {
			objs = append(objs, thing("v1", k, "x"))
		}
		var got []string
		for _, o := range ordered(objs) {
			got = append(got, o.GetKind())
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNamed(t *testing.T) {
	in := func(o *fixture.Object, ns string) *fixture.Object { o.SetNamespace(ns); return o }
	objs := []*fixture.Object{
		in(thing("networking.istio.io/v1", "ServiceEntry", "a"), "egress-config"),
		in(thing("networking.istio.io/v1", "ServiceEntry", "b"), "egress-config"),
		in(thing("networking.istio.io/v1", "ServiceEntry", "c"), "brought"),
		thing("networking.istio.io/v1", "ServiceEntry", "d"),
		thing("v1", "Namespace", "brought"),
	}
	if got := named(objs); !slices.Equal(got, []string{"egress-config"}) {
		t.Errorf("%v", got)
	}
}

// Objects are applied as they are written, but for the label that says whose they are.
func TestComplete(t *testing.T) {
	r := &rules{run: "run-1"}
	o := thing("networking.istio.io/v1", "ServiceEntry", "bank")
	o.Object["spec"] = map[string]any{"hosts": []any{"bank.example"}}
	r.complete([]*fixture.Object{o})
	spec, _ := o.Object["spec"].(map[string]any)
	if len(spec) != 1 || len(o.GetLabels()) != 1 || o.GetLabels()[fixture.RunLabel] != "run-1" {
		t.Errorf("%v", o.Object)
	}
}
