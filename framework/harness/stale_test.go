package harness

import (
	"context"
	"slices"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
)

// applies notes what is applied.
type applies struct {
	engine.Rules
	c egress.Case
}

func (a *applies) Apply(_ context.Context, c egress.Case) (engine.Change, error) {
	a.c = c
	return engine.Change{}, nil
}

// A stale proxy sees neither the objects nor the fixtures of a case, which itself stays as it is.
func TestStale(t *testing.T) {
	files := fstest.MapFS{"f.yaml": {Data: []byte("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: f}\nspec: {hosts: [a.example]}\n")}}
	entry := egress.Object{"kind": "ServiceEntry", "spec": map[string]any{"exportTo": []any{"*"}}}
	secret := egress.Object{"kind": "Secret"}
	c := egress.Case{Fixtures: []string{"f.yaml"}, Objects: []egress.Object{entry, secret}}
	inner := &applies{}
	if _, err := (stale{inner, files}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var hidden []string
	for _, o := range inner.c.Objects {
		spec, _ := o["spec"].(map[string]any)
		if to, _ := spec["exportTo"].([]any); slices.Equal(to, []any{"~"}) {
			hidden = append(hidden, o["kind"].(string))
		}
	}
	if len(inner.c.Fixtures) != 0 || len(inner.c.Objects) != 3 || !slices.Equal(hidden, []string{"VirtualService", "ServiceEntry"}) {
		t.Errorf("hidden %q of %v", hidden, inner.c.Objects)
	}
	if len(c.Fixtures) != 1 || entry["spec"].(map[string]any)["exportTo"].([]any)[0] != "*" {
		t.Errorf("the case has changed: %v", c)
	}
	if _, err := (stale{inner, fstest.MapFS{}}).Apply(t.Context(), c); err == nil {
		t.Error("a fixture that cannot be read is no error")
	}
}
