package mesh

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"mesh-egress-conformance/framework/egress"
)

// The values of a further istiod are those of the default one, and its own.
func TestRevisionValues(t *testing.T) {
	o := Options{Tag: "1.31.0", Policy: egress.RegistryOnly}
	v := revisionValues(o, egress.Revision{Name: "x", CompatibilityVersion: "1.28", Environment: map[string]string{"PILOT_HTTP10": "true"}}, "")
	env := v["pilot"].(values)["env"].(values)
	if v["revision"] != "x" || v["compatibilityVersion"] != "1.28" || env["PILOT_HTTP10"] != "true" || env["PILOT_ENABLE_ALPN_FILTER"] != "false" {
		t.Errorf("%v", v)
	}
	if _, there := revisionValues(o, egress.Revision{Name: "x"}, "")["compatibilityVersion"]; there {
		t.Error("a revision has a compatibilityVersion that it does not name")
	}
}

// Its proxies may be of another version, in both containers.
func TestRevisionProxies(t *testing.T) {
	o := Options{Tag: "1.31.0", Hub: "mirror.example.com/m"}
	g := revisionValues(o, egress.Revision{Name: "x"}, "1.30.4")["global"].(values)
	const want = "mirror.example.com/m/istio/proxyv2:1.30.4"
	if got, init := g["proxy"].(values)["image"], g["proxy_init"].(values)["image"]; got != want || init != want || g["tag"] != "1.31.0" {
		t.Errorf("%v", g)
	}
	for _, same := range []string{"", "1.31.0"} {
		if g := revisionValues(o, egress.Revision{Name: "x"}, same)["global"].(values); g["proxy"].(values)["image"] != nil || g["proxy_init"] != nil {
			t.Errorf("%q: %v", same, g)
		}
	}
}

func revisionPod(name, revision string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: SystemNamespace, Labels: map[string]string{"app": "istiod", egress.RevisionLabel: revision}}}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

// webhooks are those of revision x.
func webhooks(injectCA, validateCA string, policy admissionv1.FailurePolicyType) []runtime.Object {
	meta := metav1.ObjectMeta{Name: "x", Labels: map[string]string{egress.RevisionLabel: "x"}}
	call := func(ca string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{CABundle: []byte(ca)}
	}
	return []runtime.Object{
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.MutatingWebhook{{Name: "a", ClientConfig: call(injectCA)}}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.ValidatingWebhook{{Name: "b", ClientConfig: call(validateCA), FailurePolicy: &policy}}},
	}
}

// A revision serves only when its pod is ready and the API server asks it, and nobody else's pod counts for it.
func TestUnready(t *testing.T) {
	for name, x := range map[string]struct {
		objs []runtime.Object
		want string
	}{
		"complete":               {append(webhooks("ca", "ca", admissionv1.Fail), revisionPod("istiod-x-1", "x")), ""},
		"no pod":                 {webhooks("ca", "ca", admissionv1.Fail), "no ready pod of revision x"},
		"another one's pod":      {append(webhooks("ca", "ca", admissionv1.Fail), revisionPod("istiod-1", "default")), "no ready pod of revision x"},
		"no webhooks":            {[]runtime.Object{revisionPod("istiod-x-1", "x")}, "webhooks are missing"},
		"pods cannot be made":    {append(webhooks("", "ca", admissionv1.Fail), revisionPod("istiod-x-1", "x")), "injection webhook does not trust it"},
		"nothing is validated":   {append(webhooks("ca", "", admissionv1.Fail), revisionPod("istiod-x-1", "x")), "validation webhook does not trust it"},
		"everything is let pass": {append(webhooks("ca", "ca", admissionv1.Ignore), revisionPod("istiod-x-1", "x")), "lets objects pass"},
	} {
		got, err := unready(t.Context(), fake.NewClientset(x.objs...), "x")
		if err != nil || (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q %v, wanted %q", name, got, err, x.want)
		}
	}
}

