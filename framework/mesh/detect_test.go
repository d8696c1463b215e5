package mesh

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

func istiodPod(image string, labels map[string]string) *corev1.Pod {
	l := map[string]string{"app": "istiod"}
	for k, v := range labels {
		l[k] = v
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "istiod-1", Namespace: SystemNamespace, Labels: l},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "discovery", Image: image}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func webhook(config, hook string) *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: config}, Webhooks: []admissionv1.MutatingWebhook{{Name: hook}}}
}

// named is a ready pod of a revision.
func named(name, image, revision string) *corev1.Pod {
	p := istiodPod(image, map[string]string{"istio.io/rev": revision})
	p.Name = name
	return p
}

// tag makes a revision the default one, as istioctl tag does.
func tag(revision string) *admissionv1.MutatingWebhookConfiguration {
	w := webhook("istio-revision-tag-default", "rev.namespace.sidecar-injector.istio.io")
	w.Labels = map[string]string{"istio.io/tag": "default", "istio.io/rev": revision}
	return w
}

func meshConfigMap(name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: SystemNamespace}, Data: map[string]string{"mesh": text}}
}

func TestDetect(t *testing.T) {
	injector := webhook("istio-sidecar-injector", "namespace.sidecar-injector.istio.io")
	for name, x := range map[string]struct {
		objects []runtime.Object
		want    Found
		err     string
	}{
		"none": {nil, Found{}, "no running istiod"},
		"REGISTRY_ONLY": {
			[]runtime.Object{istiodPod("docker.io/istio/pilot:1.31.0", nil), injector, meshConfigMap("istio", "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")},
			Found{Version: "1.31", Release: "1.31.0", Revision: "default", Policy: egress.RegistryOnly, AccessLog: true},
			"",
		},
		"nothing configured": {
			[]runtime.Object{istiodPod("docker.io/istio/pilot:1.30.2-distroless", nil), injector, meshConfigMap("istio", "{}")},
			Found{Version: "1.30", Release: "1.30.2-distroless", Revision: "default", Policy: egress.AllowAny},
			"",
		},
		"an empty policy": {
			[]runtime.Object{istiodPod("istio/pilot:1.31.0", nil), injector, meshConfigMap("istio", "outboundTrafficPolicy: {}")},
			Found{Version: "1.31", Release: "1.31.0", Revision: "default", Policy: egress.RegistryOnly},
			"",
		},
		"a revision": {
			[]runtime.Object{istiodPod("istio/pilot:1.29.1", map[string]string{"istio.io/rev": "canary"}), injector, meshConfigMap("istio-canary", "outboundTrafficPolicy: {mode: ALLOW_ANY}")},
			Found{Version: "1.29", Release: "1.29.1", Revision: "canary", Policy: egress.AllowAny},
			"",
		},
		"an unreadable configuration": {
			[]runtime.Object{istiodPod("istio/pilot:1.31.0", nil), injector},
			Found{Version: "1.31", Release: "1.31.0", Revision: "default"},
			"",
		},
		"a tag that is no version": {
			[]runtime.Object{istiodPod("example.com/pilot:stable", map[string]string{"app.kubernetes.io/version": "1.28.3"}), injector},
			Found{Version: "1.28", Release: "stable", Revision: "default"},
			"",
		},
		"no version anywhere": {[]runtime.Object{istiodPod("example.com/pilot:stable", nil), injector}, Found{}, "version of istiod cannot be read"},
		"too old":             {[]runtime.Object{istiodPod("istio/pilot:1.20.8", nil), injector}, Found{}, "runs Istio 1.20; the harness needs 1.24 or later"},
		"ambient only":        {[]runtime.Object{istiodPod("istio/pilot:1.31.0", nil), webhook("istio-cni", "something.else")}, Found{}, "only the ambient mode"},
		"not running": {[]runtime.Object{func() runtime.Object {
			p := istiodPod("istio/pilot:1.31.0", nil)
			p.Status.Phase = corev1.PodPending
			return p
		}()}, Found{}, "istiod is not ready"},
		"evicted": {[]runtime.Object{func() runtime.Object {
			p := istiodPod("istio/pilot:1.31.0", nil)
			p.Status.Phase = corev1.PodFailed
			return p
		}()}, Found{}, "no running istiod"},
		"the default one of two revisions": {
			[]runtime.Object{named("canary", "istio/pilot:1.31.0", "canary"), named("stable", "istio/pilot:1.30.2", "default"), injector},
			Found{Version: "1.30", Release: "1.30.2", Revision: "default"},
			"",
		},
		"the tagged one of two revisions": {
			[]runtime.Object{named("a", "istio/pilot:1.30.2", "1-30"), named("b", "istio/pilot:1.31.0", "1-31"), injector, tag("1-31")},
			Found{Version: "1.31", Release: "1.31.0", Revision: "1-31"},
			"",
		},
		"none of two revisions": {
			[]runtime.Object{named("a", "istio/pilot:1.30.2", "1-30"), named("b", "istio/pilot:1.31.0", "1-31"), injector},
			Found{},
			"istioctl tag set default --revision 1-30",
		},
	} {
		got, err := Detect(t.Context(), fake.NewClientset(x.objects...))
		switch {
		case x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err)):
			t.Errorf("%s: error %v, wanted %q", name, err, x.err)
		case x.err == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case x.err == "" && got != x.want:
			t.Errorf("%s: %+v, wanted %+v", name, got, x.want)
		}
		if none := strings.Contains(x.err, "no running"); errors.Is(err, ErrNoIstio) != none {
			t.Errorf("%s: ErrNoIstio is %t", name, !none)
		}
	}
}

