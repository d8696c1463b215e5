package pods

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// A namespace that every cluster has gets the labels of the stand-ins in it, for as long as they are there.
func TestBorrow(t *testing.T) {
	enabled := map[string]string{"istio-injection": "enabled"}
	for name, x := range map[string]struct {
		namespace  string
		have, want map[string]string
		then       map[string]string // the labels meanwhile; nil where it is refused
	}{
		"default":                      {"default", nil, enabled, enabled},
		"labels of its own stay":       {"default", map[string]string{"a": "b"}, enabled, map[string]string{"a": "b", "istio-injection": "enabled"}},
		"what both have is the team's": {"default", map[string]string{"istio-injection": "disabled"}, enabled, enabled},
		"the cluster's own":            {"egress-client", map[string]string{fixture.ClusterLabel: "up"}, enabled, nil},
		"the cluster's own, alike":     {"egress-client", map[string]string{fixture.ClusterLabel: "up", "istio-injection": "enabled"}, enabled, map[string]string{fixture.ClusterLabel: "up", "istio-injection": "enabled"}},
		"Istio's, without a sidecar":   {"istio-system", nil, map[string]string{"app": "istio"}, map[string]string{}},
		"Istio's, with one":            {"istio-system", nil, enabled, nil},
		"Istio's, by a revision":       {"istio-system", nil, map[string]string{egress.RevisionLabel: "default"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			have := maps.Clone(x.have)
			if have == nil {
				have = map[string]string{}
			}
			have[nameLabel] = x.namespace
			cs := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace, Labels: maps.Clone(have)}})
			p := &Pods{cs: cs, owner: fixture.RunOwner("run-1")}
			now := func() map[string]string {
				ns, err := cs.CoreV1().Namespaces().Get(t.Context(), x.namespace, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return theirs(ns.Labels)
			}
			there := &fixture.Object{Object: map[string]any{}}
			there.SetLabels(have)
			lay := func(labels map[string]string) error {
				return p.borrow(t.Context(), egress.Client{Namespace: x.namespace, StandIn: &egress.StandIn{NamespaceLabels: labels}}, there)
			}
			err := lay(x.want)
			if (err == nil) != (x.then != nil) || err != nil && !strings.Contains(err.Error(), "give the workloads another namespace") {
				t.Fatalf("%v", err)
			}
			if err == nil && !maps.Equal(now(), x.then) {
				t.Errorf("labelled %v, want %v", now(), x.then)
			}
			if x.namespace == "default" { // and then as another version of the team's objects has it
				if err := lay(map[string]string{"version": "2"}); err != nil {
					t.Fatal(err)
				}
				want := theirs(have)
				want["version"] = "2"
				if !maps.Equal(now(), want) {
					t.Errorf("labelled %v, want %v", now(), want)
				}
			}
			if err := Return(t.Context(), cs); err != nil || !maps.Equal(now(), theirs(have)) {
				t.Errorf("%v: left with %v, had %v", err, now(), have)
			}
		})
	}
}

// What cannot be given back is told, and keeps no other namespace from being given back.
func TestReturnTells(t *testing.T) {
	space := func(name, note string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"x": "y"}, Annotations: map[string]string{borrowed: note}}}
	}
	cs := fake.NewClientset(space("a", "{"), space("b", "{}"))
	err := Return(t.Context(), cs)
	b, _ := cs.CoreV1().Namespaces().Get(t.Context(), "b", metav1.GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "give namespace a its labels back") || len(b.Labels)+len(b.Annotations) != 0 {
		t.Errorf("%v %v", err, b)
	}
}
