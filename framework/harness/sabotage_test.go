package harness

import (
	"fmt"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// A sabotage of objects changes what is applied, and nothing that the case itself holds.
func TestSabotagedObjects(t *testing.T) {
	entry := func() egress.Object {
		return egress.Object{
			"kind": "ServiceEntry", "apiVersion": "networking.istio.io/v1", "metadata": map[string]any{"name": "tcp"},
			"spec": map[string]any{"hosts": []any{"tcp.example"}, "endpoints": []any{map[string]any{"address": "198.51.100.50"}}},
		}
	}
	byName := egress.Object{"kind": "ServiceEntry", "metadata": map[string]any{"name": "dns"}, "spec": map[string]any{"hosts": []any{"a.example"}}}
	rule := egress.Object{"kind": "DestinationRule", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"host": "tcp.example"}}
	objects := []egress.Object{entry(), byName, rule}
	random, err := landAtRandom(objects)
	if err != nil || len(random) != 3 {
		t.Fatal(random, err)
	}
	if got := fmt.Sprint(random[0]["spec"]); got != "map[endpoints:[map[address:198.51.100.50] map[address:203.0.113.66]] hosts:[tcp.example]]" {
		t.Error(got)
	}
	if fmt.Sprint(random[1:]) != fmt.Sprint(objects[1:]) {
		t.Errorf("objects without endpoints were changed: %v", random[1:])
	}
	cut := cutSoon(egress.Case{Objects: objects})
	if len(cut) != 2 {
		t.Fatal(cut)
	}
	if got := fmt.Sprint(cut[0]["spec"]); got != "map[host:tcp.example trafficPolicy:map[connectionPool:map[tcp:map[idleTimeout:0.5s]]]]" {
		t.Error(got)
	}
	if fmt.Sprint(objects[0]) != fmt.Sprint(entry()) || len(objects) != 3 {
		t.Errorf("the case's own objects were changed: %v", objects)
	}
	if _, err := landAtRandom([]egress.Object{{"kind": "ServiceEntry", "spec": map[string]any{"endpoints": "none"}}}); err == nil {
		t.Error("endpoints that are none were taken")
	}
}