// deployments is a cluster whose controller makes and ends the pods of istiod-x as it is scaled.
func deployments(t *testing.T, pods ...runtime.Object) *fake.Clientset {
	t.Helper()
	cs := fake.NewClientset(append(pods, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "istiod-x", Namespace: SystemNamespace}})...)
	gvr := corev1.SchemeGroupVersion.WithResource("pods")
	cs.PrependReactor("patch", "deployments", func(a ktesting.Action) (bool, runtime.Object, error) {
		if strings.Contains(string(a.(ktesting.PatchAction).GetPatch()), "1") {
			if err := cs.Tracker().Create(gvr, revisionPod("istiod-x-2", "x"), SystemNamespace); err != nil {
				t.Error(err)
			}
		}
		return true, &appsv1.Deployment{}, nil
	})
	cs.PrependReactor("delete-collection", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
		if sel := a.(ktesting.DeleteCollectionAction).GetListRestrictions().Labels.String(); sel != "app=istiod,istio.io/rev=x" {
			t.Errorf("pods with %s are ended", sel)
		}
		return true, nil, cs.Tracker().Delete(gvr, SystemNamespace, "istiod-x-1")
	})
	return cs
}

// An istiod is away when its pods are gone, and back when they are ready; the default one is never touched.
func TestScaleRevision(t *testing.T) {
	cs := deployments(t, revisionPod("istiod-x-1", "x"), revisionPod("istiod-1", "default"))
	for _, n := range []int{0, 1} {
		if err := ScaleRevision(t.Context(), cs, "x", n, 5*time.Second); err != nil {
			t.Errorf("scaled to %d: %v", n, err)
		}
	}
	if _, err := cs.CoreV1().Pods(SystemNamespace).Get(t.Context(), "istiod-1", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if err := ScaleRevision(t.Context(), cs, DefaultRevision, 0, time.Second); err == nil {
		t.Error("the default istiod is sent away")
	}
	if err := ScaleRevision(t.Context(), cs, "x", 2, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "1 pods, of which 1 are ready") {
		t.Errorf("one replica of two: %v", err)
	}
}

// What an istiod has made for itself goes with it, and nobody else's.
func TestForgetRevision(t *testing.T) {
	lease := func(name, holder string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: SystemNamespace}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
	}
	cs := deployments(t, revisionPod("istiod-x-1", "x"), revisionPod("istiod-1", "default"),
		lease("istio-gateway-deployment-x", "istiod-x-1"), lease("istio-gateway-status-leader-x", ""), lease("istio-gateway-deployment-default", "istiod-1"), lease("of-somebody-x", "somebody"))
	if err := ForgetRevision(t.Context(), cs, "x", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	left, err := cs.CoordinationV1().Leases(SystemNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 2 {
		t.Errorf("%v %v", left.Items, err)
	}
	if pods, err := cs.CoreV1().Pods(SystemNamespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(pods.Items) != 1 || pods.Items[0].Name != "istiod-1" {
		t.Errorf("%v %v", pods.Items, err)
	}
}

// An istiod that was away is back when it serves the proxies again, and not as soon as it answers.
func TestSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newFakeMesh()
		c, _ := changer(t, f)
		next, b := newFakeMesh()
		b.proxies = map[string]*fakeProxy{}
		c.Join("next", next.istiod(t))
		if err := c.Synced(t.Context(), "next", []string{"q.n"}, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "q.n are missing") {
			t.Errorf("%v", err)
		}
		next.after(0, func() { b.proxies["q.n"] = &fakeProxy{sent: 7, acked: 6} })
		if err := c.Synced(t.Context(), "next", []string{"q.n"}, 200*time.Millisecond); err == nil {
			t.Error("the proxy has not acknowledged what it was sent")
		}
		next.after(0, b.ack)
		if err := c.Synced(t.Context(), "next", []string{"q.n"}, 5*time.Second); err != nil {
			t.Error(err)
		}
		c.Away("next", true)
		if err := c.Synced(t.Context(), "next", nil, time.Second); err == nil {
			t.Error("one that is away serves proxies")
		}
	})
}
