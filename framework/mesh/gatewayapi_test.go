package mesh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/fixture"
)

func TestObserved(t *testing.T) {
	for _, c := range []struct {
		name, object string
		want         bool
	}{
		{"a Gateway that nobody has seen", "kind: Gateway\nmetadata: {generation: 1}\nspec: {}", false},
		{"a Gateway as the CRD fills it in", "kind: Gateway\nmetadata: {generation: 1}\nstatus: {conditions: [{type: Accepted, status: Unknown, reason: Pending}]}", false},
		{"a Gateway", "kind: Gateway\nmetadata: {generation: 2}\nstatus: {conditions: [{type: Accepted, status: 'True', observedGeneration: 2}]}", true},
		{"a Gateway that is no good", "kind: Gateway\nmetadata: {generation: 2}\nstatus: {conditions: [{type: Accepted, status: 'False', observedGeneration: 2}]}", true},
		{"an earlier Gateway", "kind: Gateway\nmetadata: {generation: 2}\nstatus: {conditions: [{type: Accepted, status: 'True', observedGeneration: 1}]}", false},
		{"a route", "kind: HTTPRoute\nmetadata: {generation: 1}\nspec: {parentRefs: [{name: a}]}\nstatus: {parents: [{controllerName: istio.io/gateway-controller, conditions: [{type: Accepted, status: 'True', observedGeneration: 1}]}]}", true},
		{"a route of which one parent is missing", "kind: HTTPRoute\nmetadata: {generation: 1}\nspec: {parentRefs: [{name: a}, {name: b}]}\nstatus: {parents: [{controllerName: istio.io/gateway-controller, conditions: [{type: Accepted, status: 'True', observedGeneration: 1}]}]}", false},
		{"a route that somebody else has seen", "kind: HTTPRoute\nmetadata: {generation: 1}\nspec: {parentRefs: [{name: a}]}\nstatus: {parents: [{controllerName: example.com/other, conditions: [{type: Accepted, status: 'True', observedGeneration: 1}]}]}", false},
		{"no object of the Gateway API", "kind: Gateway\nmetadata: {generation: 1}\nstatus: {conditions: [7]}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &fixture.Object{}
			if err := yaml.Unmarshal([]byte(c.object), &o.Object); err != nil {
				t.Fatal(err)
			}
			if f, ok := o.Object["metadata"].(map[string]any)["generation"].(float64); ok { // an API object has whole numbers
				o.SetGeneration(int64(f))
			}
			if got := Observed(o); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestGatewayAPICRDs(t *testing.T) {
	module := t.TempDir()
	if _, err := gatewayAPI(module); err == nil {
		t.Error("a module without CRDs")
	}
	var docs []string
	for _, n := range append([]string{"udproutes.gateway.networking.k8s.io"}, gatewayAPIKinds...) {
		docs = append(docs, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: "+n+"\nspec: {}")
	}
	file := filepath.Join(module, gatewayAPIFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for left, want := range map[int]string{len(docs): "", len(docs) - 1: "has 4 of the CRDs"} {
		if err := os.WriteFile(file, []byte(strings.Join(docs[:left], "\n---\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		crds, err := gatewayAPI(module)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d documents: %v", left, err)
		}
		if err == nil && len(crds) != len(gatewayAPIKinds) {
			t.Errorf("%d CRDs", len(crds))
		}
	}
}

// classes is a cluster in which a class is there after so many questions; negative is never.
type classes map[string]int

func (c classes) Get(_ context.Context, o *fixture.Object) (*fixture.Object, error) {
	left, ok := c[o.GetName()]
	switch {
	case !ok:
		return nil, errors.New("the connection is cut")
	case left == 0:
		return o, nil
	}
	c[o.GetName()]--
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "gatewayclasses"}, o.GetName())
}

func TestAwaitGatewayClasses(t *testing.T) {
	for name, x := range map[string]struct {
		have classes
		want string
	}{
		"there":             {classes{"istio": 0, "istio-remote": 0}, ""},
		"one after another": {classes{"istio": 1, "istio-remote": 2}, ""},
		"one never":         {classes{"istio": 0, "istio-remote": -1}, "istiod has not made the GatewayClass istio-remote within 200ms"},
		"no answer":         {classes{"istio": 0}, "the connection is cut"},
	} {
		err := AwaitGatewayClasses(t.Context(), x.have, 200*time.Millisecond)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, wanted %q", name, err, x.want)
		}
	}
}
