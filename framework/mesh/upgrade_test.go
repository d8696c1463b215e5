package mesh

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// An istiod is gone when none of its pods is left, whatever other revisions have.
func TestAwaitGone(t *testing.T) {
	old := revisionPod("istiod-1", "")
	cs := fake.NewClientset(old, revisionPod("istiod-x-1", "x"))
	if err := AwaitGone(t.Context(), cs, DefaultRevision, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "revision default") {
		t.Errorf("%v", err)
	}
	if err := cs.CoreV1().Pods(SystemNamespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := AwaitGone(t.Context(), cs, DefaultRevision, 5*time.Second); err != nil {
		t.Error(err)
	}
}