// Every object of a chart carries the run's label, so that a run that was cut off can be cleaned up after.
func TestRunLabel(t *testing.T) {
	in := "---\n# Source: base/x.yaml\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n  labels: {app: x}\n---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
	var intended []string
	out, err := runLabel{"run-1", func(objs ...*fixture.Object) error {
		for _, o := range objs {
			intended = append(intended, fixture.Describe(o))
		}
		return nil
	}}.Run(bytes.NewBufferString(in))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "mesh-egress-conformance/run: run-1"); n != 2 {
		t.Errorf("%d labels:\n%s", n, out)
	}
	if strings.Join(intended, ", ") != "ServiceAccount a, ConfigMap b" {
		t.Errorf("announced: %v", intended)
	}
	if !strings.Contains(out.String(), "app: x") {
		t.Errorf("its own label is gone:\n%s", out)
	}
	if out, err = (runLabel{}).Run(bytes.NewBufferString(in)); err != nil || out.String() != in {
		t.Errorf("without a run: %v\n%s", err, out)
	}
}

func TestLogging(t *testing.T) {
	file := func(path string, more map[string]any) map[string]any {
		p := map[string]any{"path": path}
		maps.Copy(p, more)
		return map[string]any{"name": "file", "envoyFileAccessLog": p}
	}
	for name, x := range map[string]struct {
		config    Config
		written   bool
		providers string
	}{
		"nothing":              {nil, false, "envoy"},
		"of the mesh":          {Config{"accessLogFile": "/dev/stdout"}, true, "envoy"},
		"to a file":            {Config{"accessLogFile": "/var/log/x"}, false, "envoy"},
		"in a form of its own": {Config{"accessLogFile": "/dev/stdout", "accessLogFormat": "%DURATION%"}, false, ""},
		"a provider":           {Config{"extensionProviders": []any{file("/dev/stdout", nil)}}, false, "envoy file"},
		"of its own form":      {Config{"extensionProviders": []any{file("/dev/stdout", map[string]any{"logFormat": map[string]any{"text": "x"}})}}, false, "envoy"},
		"to another file":      {Config{"extensionProviders": []any{file("/x", nil)}}, false, "envoy"},
		"by default":           {Config{"extensionProviders": []any{file("/dev/stdout", nil)}, "defaultProviders": map[string]any{"accessLogging": []any{"file"}}}, true, "envoy file"},
		"another by default":   {Config{"defaultProviders": map[string]any{"accessLogging": []any{"otel"}}}, false, "envoy"},
	} {
		if got := loggingOf(x.config); got.Written != x.written || strings.Join(got.Providers, " ") != x.providers {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
