package harness

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"mesh-egress-conformance/framework/fixture"
)

// A rollout is over when every pod is of the new template and available, and none of the old is left, not even one that ends.
func TestAwaitRollout(t *testing.T) {
	two := int32(2)
	labels := map[string]string{"app": callersName}
	deployment := func(generation, observed int64, updated, available, there int32) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: callersName, Namespace: "n", Generation: generation},
			Spec:       appsv1.DeploymentSpec{Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels}},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: observed, UpdatedReplicas: updated, AvailableReplicas: available, Replicas: there},
		}
	}
	pod := func(name string) runtime.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", Labels: labels}}
	}
	for name, x := range map[string]struct {
		d    *appsv1.Deployment
		pods []runtime.Object
		want string
	}{
		"over":              {deployment(2, 2, 2, 2, 2), []runtime.Object{pod("a"), pod("b")}, ""},
		"not seen yet":      {deployment(2, 1, 2, 2, 2), []runtime.Object{pod("a"), pod("b")}, "of 2 pods 2 are new"},
		"an old one left":   {deployment(2, 2, 2, 2, 3), []runtime.Object{pod("a"), pod("b")}, "2 available, 3 there"},
		"one is not ready":  {deployment(2, 2, 2, 1, 2), []runtime.Object{pod("a"), pod("b")}, "1 available"},
		"an old one ending": {deployment(2, 2, 2, 2, 2), []runtime.Object{pod("a"), pod("b"), pod("old")}, "3 pods are there"},
	} {
		err := awaitRollout(t.Context(), fake.NewClientset(append(x.pods, x.d)...), "n", callersName, 150*time.Millisecond)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The workload and the sabotage are objects that can be made, in the callers' namespace.
func TestCallersObjects(t *testing.T) {
	for _, text := range []string{strings.ReplaceAll(callersYAML, "%d", "2"), openSidecar, httpbinEntry} {
		objs, err := fixture.Parse(t.Context(), []byte(text))
		if err != nil || len(objs) == 0 {
			t.Fatal(err)
		}
		for _, o := range objs {
			if o.GetKind() == "Namespace" && o.GetName() != callersNamespace || o.GetKind() != "Namespace" && o.GetNamespace() != callersNamespace {
				t.Errorf("%s is elsewhere", fixture.Describe(o))
			}
		}
	}
}

// Each strategy begins and ends with traffic alone, and ends with the right istiod gone.
func TestUpgradePhases(t *testing.T) {
	for strategy, want := range map[string]string{
		ByRevision: "before canary move gateway old-goes after",
		InPlace:    "before istiod restart gateway after",
		Rollback:   "before canary move gateway back gateway-back canary-goes after",
	} {
		var got []string
		for _, p := range (&upgrader{o: UpgradeOptions{Strategy: strategy}}).phases() {
			got = append(got, p.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q", strategy, got)
		}
	}
}
