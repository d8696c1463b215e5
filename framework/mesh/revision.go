package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// revisionValues are the chart's values for a further istiod: those of the default one, and what its description says.
// proxies is the tag of its proxies' images; "" is that of its own.
func revisionValues(o Options, r egress.Revision, proxies string) values {
	v := istiodValues(o)
	v["revision"] = r.Name
	if proxies != "" && proxies != o.Tag { // the injection template takes a name with a slash as it stands
		global, _ := v["global"].(values)
		proxy, _ := global["proxy"].(values)
		proxy["image"] = fmt.Sprintf("%s/proxyv2:%s", global["hub"], proxies)
		global["proxy_init"] = values{"image": proxy["image"]}
	}
	if r.CompatibilityVersion != "" {
		v["compatibilityVersion"] = r.CompatibilityVersion
	}
	pilot, _ := v["pilot"].(values)
	env, _ := pilot["env"].(values)
	for name, value := range r.Environment {
		env[name] = value
	}
	return v
}

// Revision renders the chart of istiod for a further one beside the default one, in an order in which its objects can be
// made. proxies is the tag of the images of the proxies that it injects; "" is that of its own. Nothing is installed:
// whoever makes the objects owns them, and can remove them.
func (i *Installer) Revision(r egress.Revision, proxies string) ([]*fixture.Object, error) {
	out, err := i.render("istiod-"+r.Name, revisionValues(i.opts, r, proxies))
	if err != nil {
		return nil, fmt.Errorf("render the chart of istiod for revision %s: %w", r.Name, err)
	}
	return out, nil
}

// render renders the chart of istiod as a release.
func (i *Installer) render(release string, v values) ([]*fixture.Object, error) {
	ch, err := i.charts[istiodChart]()
	if err != nil {
		return nil, err
	}
	text, err := chartutil.ToRenderValues(ch, v, chartutil.ReleaseOptions{Name: release, Namespace: i.ns, Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(ch, text)
	if err != nil {
		return nil, err
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, chartutil.DefaultCapabilities.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return nil, err
	}
	if len(hooks) > 0 {
		return nil, errors.New("it has Helm hooks, which only Helm runs; this version of Istio needs another way")
	}
	var all bytes.Buffer
	for _, m := range manifests {
		fmt.Fprintf(&all, "---\n%s\n", m.Content)
	}
	rendered, err := eagerProbe{}.Run(&all)
	if err != nil {
		return nil, err
	}
	var out []*fixture.Object
	for _, doc := range strings.Split(rendered.String(), "\n---\n") {
		o := &fixture.Object{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
	return out, nil
}

// InstalledBy is the mesh configuration among the objects of a revision.
func InstalledBy(objs []*fixture.Object, revision string) (Config, error) {
	for _, o := range objs {
		if o.GetKind() == "ConfigMap" && o.GetName() == ConfigMapOf(revision) {
			data, _ := o.Object["data"].(map[string]any)
			text, _ := data["mesh"].(string)
			return parseMesh(text)
		}
	}
	return nil, fmt.Errorf("the chart renders no ConfigMap %s with the mesh configuration of revision %s", ConfigMapOf(revision), revision)
}

// deploymentOf is the name of the Deployment of a revision's istiod.
func deploymentOf(revision string) string {
	if revision == DefaultRevision {
		return "istiod"
	}
	return "istiod-" + revision
}

// podsOf selects the pods of a revision's istiod.
func podsOf(revision string) string {
	return istiodSelector + "," + egress.RevisionLabel + "=" + revision
}

// AwaitRevision waits until a further istiod is ready, and until the webhooks that call it trust it: before that, no pod
// of its clients can be made, and nothing that is labelled for it is validated.
func AwaitRevision(ctx context.Context, cs kubernetes.Interface, revision string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	missing := "nothing is known of it"
	err := wait.PollUntilContextCancel(ctx, scalePause, true, func(ctx context.Context) (bool, error) {
		var err error
		missing, err = unready(ctx, cs, revision)
		return missing == "", err
	})
	if err != nil {
		return fmt.Errorf("wait for the istiod of revision %s: %s: %w", revision, missing, err)
	}
	return nil
}

// scalePause is between two looks at an istiod that comes or goes.
const scalePause = 50 * time.Millisecond

// unready says what a revision lacks; "" if nothing.
func unready(ctx context.Context, cs kubernetes.Interface, revision string) (string, error) {
	if _, err := readyIstiod(ctx, cs, revision); err != nil {
		return err.Error(), ctx.Err()
	}
	selector := metav1.ListOptions{LabelSelector: egress.RevisionLabel + "=" + revision}
	injecting, err := cs.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, selector)
	if err != nil {
		return "", fmt.Errorf("look at the injection webhook of revision %s: %w", revision, err)
	}
	validating, err := cs.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, selector)
	if err != nil {
		return "", fmt.Errorf("look at the validation webhook of revision %s: %w", revision, err)
	}
	if len(injecting.Items) == 0 || len(validating.Items) == 0 {
		return "its webhooks are missing", nil
	}
	for _, c := range injecting.Items {
		if slices.ContainsFunc(c.Webhooks, func(w admissionv1.MutatingWebhook) bool { return len(w.ClientConfig.CABundle) == 0 }) {
			return "the injection webhook does not trust it", nil
		}
	}
	for _, c := range validating.Items {
		if slices.ContainsFunc(c.Webhooks, func(w admissionv1.ValidatingWebhook) bool {
			return len(w.ClientConfig.CABundle) == 0 || w.FailurePolicy == nil || *w.FailurePolicy != admissionv1.Fail
		}) {
			return "the validation webhook does not trust it, or lets objects pass without it", nil
		}
	}
	return "", nil
}

// ScaleRevision gives the istiod of a revision so many replicas, and waits until they are ready and no other one is
// left.
func ScaleRevision(ctx context.Context, cs kubernetes.Interface, revision string, replicas int, within time.Duration) error {
	if err := scale(ctx, cs, revision, replicas); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	have := "nobody knows how many there are"
	err := wait.PollUntilContextCancel(ctx, scalePause, true, func(ctx context.Context) (bool, error) {
		l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: podsOf(revision)})
		if err != nil {
			return false, err
		}
		ready := 0
		for i := range l.Items {
			if isReady(&l.Items[i]) {
				ready++
			}
		}
		have = fmt.Sprintf("it has %d pods, of which %d are ready", len(l.Items), ready)
		if replicas == 0 && len(l.Items) > 0 {
			return false, endPods(ctx, cs, revision)
		}
		return ready == replicas && len(l.Items) == replicas, nil
	})
	if err != nil {
		return fmt.Errorf("scale the istiod of revision %s to %d: %s: %w", revision, replicas, have, err)
	}
	return nil
}

