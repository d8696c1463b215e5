package pods

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/samples"
)

func TestStandIn(t *testing.T) {
	c := egress.Client{Name: "standin-shop-cart", Namespace: "shop", Injection: egress.LabelledInjection, StandIn: &egress.StandIn{
		Labels: map[string]string{"app": "cart", "version": "v1"}, ServiceAccount: "cart", Group: 1337, Ports: []egress.ContainerPort{{Name: "http", Port: 8080}, {Port: 53, Protocol: "UDP"}},
	}}
	c.Default()
	c.Workload = "cart"
	plain, err := fixture.Load(t.Context(), samples.FS, c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	objs, err := standIn(plain, c)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*fixture.Object{}
	for _, o := range objs {
		kinds[o.GetKind()] = o
	}
	d := kinds["Deployment"]
	if len(objs) != 2 || kinds["ServiceAccount"].GetName() != "cart" || d.GetName() != "cart" || kinds["Service"] != nil {
		t.Fatalf("%v", objs)
	}
	labels, _, _ := unstructured.NestedStringMap(d.Object, "spec", "template", "metadata", "labels")
	account, _, _ := unstructured.NestedString(d.Object, "spec", "template", "spec", "serviceAccountName")
	selects, _, _ := unstructured.NestedStringMap(d.Object, "spec", "selector", "matchLabels")
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	ports, _ := containers[0].(map[string]any)["ports"].([]any)
	if labels["app"] != "cart" || labels["version"] != "v1" || labels[clientLabel] != c.Name || selects[clientLabel] != c.Name || len(selects) != 1 || account != "cart" || len(ports) != 2 {
		t.Errorf("labels %v, selects %v, account %s, ports %v", labels, selects, account, ports)
	}
	if native, _, _ := unstructured.NestedString(d.Object, "spec", "template", "metadata", "annotations", egress.NativeSidecarAnnotation); native != "false" {
		t.Errorf("its sidecar keeps it from starting: %q", native)
	}
	group, _, _ := unstructured.NestedInt64(containers[0].(map[string]any), "securityContext", "runAsGroup") //nolint:forcetypeassert // as above
	if group != 1337 {
		t.Errorf("it runs as group %d", group)
	}
	if selector(c) != clientLabel+"="+c.Name || selector(egress.Client{Workload: "sleep"}) != "app=sleep" {
		t.Errorf("it is found by %s", selector(c))
	}
	c.StandIn.ServiceAccount = "default"
	if objs, err := standIn(plain, c); err != nil || len(objs) != 1 {
		t.Errorf("every namespace has its default account: %v %v", objs, err)
	}
	for _, o := range plain { // which other clients have, too
		if o.GetKind() == "Deployment" && o.GetName() != "sleep" {
			t.Errorf("the sample was changed: %s", o.GetName())
		}
	}
}

// Whether a stand-in has a sidecar is known when its pod is there.
func TestKnown(t *testing.T) {
	c := egress.Client{Injection: egress.LabelledInjection, StandIn: &egress.StandIn{}}
	injected := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "istio-proxy"}}}}
	if got := known(c, injected); !got.Captured() || got.Injection != egress.AutoInjection {
		t.Errorf("%+v", got)
	}
	if got := known(c, &corev1.Pod{}); got.Captured() {
		t.Errorf("%+v", got)
	}
	c.Injection = egress.ManualInjection
	if got := known(c, &corev1.Pod{}); got.Injection != egress.ManualInjection {
		t.Errorf("%+v", got)
	}
}

// A stand-in is used when its containers run; whether its proxy is ready, that says itself.
func TestStandInUsable(t *testing.T) {
	running, waiting := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
	of := func(ip string, states ...corev1.ContainerState) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 2)}, Status: corev1.PodStatus{PodIP: ip}}
		for _, s := range states {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{State: s})
		}
		return p
	}
	for name, x := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"both run":         {of("10.0.0.1", running, running), true},
		"one waits":        {of("10.0.0.1", running, waiting), false},
		"one is not there": {of("10.0.0.1", running), false},
		"no address":       {of("", running, running), false},
	} {
		if got := usable(x.pod, egress.Client{Container: "sleep", StandIn: &egress.StandIn{}}); got != x.want {
			t.Errorf("%s: usable %t", name, got)
		}
		if usable(x.pod, egress.Client{Container: "sleep"}) {
			t.Errorf("%s: a client that is no stand-in is used before the kubelet calls it ready", name)
		}
	}
}

// The proxy is asked where the kubelet asks it.
func TestReadiness(t *testing.T) {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(15021)}}}
	proxy, other := corev1.Container{Name: "istio-proxy", ReadinessProbe: probe}, corev1.Container{Name: "sleep"}
	for name, x := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"beside it":        {corev1.PodSpec{Containers: []corev1.Container{other, proxy}}, "http://127.0.0.1:15021/healthz/ready"},
		"a native sidecar": {corev1.PodSpec{InitContainers: []corev1.Container{proxy}, Containers: []corev1.Container{other}}, "http://127.0.0.1:15021/healthz/ready"},
		"no proxy":         {corev1.PodSpec{Containers: []corev1.Container{other}}, ""},
		"without a probe":  {corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy"}}}, ""},
	} {
		if got, err := readiness(&corev1.Pod{Spec: x.spec}); got != x.want || (err == nil) != (x.want != "") {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// Whoever of the proxy and the kubelet knows it first decides, and only the kubelet that it will not be.
func TestEither(t *testing.T) {
	broken := errors.New("broken")
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	asked := 0
	for name, x := range map[string]struct {
		proxy   func(context.Context) (bool, error)
		kubelet func(context.Context) error
		want    error
	}{
		"the proxy, asked again":           {func(context.Context) (bool, error) { asked++; return asked == 3, nil }, never, nil},
		"the kubelet":                      {func(context.Context) (bool, error) { return false, nil }, func(context.Context) error { return nil }, nil},
		"the pod is broken":                {func(context.Context) (bool, error) { return false, nil }, func(context.Context) error { return broken }, broken},
		"the proxy cannot be asked":        {func(context.Context) (bool, error) { return false, errors.New("no agent") }, func(context.Context) error { return nil }, nil},
		"nor does the kubelet know better": {func(context.Context) (bool, error) { return false, errors.New("no agent") }, func(context.Context) error { return broken }, broken},
	} {
		if got := either(t.Context(), x.proxy, x.kubelet); !errors.Is(got, x.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
