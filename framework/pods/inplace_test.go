package pods

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

func inPlaceClient() egress.Client {
	c := egress.Client{Name: "standin-shop-cart", Namespace: "shop", Injection: egress.LabelledInjection, Annotations: map[string]string{"traffic.sidecar.istio.io/excludeOutboundPorts": "22"}, StandIn: &egress.StandIn{
		Labels: map[string]string{"app": "cart"}, ServiceAccount: "cart", InPlace: true,
	}}
	c.Default()
	c.Workload = "cart"
	return c
}

// typed is an object as a pod.
func typed(t *testing.T, o *fixture.Object) *corev1.Pod {
	t.Helper()
	b, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var p corev1.Pod
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// A pod in place is the workload's to whatever decides about egress, and nobody's to whatever counts, calls or adopts pods.
func TestInPlacePod(t *testing.T) {
	owner, custom := fixture.RunOwner("run-1"), &Customization{Image: "curl"}
	c := inPlaceClient()
	cm := inPlaceOwner(c, owner, custom)
	o, err := inPlacePod(c, owner, custom, "uid-of-the-map")
	if err != nil {
		t.Fatal(err)
	}
	p := typed(t, o)
	if p.Labels["app"] != "cart" || p.Labels[fixture.RunLabel] != "run-1" || p.Spec.ServiceAccountName != "cart" || p.Annotations["traffic.sidecar.istio.io/excludeOutboundPorts"] != "22" || p.Namespace != "shop" {
		t.Errorf("it is not the workload's: %+v", p)
	}
	if _, has := p.Labels["sidecar.istio.io/inject"]; has {
		t.Error("whether it has a sidecar is for the workload's labels to say")
	}
	refs := p.OwnerReferences
	if len(refs) != 1 || refs[0].Kind != "ConfigMap" || refs[0].Name != cm.GetName() || refs[0].UID != "uid-of-the-map" || refs[0].Controller == nil || !*refs[0].Controller || refs[0].BlockOwnerDeletion != nil {
		t.Errorf("a controller could adopt it: %+v", refs)
	}
	if gates := p.Spec.ReadinessGates; len(gates) != 1 || gates[0].ConditionType != NeverReady {
		t.Errorf("it could become ready: %+v", gates)
	}
	if *p.Spec.AutomountServiceAccountToken || p.Spec.DNSPolicy != "" && p.Spec.DNSPolicy != corev1.DNSClusterFirst || len(p.Spec.Volumes) != 1 || p.Spec.Containers[0].Image != "curl" {
		t.Errorf("%+v", p.Spec)
	}
	if s := p.Spec.Containers[0].SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 1000 || *s.AllowPrivilegeEscalation || s.Capabilities.Drop[0] != "ALL" {
		t.Errorf("a restricted namespace would refuse it: %+v", s)
	}
	for k, v := range p.Labels {
		if why := validation.IsValidLabelValue(v); len(why) > 0 {
			t.Errorf("label %s=%s: %v", k, v, why)
		}
	}
	if want := clientLabel + "=" + p.Labels[clientLabel]; selector(c) != want {
		t.Errorf("it is found by %s, and has %s", selector(c), want)
	}
}

func TestInPlaceNames(t *testing.T) {
	owner := fixture.RunOwner("run-123456789a")
	long := inPlaceClient()
	long.Workload = strings.Repeat("a-very-long-name-", 3)
	other := long
	other.Name += "-2"
	if inPlaceName(long, owner) == inPlaceName(other, owner) {
		t.Error("two workloads have one name")
	}
	for _, c := range []egress.Client{inPlaceClient(), long, other} {
		if why := slices.Concat(validation.IsDNS1123Subdomain(inPlaceName(c, owner)), validation.IsValidLabelValue(inPlaceKey(c))); len(why) > 0 {
			t.Errorf("%s: %v", inPlaceName(c, owner), why)
		}
	}
}

// Against stand-ins it brings who it asks for names, and whom it and its sidecar trust; the cluster may choose its user.
func TestInPlaceStandIns(t *testing.T) {
	owner, custom := fixture.RunOwner("run-1"), &Customization{Image: "curl", DNS: "10.0.0.9", CA: []byte("bundle"), AnyUser: true}
	c := inPlaceClient()
	o, err := inPlacePod(c, owner, custom, "u")
	if err != nil {
		t.Fatal(err)
	}
	p := typed(t, o)
	if p.Spec.DNSPolicy != corev1.DNSNone || p.Spec.DNSConfig.Nameservers[0] != "10.0.0.9" || len(p.Spec.Volumes) != 2 || p.Spec.Volumes[1].ConfigMap.Name != p.Name || p.Spec.Containers[0].SecurityContext.RunAsUser != nil {
		t.Errorf("%+v", p.Spec)
	}
	if !strings.Contains(p.Annotations["sidecar.istio.io/userVolume"], p.Name) || c.Annotations["sidecar.istio.io/userVolume"] != "" {
		t.Errorf("its sidecar: %v; the workload's: %v", p.Annotations, c.Annotations)
	}
	if data := inPlaceOwner(c, owner, custom).Object["data"].(map[string]any); data[trustFile] != "bundle" { //nolint:forcetypeassert // as it is made
		t.Errorf("%v", data)
	}
	c.Injection, c.User, c.StandIn.Group = egress.NoInjection, 1337, 1337
	if o, err = inPlacePod(c, owner, custom, "u"); err != nil {
		t.Fatal(err)
	}
	p = typed(t, o)
	if s := p.Spec.Containers[0].SecurityContext; p.Labels["sidecar.istio.io/inject"] != "false" || p.Annotations["sidecar.istio.io/userVolume"] != "" || *s.RunAsUser != 1337 || *s.RunAsGroup != 1337 {
		t.Errorf("%+v", p)
	}
}

// It never becomes ready, and is used as soon as its containers are.
func TestInPlaceUsable(t *testing.T) {
	c := inPlaceClient()
	at := func(ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}, {Type: corev1.ContainersReady, Status: ready}}}}
	}
	if !usable(at(corev1.ConditionTrue), c) || usable(at(corev1.ConditionFalse), c) {
		t.Error("its containers decide")
	}
	c.StandIn = nil
	if usable(at(corev1.ConditionTrue), c) {
		t.Error("a pod that can become ready is waited for")
	}
}
