package harness

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIstiodEnded(t *testing.T) {
	killed := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}
	pod := func(name string, c corev1.ContainerStatus) []corev1.Pod {
		return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}}}
	}
	before := istiodPods{"a": 1}
	for name, x := range map[string]struct {
		now  []corev1.Pod
		want string
	}{
		"lives":                    {pod("a", corev1.ContainerStatus{RestartCount: 1, LastTerminationState: corev1.ContainerState{Terminated: killed}}), ""},
		"started again":            {pod("a", corev1.ContainerStatus{RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: killed}}), "exit status 137"},
		"not started again as yet": {pod("a", corev1.ContainerStatus{RestartCount: 1, State: corev1.ContainerState{Terminated: killed}}), "exit status 137"},
		"another pod":              {pod("b", corev1.ContainerStatus{}), "pod a is gone"},
	} {
		if got := before.ended(x.now); !strings.Contains(got, x.want) || (x.want == "") != (got == "") {
			t.Errorf("%s: %q, wanted %q", name, got, x.want)
		}
	}
}
