package harness

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// giving are objects of these kinds that somebody has given, with a Secret of ours before them.
func giving(kinds ...string) (given, []*fixture.Object) {
	g := given{place: map[*fixture.Object]int{}, theirs: 1, have: &stood{objects: map[string]*standing{}}, out: &Examined{}}
	var objs []*fixture.Object
	for i, k := range append([]string{"Secret"}, kinds...) {
		o := egress.Object{"apiVersion": "v1", "kind": k, "metadata": map[string]any{"name": "x", "namespace": "shop"}}
		g.all = append(g.all, o)
		objs = append(objs, &fixture.Object{Object: o})
		g.place[objs[i]] = i
	}
	return g, objs
}

// An object that is not taken is told, and keeps no other from standing; whatever else goes wrong does.
func TestRefuse(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", nil)
	foreign := &fixture.ForeignError{Object: &fixture.Object{Object: map[string]any{}}}
	for name, x := range map[string]struct {
		object  int // among the Secret and the two that are given
		err     error
		goes    bool
		refused bool
		notes   int
	}{
		"one of theirs":                       {1, invalid, true, true, 0},
		"its namespace":                       {1, fmt.Errorf("make namespace Team_A: %w", invalid), true, true, 0},
		"nobody looks after it":               {1, unserved("its class"), true, true, 0},
		"a certificate's place":               {0, invalid, true, false, 1},
		"the API server does not answer":      {1, errors.New("connection refused"), false, false, 0},
		"nor for a certificate":               {0, errors.New("connection refused"), false, false, 0},
		"one that is there":                   {1, foreign, true, true, 0},
		"an account that a stand-in has, too": {2, foreign, true, false, 0},
		"an account that cannot be called so": {2, invalid, true, true, 0},
		"its webhook is away":                 {1, apierrors.NewInternalError(errors.New("failed calling webhook")), false, false, 0},
	} {
		g, objs := giving("ServiceEntry", "ServiceAccount")
		got := g.refuse(objs[x.object], x.err)
		now := g.have.objects[keyOf(g.all[x.object])]
		if got != x.goes || (now != nil) != x.goes || now != nil && (now.refused != nil) != x.refused || len(g.out.Notes) != x.notes {
			t.Errorf("%s: goes on %t, %+v, notes %q", name, got, now, g.out.Notes)
		}
	}
}

func TestWithoutGateways(t *testing.T) {
	made, other := &fixture.Object{Object: map[string]any{}}, &fixture.Object{Object: map[string]any{}}
	made.SetUID("1")
	other.SetUID("2")
	for name, x := range map[string]struct {
		err            error
		refused, fails bool
	}{
		"all came up":     {nil, false, false},
		"one did not":     {mesh.GatewayErrors{{Object: made, Err: errors.New("no class")}}, true, false},
		"one of nobody":   {mesh.GatewayErrors{{Object: other, Err: errors.New("no class")}}, false, true},
		"another trouble": {errors.New("istiod does not answer"), false, true},
	} {
		s := &stood{objects: map[string]*standing{"a": {made: []*fixture.Object{made}}, "b": {}}}
		err := s.withoutGateways(x.err)
		if (err != nil) != x.fails || (s.objects["a"].refused != nil) != x.refused || s.objects["b"].refused != nil {
			t.Errorf("%s: %v, %v", name, err, s.objects["a"].refused)
		}
	}
}

// A client whose proxy does not say what it has keeps no other from being heard.
func TestTell(t *testing.T) {
	out := &Examined{Heard: map[string]Heard{}, Unheard: map[string]error{}}
	out.tell("a", Heard{Results: make([]egress.ProbeResult, 1)}, nil)
	out.tell("b", Heard{}, errors.New("no answer"))
	if len(out.Heard) != 1 || len(out.Heard["a"].Results) != 1 || len(out.Unheard) != 1 || out.Unheard["b"] == nil {
		t.Errorf("%+v", out)
	}
}

// The gateways are read by which calls went last, once each; one that cannot be read keeps no other from it.
func TestHopsConfigs(t *testing.T) {
	via := func(names ...string) egress.ProbeResult {
		r := egress.ProbeResult{Observations: []egress.Observation{{Hops: []egress.Hop{{Gateway: "ns/earlier"}}}, {}}}
		for _, n := range names {
			r.Observations[1].Hops = append(r.Observations[1].Hops, egress.Hop{Gateway: n})
		}
		return r
	}
	gateways := []mesh.Gateway{
		{Namespace: "ns", Pod: "a", Log: "ns/a (start 2)"}, {Namespace: "ns", Pod: "b", Log: "ns/b"}, {Namespace: "ns", Pod: "c", Log: "ns/c"}, {Namespace: "ns", Pod: "earlier", Log: "ns/earlier"},
	}
	var read []string
	got, err := hopsConfigs([]egress.ProbeResult{via("ns/a (start 2)"), via("ns/a (start 2)", "ns/b"), via("ns/gone"), via(), {}}, gateways, func(namespace, pod string) (why.Config, error) {
		read = append(read, namespace+"/"+pod)
		if pod == "b" {
			return why.Config{}, errors.New("no answer")
		}
		return why.Config{Clusters: []why.Cluster{{Name: pod}}}, nil
	})
	if strings.Join(read, " ") != "ns/a ns/b" || len(got) != 1 || got["ns/a (start 2)"].Clusters[0].Name != "a" {
		t.Errorf("read %v: %v", read, got)
	}
	if err == nil || !strings.Contains(err.Error(), "gateway ns/b has, whose rules are not named without it: no answer") || !strings.Contains(err.Error(), "gateway ns/gone has") {
		t.Error(err)
	}
}

// A route whose Gateway is not there is never seen by Istio.
func TestUnparented(t *testing.T) {
	gateways := map[string]bool{"shop/out": true, "infra/public": true}
	for name, x := range map[string]struct {
		kind    string
		parents []any
		want    string
	}{
		"its namespace's":   {"HTTPRoute", []any{map[string]any{"name": "out"}}, ""},
		"another's":         {"TLSRoute", []any{map[string]any{"name": "public", "namespace": "infra"}}, ""},
		"one that is not":   {"HTTPRoute", []any{map[string]any{"name": "out"}, map[string]any{"name": "public"}}, "shop/public"},
		"of the mesh":       {"HTTPRoute", []any{map[string]any{"name": "x", "kind": "Service", "group": ""}, map[string]any{"name": "x", "kind": "ServiceEntry", "group": "networking.istio.io"}}, ""},
		"no route":          {"ReferenceGrant", []any{map[string]any{"name": "x"}}, ""},
		"without any":       {"HTTPRoute", nil, ""},
		"written as a text": {"HTTPRoute", []any{"out"}, "shop/"},
	} {
		o := &fixture.Object{Object: map[string]any{"apiVersion": mesh.GatewayAPIGroup + "/v1", "kind": x.kind, "metadata": map[string]any{"name": "r", "namespace": "shop"}, "spec": map[string]any{"parentRefs": x.parents}}}
		if got := unparented(o, gateways); got != x.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
