package pods

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/samples"
)

// A client that is not called has no endpoints: without a Service, or with one that selects no pod.
func TestWithoutEndpoints(t *testing.T) {
	objs, err := fixture.Load(t.Context(), samples.FS, "sleep.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for stay, want := range map[bool][]string{false: {"ServiceAccount", "Deployment"}, true: {"ServiceAccount", "Service", "Deployment"}} {
		var kinds []string
		for _, o := range withoutEndpoints(objs, stay) {
			kinds = append(kinds, o.GetKind())
			selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector")
			if o.GetKind() == "Service" && (len(selector) != 1 || selector["app"] == "sleep") {
				t.Errorf("it selects %v", selector)
			}
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("with a Service %t: %v, wanted %v", stay, kinds, want)
		}
	}
	if selector, _, _ := unstructured.NestedStringMap(objs[1].Object, "spec", "selector"); selector["app"] != "sleep" {
		t.Error("the sample itself has changed")
	}
}
