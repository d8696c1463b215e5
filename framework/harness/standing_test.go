package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// standing are objects of these kinds as somebody has given them, with a Secret of ours before them.
func standing(t *testing.T, kinds ...string) given {
	t.Helper()
	object := func(kind string) egress.Object {
		return egress.Object{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": "x", "namespace": "shop", "labels": map[string]any{"a": "b"}}}
	}
	st := Standing{Secrets: []egress.Object{object("Secret")}}
	for _, k := range kinds {
		st.Objects = append(st.Objects, object(k))
	}
	same := func(s string) string { return s }
	r := &rules{run: "run-1", expand: same, secrets: func(_ context.Context, s string) (string, error) { return s, nil }}
	g, err := r.given(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range st.Objects {
		meta, _ := o["metadata"].(map[string]any)
		if labels, _ := meta["labels"].(map[string]any); len(labels) != 1 {
			t.Errorf("object %d of the caller's was changed: %v", i, o)
		}
	}
	return g
}

func TestEarly(t *testing.T) {
	g := standing(t, "ServiceEntry", "ProxyConfig", "Sidecar", "ProxyConfig")
	var got []string
	for _, o := range slices.Concat(g.only(early).objects, g.only(late).objects) {
		at, theirs := g.place[o]
		got = append(got, fmt.Sprint(o.GetKind(), " ", at, theirs))
	}
	if want := []string{"ProxyConfig 1 true", "ProxyConfig 3 true", "Secret 0 false", "ServiceEntry 0 true", "Sidecar 2 true"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// An object that is not taken is told, and keeps no other from standing; whatever else goes wrong does.
func TestRefuse(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", nil)
	foreign := &fixture.ForeignError{Object: &fixture.Object{Object: map[string]any{}}}
	for name, x := range map[string]struct {
		object         int // among the Secret and the two that are given
		err            error
		goes           bool
		refused, notes int
	}{
		"one of theirs":                        {1, invalid, true, 1, 0},
		"its namespace":                        {1, fmt.Errorf("make namespace Team_A: %w", invalid), true, 1, 0},
		"a certificate's place":                {0, invalid, true, 0, 1},
		"the API server does not answer":       {1, errors.New("connection refused"), false, 0, 0},
		"nor for a certificate":                {0, errors.New("connection refused"), false, 0, 0},
		"one that is there":                    {1, foreign, true, 1, 0},
		"an account that a stand-in has, too":  {2, foreign, true, 0, 0},
		"an account that cannot be called so":  {2, invalid, true, 1, 0},
		"its webhook is away, and says nobody": {1, apierrors.NewInternalError(errors.New("failed calling webhook")), false, 0, 0},
	} {
		g := standing(t, "ServiceEntry", "ServiceAccount")
		out := &Examined{Refused: map[int]error{}}
		if got := out.refuse(g, g.objects[x.object], x.err); got != x.goes || len(out.Refused) != x.refused || len(out.Notes) != x.notes {
			t.Errorf("%s: goes on %t, refused %v, notes %q", name, got, out.Refused, out.Notes)
		}
	}
}

func TestWithoutGateways(t *testing.T) {
	g := standing(t, "ServiceEntry", "Gateway")
	made := g.objects[2].DeepCopy()
	made.SetUID("1")
	other := g.objects[0].DeepCopy()
	other.SetUID("2")
	by := map[types.UID]*fixture.Object{"1": g.objects[2], "2": g.objects[0]}
	broken := errors.New("istiod does not answer")
	for name, x := range map[string]struct {
		err     error
		refused int
		fails   bool
	}{
		"all came up":     {nil, 0, false},
		"one did not":     {mesh.GatewayErrors{{Object: made, Err: errors.New("no class")}}, 1, false},
		"one of ours":     {mesh.GatewayErrors{{Object: other, Err: errors.New("no class")}}, 0, true},
		"another trouble": {broken, 0, true},
	} {
		out := &Examined{Refused: map[int]error{}}
		err := out.withoutGateways(g, by, x.err)
		if (err != nil) != x.fails || len(out.Refused) != x.refused || x.refused == 1 && out.Refused[1] == nil {
			t.Errorf("%s: %v, refused %v", name, err, out.Refused)
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
