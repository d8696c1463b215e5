package mesh

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// podWith is a pod whose proxy has arguments and runs as a container; "" for one that does not run yet.
func podWith(namespace, name, container, ip string, ready bool, args ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name), Labels: map[string]string{"team": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "other"}, {Name: ProxyContainer, Args: args}}},
	}
	if container != "" {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: ProxyContainer, ContainerID: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

var labels = map[string]string{"team": "a"}

// of gives a pod the annotation and the label with the revision; "" for none.
func of(p *corev1.Pod, annotation, label string) *corev1.Pod {
	for to, value := range map[*map[string]string]string{&p.Annotations: annotation, &p.Labels: label} {
		if value != "" {
			*to = map[string]string{"istio.io/rev": value}
		}
	}
	return p
}

// A gateway's istiod is the one that it says itself, as the injection has written it.
func TestRevisionOfGateways(t *testing.T) {
	router := func(name string) *corev1.Pod {
		return podWith("n", name, "c-"+name, "10.0.1.1", true, "proxy", "router")
	}
	cs := fake.NewClientset(router("plain"), of(router("injected"), "next", ""), of(router("tagged"), "next", "prod"), of(router("labelled"), "", "next"), of(router("default"), "default", ""))
	g, err := FollowGateways(t.Context(), cs, NewAccessLogs(cs, nil, limits.Default().Log), nil, limits.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for name, want := range map[string]string{"plain": "", "injected": "next", "tagged": "next", "labelled": "next", "default": "default", "unknown": ""} {
		if got := g.revision(Proxy(name, "n")); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
}

// A gateway is known by its proxy's arguments, whatever it is called, from when it runs until after its end.
func TestFollowGateways(t *testing.T) {
	cs := fake.NewClientset(
		podWith("team-a", "way-out", "c1", "10.0.1.1", true, "proxy", "router", "--domain", "x"),
		podWith("team-a", "istio-egressgateway", "c2", "10.0.1.2", true, "proxy", "sidecar"),
		podWith("elsewhere", "gateway", "c3", "10.0.1.3", true, "proxy", "router"),
	)
	logs := NewAccessLogs(cs, nil, limits.Default().Log)
	g, err := FollowGateways(t.Context(), cs, logs, func(ns string) bool { return ns == "team-a" }, limits.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Await(t.Context(), "team-a", labels, 1); err != nil {
		t.Fatal(err)
	}
	if all := g.All(); len(all) != 1 || all[0].Log != "team-a/way-out" || all[0].Addresses[0] != "10.0.1.1" {
		t.Fatalf("%+v", all)
	}
	if got := g.Proxies("team-a", labels); len(got) != 1 || got[0] != "way-out.team-a" {
		t.Error(got)
	}
	api := cs.CoreV1().Pods("team-a")
	late := podWith("team-a", "late", "", "", false, "proxy", "router")
	if _, err := api.Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Await(brief, "team-a", labels, 2); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "labels team=a: 1 are ready") {
		t.Errorf("waited for a pod that does not run: %v", err)
	}
	if _, err := api.UpdateStatus(t.Context(), podWith("team-a", "late", "c4", "10.0.1.4", true, "proxy", "router"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Await(t.Context(), "team-a", labels, 2); err != nil {
		t.Fatal(err)
	}
	// The proxy is started again: its log is another one, and the lines of the first stay.
	if _, err := api.UpdateStatus(t.Context(), podWith("team-a", "late", "c5", "10.0.1.4", true, "proxy", "router"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for len(g.All()) < 3 {
		_, changed := g.now()
		if len(g.All()) < 3 {
			<-changed
		}
	}
	if all := g.All(); all[1].Log != "team-a/late" || all[2].Log != "team-a/late (start 2)" {
		t.Errorf("%+v", all)
	}
	if err := api.Delete(t.Context(), "way-out", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for gone := false; !gone; {
		all, changed := g.now()
		if gone = all[0].Gone; !gone {
			<-changed
		}
	}
	if all := g.All(); len(all) != 3 || all[0].Log != "team-a/way-out" {
		t.Errorf("a gateway that has ended is forgotten: %+v", all)
	}
}

func TestGatewayPods(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: istio}}":                                                                                 {gatewayNameLabel: "a"},
		"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {addresses: [{type: IPAddress, value: 10.0.0.1}]}}":                                                         {gatewayNameLabel: "a"},
		"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {addresses: [{type: Hostname, value: x.y}]}}":                                                               nil,
		"{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {selector: {istio: x}}}":                                                                                          nil,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: x}}, template: {metadata: {annotations: {inject.istio.io/templates: \"sidecar, gateway\"}}}}}": {"app": "x"},
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: x}}, template: {spec: {containers: [{name: istio-proxy, args: [proxy, router]}]}}}}":           {"app": "x"},
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: istio-egressgateway}, spec: {selector: {matchLabels: {app: x}}, template: {spec: {containers: [{name: a, args: [proxy, sidecar]}]}}}}":  nil,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {app: x}}, template: {metadata: {annotations: {inject.istio.io/templates: \"gateway-of-mine\"}}}}}":  nil,
	} {
		o := &fixture.Object{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if got := GatewayPods(o); !maps.Equal(got, want) {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestProgrammed(t *testing.T) {
	for name, x := range map[string]struct {
		conditions string
		done       bool
		err        error
		text       string
	}{
		"programmed":           {"[{type: Accepted, status: \"True\", observedGeneration: 2}, {type: Programmed, status: \"True\", observedGeneration: 2}]", true, nil, ""},
		"no load balancer":     {"[{type: Programmed, status: \"False\", reason: AddressNotAssigned, observedGeneration: 2}]", true, nil, ""},
		"not yet":              {"[{type: Programmed, status: \"False\", reason: Pending, message: waiting, observedGeneration: 2}]", false, nil, "Pending: waiting"},
		"an earlier version":   {"[{type: Programmed, status: \"True\", observedGeneration: 1}]", false, nil, ""},
		"not accepted":         {"[{type: Accepted, status: \"False\", observedGeneration: 2}]", false, errNotAGateway, ""},
		"nobody looked at it":  {"[]", false, nil, ""},
		"accepted, no further": {"[{type: Accepted, status: \"True\", observedGeneration: 2}]", false, nil, ""},
	} {
		o := &fixture.Object{}
		b, err := yaml.YAMLToJSON([]byte("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {generation: 2}, status: {conditions: " + x.conditions + "}}"))
		if err == nil {
			err = o.UnmarshalJSON(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		done, text, err := programmedNow(o)
		if done != x.done || !errors.Is(err, x.err) || text != x.text {
			t.Errorf("%s: %t %q %v", name, done, text, err)
		}
	}
}
