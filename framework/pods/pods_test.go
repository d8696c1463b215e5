package pods

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/samples"
)

// A client that is not called has no endpoints: without a Service, or with one that selects no pod.
func TestWithoutEndpoints(t *testing.T) {
	objs, err := fixture.Load(t.Context(), samples.FS, "sleep/sleep.yaml")
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

// An init container can be used when it runs, and a pod with one never becomes ready.
func TestInitContainer(t *testing.T) {
	o := &fixture.Object{Object: map[string]any{"kind": "Deployment", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "sleep", "image": "client"}, map[string]any{"name": "more"}},
	}}}}}
	if err := asInit(o, "nobody"); err == nil {
		t.Error("a container that is not there is made an init container")
	}
	if err := asInit(o, "sleep"); err != nil {
		t.Fatal(err)
	}
	names := func(kind string) (out []string) {
		all, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", kind)
		for _, k := range all {
			out = append(out, k.(map[string]any)["name"].(string)) //nolint:forcetypeassert // made above
		}
		return out
	}
	if got := names("initContainers"); !slices.Equal(got, []string{"sleep"}) {
		t.Errorf("init containers %v", got)
	}
	if got := names("containers"); !slices.Equal(got, []string{"sleep-later", "more"}) {
		t.Errorf("containers %v", got)
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for name, x := range map[string]struct {
		status corev1.PodStatus
		want   bool
	}{
		"it runs":          {corev1.PodStatus{PodIP: "10.0.0.1", InitContainerStatuses: []corev1.ContainerStatus{{Name: "istio-proxy", State: running}, {Name: "sleep", State: running}}}, true},
		"its sidecar runs": {corev1.PodStatus{PodIP: "10.0.0.1", InitContainerStatuses: []corev1.ContainerStatus{{Name: "istio-proxy", State: running}, {Name: "sleep"}}}, false},
		"without address":  {corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: "sleep", State: running}}}, false},
	} {
		if got := usable(&corev1.Pod{Status: x.status}, egress.Client{Container: "sleep", Init: true}); got != x.want {
			t.Errorf("%s: usable %t", name, got)
		}
	}
}

// A pod that is slow is waited for longer than one in which something has gone wrong.
func TestFails(t *testing.T) {
	waits := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}}
	}
	ended := func(code int32) corev1.PodStatus {
		return corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}}
	}
	scheduled := func(s corev1.ConditionStatus) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: s}}}
	}
	for name, x := range map[string]struct {
		status corev1.PodStatus
		want   bool
	}{
		"just made":                {corev1.PodStatus{Phase: corev1.PodPending}, false},
		"its containers are made":  {waits("ContainerCreating"), false},
		"its init containers run":  {waits("PodInitializing"), false},
		"its image is not there":   {waits("ImagePullBackOff"), true},
		"it crashes":               {waits("CrashLoopBackOff"), true},
		"it is started again":      {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{RestartCount: 1}}}, true},
		"an init container did it": {ended(0), false},
		"an init container failed": {ended(1), true},
		"a node has it":            {scheduled(corev1.ConditionTrue), false},
		"no node takes it":         {scheduled(corev1.ConditionFalse), true},
		"it has ended":             {corev1.PodStatus{Phase: corev1.PodFailed}, true},
	} {
		if got := fails(&corev1.Pod{Status: x.status}); got != x.want {
			t.Errorf("%s: fails %t", name, got)
		}
	}
}
