package harness

import (
	"encoding/json"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/pods"
)

// A proxy is in doubt until it was freed of the last one, whoever raised that.
func TestDoubts(t *testing.T) {
	d := newDoubts()
	doubted := func(proxies ...string) int {
		t.Helper()
		n, why, since := d.about(proxies)
		if (why == "") != since.IsZero() {
			t.Errorf("%q since %s", why, since)
		}
		if why == "" {
			return 0
		}
		return n
	}
	if doubted("a.n") != 0 {
		t.Error("in doubt from the beginning")
	}
	d.raise("first")
	if doubted("a.n", "b.n") != 1 || doubted() != 0 {
		t.Error("a doubt that was raised is not there, or one without proxies")
	}
	d.free(1, []string{"a.n"})
	if doubted("a.n") != 0 {
		t.Error("freed, and in doubt")
	}
	d.raise("second")
	d.free(1, []string{"a.n", "b.n"}) // by a push from before the second
	if doubted("a.n") != 2 || doubted("b.n") != 2 {
		t.Error("freed of a doubt that came later")
	}
	d.free(2, []string{"a.n", "b.n"})
	if doubted("a.n", "b.n") != 0 {
		t.Error("freed of both, and in doubt")
	}
}

// A push that concerns every sidecar has a cause in each of their namespaces.
func TestNudges(t *testing.T) {
	for filters, want := range map[bool][]string{
		false: {"a ServiceEntry", "a VirtualService", "b ServiceEntry", "b VirtualService"},
		true:  {"a ServiceEntry", "a VirtualService", "a EnvoyFilter", "b ServiceEntry", "b VirtualService", "b EnvoyFilter"},
	} {
		var got []string
		for _, o := range nudges([]string{"a", "b"}, filters) {
			got = append(got, o.GetNamespace()+" "+o.GetKind())
			exports, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "exportTo")
			if o.GetKind() != "EnvoyFilter" && !slices.Equal(exports, []string{"."}) {
				t.Errorf("%s is exported to %v", fixture.Describe(o), exports)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("with filters %t: %v, wanted %v", filters, got, want)
		}
	}
}

// A Sidecar that is widened for a moment imports all that it did, and its present state is left alone.
func TestWidened(t *testing.T) {
	for text, want := range map[string]string{
		`{"egress":[{"hosts":["./a.example","istio-system/*"]},{"hosts":["~/*"]}]}`: `{"egress":[{"hosts":["./a.example","istio-system/*","./nudge.invalid"]},{"hosts":["~/*"]}]}`,
		`{"outboundTrafficPolicy":{"mode":"ALLOW_ANY"}}`:                            `{"outboundTrafficPolicy":{"mode":"ALLOW_ANY"}}`,
	} {
		var spec map[string]any
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			t.Fatal(err)
		}
		o := &fixture.Object{Object: map[string]any{"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": map[string]any{
			"name": "s", "namespace": "a", "uid": "u", "resourceVersion": "1", "managedFields": []any{}, "labels": map[string]any{"l": "m"},
		}, "spec": spec}}
		plain := bare(o)
		got, _ := json.Marshal(widened(plain).Object["spec"])
		left, _ := json.Marshal(o.Object["spec"])
		if string(got) != want || string(left) != text {
			t.Errorf("%s: %s, left %s", text, got, left)
		}
		if plain.GetUID() != "" || plain.GetResourceVersion() != "" || plain.GetName() != "s" || plain.GetNamespace() != "a" || plain.GetLabels()["l"] != "m" {
			t.Errorf("%+v", plain.Object)
		}
	}
}

// A case whose clients have no proxies needs no push.
func TestNudgeOfNobody(t *testing.T) {
	r := &rules{clients: clients{pods: pods.New(pods.Options{})}}
	if s, err := r.nudge(t.Context(), egress.Case{Name: "c"}); err != nil || !s.Reached {
		t.Errorf("%+v, %v", s, err)
	}
}
