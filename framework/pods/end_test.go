package pods

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"mesh-egress-conformance/framework/limits"
)

// A pod is gone when there is none of its name, or another one; one that is there, or that nobody answers for, is not.
func TestWaitEnded(t *testing.T) {
	pod := func(uid types.UID) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sleep", UID: uid}}
	}
	for name, x := range map[string]struct {
		there *corev1.Pod
		err   error // of the API server
		gone  bool
	}{
		"none":                           {nil, nil, true},
		"another one":                    {pod("new"), nil, true},
		"itself":                         {pod("old"), nil, false},
		"the API server does not answer": {nil, errors.New("connection refused"), false},
	} {
		cs := fake.NewClientset()
		if x.there != nil {
			cs = fake.NewClientset(x.there)
		}
		if x.err != nil {
			cs.PrependReactor("get", "pods", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, x.err })
		}
		p := &Pods{cs: cs, limits: limits.Pods{Ready: time.Millisecond}}
		if err := p.waitEnded(t.Context(), "ns", "sleep", "old"); (err == nil) != x.gone {
			t.Errorf("%s: %v", name, err)
		}
	}
}
