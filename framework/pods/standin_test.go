package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