func scale(ctx context.Context, cs kubernetes.Interface, revision string, replicas int) error {
	if revision == DefaultRevision {
		return errors.New("the default istiod serves everybody, and is not scaled")
	}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, err := cs.AppsV1().Deployments(SystemNamespace).Patch(ctx, deploymentOf(revision), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("scale the istiod of revision %s to %d: %w", revision, replicas, err)
	}
	return nil
}

// endPods ends the pods of a revision's istiod, which have a second for that: a pod that is given none is gone from the
// API while its istiod still serves, and answers the API server's webhook calls.
func endPods(ctx context.Context, cs kubernetes.Interface, revision string) error {
	now := int64(1)
	return cs.CoreV1().Pods(SystemNamespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: podsOf(revision)})
}

// ForgetRevision completes the removal of a revision whose objects are gone: its pods end at once, and so does what its
// istiod has made for itself, the Leases by which its replicas choose a leader.
func ForgetRevision(ctx context.Context, cs kubernetes.Interface, revision string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, scalePause, true, func(ctx context.Context) (bool, error) {
		l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: podsOf(revision)})
		if err != nil || len(l.Items) == 0 {
			return err == nil, err
		}
		return false, endPods(ctx, cs, revision)
	})
	if err != nil {
		return fmt.Errorf("end the istiod of revision %s: %w", revision, err)
	}
	leases, err := cs.CoordinationV1().Leases(SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("look for the Leases of revision %s: %w", revision, err)
	}
	var all error
	for _, l := range leases.Items {
		holder := ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		// istiod gives up a Lease when it ends in peace, and then nobody holds it.
		if !strings.HasSuffix(l.Name, "-"+revision) || holder != "" && !strings.HasPrefix(holder, deploymentOf(revision)+"-") {
			continue
		}
		uid := l.UID
		err := cs.CoordinationV1().Leases(SystemNamespace).Delete(ctx, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			all = errors.Join(all, fmt.Errorf("remove the Lease %s of revision %s: %w", l.Name, revision, err))
		}
	}
	return all
}

// Synced waits until the istiod of a revision that was away knows proxies again, and they have acknowledged all that it
// has sent to them.
func (c *Changer) Synced(ctx context.Context, revision string, proxies []string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var p plane
	for _, x := range c.planes.here() {
		if x.revision == revision {
			p = x
		}
	}
	if p.istiod == nil {
		return fmt.Errorf("the istiod of revision %s is not here", revision)
	}
	missing := slices.Clone(proxies)
	err := wait.PollUntilContextCancel(ctx, p.istiod.pace(), true, func(ctx context.Context) (bool, error) {
		sent, err := p.istiod.sent(ctx)
		if err != nil {
			return false, err
		}
		missing = slices.DeleteFunc(slices.Clone(proxies), func(name string) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(sent)), func(s push) bool { return s.sent[name] > 0 && s.behind[name] == "" })
		})
		return len(missing) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the istiod of revision %s, which was away, serves its proxies again: %s are missing: %w", revision, strings.Join(missing, ", "), err)
	}
	return nil
}
