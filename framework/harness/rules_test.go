package harness

import (
	"slices"
	"testing"

	"mesh-egress-conformance/framework/fixture"
)

func TestOrdered(t *testing.T) {
	named := func(kind, name string) *fixture.Object {
		return &fixture.Object{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name}}}
	}
	in := []*fixture.Object{named("Secret", "s"), named("ServiceEntry", "a"), named("VirtualService", "v"), named("DestinationRule", "d"), named("ServiceEntry", "b"), named("DestinationRule", "e")}
	var got []string
	for _, o := range ordered(in) {
		got = append(got, o.GetName())
	}
	if want := []string{"s", "d", "e", "a", "v", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %v, wanted %v", got, want)
	}
}
