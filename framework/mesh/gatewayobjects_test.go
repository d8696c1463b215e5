package mesh

import (
	"context"
	"errors"
	"testing"

	"mesh-egress-conformance/framework/fixture"
)

// noClasses is an API server that knows no class of gateways.
type noClasses struct{}

func (noClasses) Get(context.Context, *fixture.Object) (*fixture.Object, error) {
	return nil, errors.New("not found")
}

// A gateway that does not come up is told by its object, and keeps nobody from waiting for the others.
func TestAwaitGatewaysTells(t *testing.T) {
	f, _ := newFakeMesh()
	c, _ := changer(t, f)
	c.objects = noClasses{}
	gateway := func(name, class string) *fixture.Object {
		o := &fixture.Object{Object: map[string]any{"spec": map[string]any{"gatewayClassName": class}}}
		o.SetAPIVersion(GatewayAPIGroup + "/v1")
		o.SetKind("Gateway")
		o.SetName(name)
		return o
	}
	made := []*fixture.Object{gateway("a", "nginx"), entry("b"), gateway("c", "eg")}
	_, err := c.AwaitGateways(t.Context(), &Gateways{}, made, nil)
	var failed GatewayErrors
	if !errors.As(err, &failed) || len(failed) != 2 || failed[0].Object != made[0] || failed[1].Object != made[2] {
		t.Errorf("%v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := c.AwaitGateways(ended, &Gateways{}, made, nil); err == nil || errors.As(err, &failed) {
		t.Errorf("after the end of all: %v", err)
	}
	if _, err := c.AwaitGateways(t.Context(), &Gateways{}, made[1:2], nil); err != nil {
		t.Error(err)
	}
}
