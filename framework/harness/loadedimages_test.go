package harness

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// An API server uses a policy some time after it has it.
func TestAwaitLoadedImages(t *testing.T) {
	for name, x := range map[string]struct {
		late int // how many pods the policy does not concern yet
		want string
	}{
		"at once":    {0, ""},
		"a moment":   {2, ""},
		"not at all": {1 << 20, "wait until the API server uses the policy for loaded images"},
	} {
		t.Run(name, func(t *testing.T) {
			cs, asked := fake.NewClientset(), 0
			cs.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
				create := a.(k8stesting.CreateActionImpl)
				if len(create.CreateOptions.DryRun) == 0 {
					t.Error("a pod was made")
				}
				asked++
				if asked == 2 {
					return true, nil, apierrors.NewInternalError(errors.New("not yet"))
				}
				pod := create.Object.(*corev1.Pod).DeepCopy()
				pod.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
				if asked <= x.late {
					pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
				}
				return true, pod, nil
			})
			err := awaitLoadedImages(t.Context(), cs, 500*time.Millisecond)
			if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v", err)
			}
			if x.want == "" && asked <= x.late {
				t.Errorf("%d questions, and the policy was not used yet", asked)
			}
		})
	}
}
