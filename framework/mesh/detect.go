package mesh

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
)

// Found is an Istio that was there before the harness.
type Found struct {
	Version  string        // minor, such as "1.31"
	Release  string        // as its image's tag has it
	Revision string        // label istio.io/rev of istiod; "default" for none
	Policy   egress.Policy // mesh-wide outbound policy; "" when the configuration cannot be read
	// AccessLog says whether sidecars write an access log to their standard output.
	AccessLog bool
}

// oldest is the oldest minor version whose istiod answers the questions that the harness asks of it.
const oldest = "1.24"

// ErrNoIstio says that a cluster has no Istio.
var ErrNoIstio = errors.New("no running istiod")

var tagRE = regexp.MustCompile(`^v?(\d+\.\d+)(\.\d+\S*)?$`)

// Detect says which Istio runs in a cluster. It fails where there is none, where it is too old, and
// where only its ambient mode is installed.
func Detect(ctx context.Context, cs kubernetes.Interface) (Found, error) {
	l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return Found{}, fmt.Errorf("look for istiod: %w", err)
	}
	i := slices.IndexFunc(l.Items, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if i < 0 {
		return Found{}, fmt.Errorf("%w (label app=istiod) in namespace %s: install Istio first, or let the harness do it in a cluster of its own (--provider embedded or kind)", ErrNoIstio, SystemNamespace)
	}
	pod := l.Items[i]
	f := Found{Revision: "default"}
	if r := pod.Labels["istio.io/rev"]; r != "" {
		f.Revision = r
	}
	for _, c := range pod.Spec.Containers {
		if c.Name != "discovery" {
			continue
		}
		image, _, _ := strings.Cut(c.Image, "@")
		f.Release = image[strings.LastIndex(image, ":")+1:]
		if m := tagRE.FindStringSubmatch(f.Release); m != nil {
			f.Version = m[1]
		}
	}
	if f.Version == "" {
		f.Version = pod.Labels["app.kubernetes.io/version"]
		if m := tagRE.FindStringSubmatch(f.Version); m != nil {
			f.Version = m[1]
		} else {
			return f, fmt.Errorf("the version of istiod cannot be read from its image's tag %q nor from its label app.kubernetes.io/version", f.Release)
		}
	}
	if egress.Older(f.Version, oldest) {
		return f, fmt.Errorf("the cluster runs Istio %s; the harness needs %s or later, whose istiod says what its proxies have acknowledged", f.Version, oldest)
	}
	if err := f.injects(ctx, cs); err != nil {
		return f, err
	}
	return f, f.readConfig(ctx, cs)
}

// injects demands the webhook that gives pods their sidecars.
func (f *Found) injects(ctx context.Context, cs kubernetes.Interface) error {
	hooks, err := cs.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil // the first pod without sidecar will tell
	}
	if err != nil {
		return fmt.Errorf("look for Istio's injection webhook: %w", err)
	}
	for _, h := range hooks.Items {
		if strings.Contains(h.Name, "istio") && slices.ContainsFunc(h.Webhooks, func(w admissionv1.MutatingWebhook) bool { return strings.Contains(w.Name, "sidecar-injector.istio.io") }) {
			return nil
		}
	}
	return errors.New("the cluster has no sidecar injection webhook of Istio (only the ambient mode is installed?): cases need client pods with sidecars")
}

func (f *Found) readConfig(ctx context.Context, cs kubernetes.Interface) error {
	name := configMap
	if f.Revision != "default" {
		name += "-" + f.Revision
	}
	mc, err := readConfig(ctx, cs, name)
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	f.Policy = egress.AllowAny // Istio's default
	if p, ok := mc["outboundTrafficPolicy"].(map[string]any); ok {
		f.Policy = egress.RegistryOnly // an empty stanza, see docs/findings.md
		if m, ok := p["mode"].(string); ok {
			f.Policy = egress.Policy(m)
		}
	}
	f.AccessLog = mc["accessLogFile"] == "/dev/stdout"
	return nil
}
