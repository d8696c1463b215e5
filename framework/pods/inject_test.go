package pods

import (
	"reflect"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

func TestOverlay(t *testing.T) {
	under := egress.Object{"global": egress.Object{"hub": "h", "proxy": egress.Object{"image": "proxyv2"}}, "revision": ""}
	got := overlay(under, egress.Object{"global": egress.Object{"nativeNftables": true, "proxy": egress.Object{"image": "other"}}, "new": egress.Object{"a": 1}})
	want := egress.Object{
		"global":   egress.Object{"hub": "h", "nativeNftables": true, "proxy": egress.Object{"image": "other"}},
		"revision": "", "new": egress.Object{"a": 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if !reflect.DeepEqual(under["global"], egress.Object{"hub": "h", "proxy": egress.Object{"image": "proxyv2"}}) {
		t.Errorf("the values below have changed: %v", under)
	}
}
