package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	Revision string        // label istio.io/rev of istiod; DefaultRevision for none
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
	pod, err := chooseIstiod(ctx, cs)
	if err != nil {
		return Found{}, err
	}
	f := Found{Revision: revisionOf(pod)}
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

// chooseIstiod returns a ready pod of the istiod that client pods are to use: that of the default revision, else of the
// one that is tagged as default, else of the only one.
func chooseIstiod(ctx context.Context, cs kubernetes.Interface) (*corev1.Pod, error) {
	l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: istiodSelector})
	if err != nil {
		return nil, fmt.Errorf("look for istiod: %w", err)
	}
	ready := map[string]*corev1.Pod{}
	var others []string
	for i := range l.Items {
		switch p := &l.Items[i]; {
		case isReady(p):
			ready[revisionOf(p)] = p
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed: // such as evicted ones
			others = append(others, p.Name)
		}
	}
	revisions := slices.Sorted(maps.Keys(ready))
	switch {
	case len(revisions) == 0 && len(others) > 0: // it is there, so none may be installed
		return nil, fmt.Errorf("istiod is not ready: kubectl -n %s describe pod %s tells why", SystemNamespace, strings.Join(others, " "))
	case len(revisions) == 0:
		return nil, fmt.Errorf("%w (label %s) in namespace %s: install Istio first, or let the harness do it in a cluster of its own (--provider embedded or kind)", ErrNoIstio, istiodSelector, SystemNamespace)
	case ready[DefaultRevision] != nil:
		return ready[DefaultRevision], nil
	case len(revisions) == 1:
		return ready[revisions[0]], nil
	}
	hooks, err := cs.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: "istio.io/tag=" + DefaultRevision})
	if err != nil {
		return nil, fmt.Errorf("look for the default revision of Istio among %s: %w", strings.Join(revisions, ", "), err)
	}
	for _, h := range hooks.Items {
		if p := ready[h.Labels["istio.io/rev"]]; p != nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("the cluster runs the revisions %s of Istio, and none is the default one: choose with istioctl tag set default --revision %s", strings.Join(revisions, ", "), revisions[0])
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
	mc, err := readConfig(ctx, cs, ConfigMapOf(f.Revision))
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

// Logging is what the mesh configuration says of the access logs of sidecars.
type Logging struct {
	// Written says that they write one that can be read to their standard output, where no Telemetry says otherwise.
	Written bool
	// Providers are those that do, by the names by which a Telemetry knows them.
	Providers []string
}

// stdout is the file that is a proxy's standard output.
const stdout = "/dev/stdout"

// envoyProvider is the provider of access logs that every mesh has (istio.io, "Envoy Access Logs").
const envoyProvider = "envoy"

// LoggingOf reads it of the configuration of a revision.
func LoggingOf(ctx context.Context, cs kubernetes.Interface, revision string) (Logging, error) {
	mc, err := readConfig(ctx, cs, ConfigMapOf(revision))
	if apierrors.IsNotFound(err) {
		return loggingOf(nil), nil
	}
	if err != nil {
		return Logging{}, err
	}
	return loggingOf(mc), nil
}

func loggingOf(mc Config) Logging {
	var out Logging
	own, _ := mc["accessLogFormat"].(string)
	if own == "" {
		out.Providers = append(out.Providers, envoyProvider)
	}
	list, _ := mc["extensionProviders"].([]any)
	for _, x := range list {
		p, _ := x.(map[string]any)
		file, is := p["envoyFileAccessLog"].(map[string]any)
		name, _ := p["name"].(string)
		if is && file["path"] == stdout && file["logFormat"] == nil {
			out.Providers = append(out.Providers, name)
		}
	}
	out.Written = mc["accessLogFile"] == stdout && own == ""
	defaults, _ := mc["defaultProviders"].(map[string]any)
	named, _ := defaults["accessLogging"].([]any)
	for _, n := range named {
		name, _ := n.(string)
		out.Written = out.Written || slices.Contains(out.Providers, name)
	}
	return out
}
