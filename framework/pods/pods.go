package pods

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/samples"
)

// Pods are the client pods of one run.
type Pods struct {
	cfg      *rest.Config
	cs       kubernetes.Interface
	fixtures *fixture.Client
	istioctl string // program for manual injection
	kubecfg  string
	owner    fixture.Owner // whose the pods are
	custom   *Customization
	limits   limits.Pods

	mu      sync.Mutex
	started map[string]*Pod
}

// Pod is a running client.
type Pod struct {
	egress.Client
	PodName string
	IP      string
	UID     string // which no other pod has, of no other cluster either
	run     *runner
}

// Options for New.
type Options struct {
	Config     *rest.Config
	Clientset  kubernetes.Interface
	Fixtures   *fixture.Client
	Istioctl   string
	Kubeconfig string
	Owner      fixture.Owner // whose label the pods carry, as everything that Fixtures makes does
	Custom     *Customization
	Limits     limits.Pods
}

// New returns an empty set of pods.
func New(o Options) *Pods {
	return &Pods{cfg: o.Config, cs: o.Clientset, fixtures: o.Fixtures, istioctl: o.Istioctl, kubecfg: o.Kubeconfig, owner: o.Owner, custom: o.Custom, limits: o.Limits, started: map[string]*Pod{}}
}

// Start brings clients up side by side and waits until each is ready.
func (p *Pods) Start(ctx context.Context, clients ...egress.Client) error {
	var wg sync.WaitGroup
	errs := make([]error, len(clients))
	for i, c := range clients {
		wg.Go(func() {
			if err := p.start(ctx, c); err != nil {
				errs[i] = fmt.Errorf("start client %q: %w", c.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Pods) start(ctx context.Context, c egress.Client) error {
	if err := c.Check(); err != nil {
		return err
	}
	p.mu.Lock()
	_, have := p.started[c.Name]
	p.mu.Unlock()
	if have {
		return nil
	}
	pod, err := p.adopt(ctx, c)
	if err == nil && pod == nil {
		pod, err = p.create(ctx, c)
	}
	if err == nil {
		err = p.installAgent(ctx, c, pod.Name)
	}
	if err != nil {
		return err
	}
	started := &Pod{Client: c, PodName: pod.Name, IP: pod.Status.PodIP, UID: string(pod.UID)}
	started.run = &runner{open: func() (stream, error) {
		return execStream(p.cfg, p.cs, c.Namespace, pod.Name, c.Container, p.custom.command())
	}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started[c.Name] = started
	return nil
}

// adopt takes over the pod that an earlier command left running, such as the client of a cluster
// from `egressctl up`; nil when there is none.
func (p *Pods) adopt(ctx context.Context, c egress.Client) (*corev1.Pod, error) {
	l, err := p.cs.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + c.Workload})
	if err != nil {
		return nil, fmt.Errorf("look for a running pod: %w", err)
	}
	for i := range l.Items {
		if pod := &l.Items[i]; p.ours(pod) && (isReady(pod) || isUsable(pod)) && pod.DeletionTimestamp == nil && hasProxy(pod) == c.Captured() && injectedBy(pod, c) {
			return pod, nil
		}
	}
	return nil, nil
}

func (p *Pods) create(ctx context.Context, c egress.Client) (*corev1.Pod, error) {
	objs, err := fixture.Load(ctx, samples.FS, c.Manifest)
	if err != nil {
		return nil, err
	}
	if !c.Serves() {
		objs = withoutEndpoints(objs, c.Hollow)
	}
	for _, o := range objs {
		o.SetNamespace(c.Namespace)
		rename(o, c)
		if o.GetKind() == "Deployment" {
			if err := p.decorate(o, c); err != nil {
				return nil, err
			}
		}
	}
	if err := p.Namespace(ctx, c); err != nil {
		return nil, err
	}
	if c.Injection == egress.ManualInjection {
		if objs, err = p.inject(ctx, c, objs); err != nil {
			return nil, err
		}
	}
	whose := p.owner
	for _, o := range objs {
		_, err := p.fixtures.Apply(ctx, c.Namespace, o)
		switch {
		case err != nil && !ofCluster(err):
			return nil, err
		case err != nil && o.GetKind() == "Deployment": // whose pod is still on its way
			whose = fixture.ClusterOwner
		}
	}
	return p.waitReady(ctx, c, whose)
}

// withoutEndpoints takes Services out of a client's objects, or where they stay lets them select no pod.
func withoutEndpoints(objs []*fixture.Object, stay bool) []*fixture.Object {
	var out []*fixture.Object
	for _, o := range objs {
		if o.GetKind() == "Service" {
			if !stay {
				continue
			}
			o = o.DeepCopy()
			_ = unstructured.SetNestedStringMap(o.Object, map[string]string{"app": "nobody"}, "spec", "selector") // it has a spec
		}
		out = append(out, o)
	}
	return out
}

// Namespace makes the namespace of a client, with what it holds besides the client. One that the cluster has from
// `egressctl up` is used as it is.
func (p *Pods) Namespace(ctx context.Context, c egress.Client) error {
	ns := &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": c.Namespace, "labels": p.namespaceLabels(c),
	}}}
	_, err := p.fixtures.Apply(ctx, "", ns)
	if err == nil {
		_, err = p.fixtures.Apply(ctx, "", p.custom.objects(c.Namespace)...)
	} else if ofCluster(err) {
		return nil
	}
	return err
}

// ofCluster says whether an object could not be made because the cluster has it from `egressctl up`.
func ofCluster(err error) bool {
	var foreign *fixture.ForeignError
	return errors.As(err, &foreign) && foreign.OfCluster()
}

// ours says whether a pod is one of this owner's or of the cluster's.
func (p *Pods) ours(pod *corev1.Pod) bool {
	return p.owner.Owns(pod) || fixture.ClusterOwner.Owns(pod)
}

// rename gives the sleep sample another name, so that several fit into one namespace.
func rename(o *fixture.Object, c egress.Client) {
	from := o.GetName()
	if from != c.Container || from == c.Workload {
		return
	}
	o.SetName(c.Workload)
	for _, path := range [][]string{
		{"metadata", "labels", "app"},
		{"spec", "selector", "app"},
		{"spec", "selector", "matchLabels", "app"},
		{"spec", "template", "metadata", "labels", "app"},
		{"spec", "template", "spec", "serviceAccountName"},
	} {
		if v, ok, err := unstructured.NestedString(o.Object, path...); ok && err == nil && v == from {
			_ = unstructured.SetNestedField(o.Object, c.Workload, path...) // the path was there a moment ago
		}
	}
}

func (p *Pods) namespaceLabels(c egress.Client) map[string]any {
	l := map[string]any{}
	l[p.owner.Key] = p.owner.Value
	if c.Injection == egress.AutoInjection {
		l["istio-injection"] = "enabled"
		if p.custom != nil {
			delete(l, "istio-injection")
			for k, v := range p.custom.Inject {
				l[k] = v
			}
		}
		if c.Revision != "" { // the other label would go before it
			l = map[string]any{p.owner.Key: p.owner.Value, egress.RevisionLabel: c.Revision}
		}
	}
	return l
}

// decorate adds the client's annotations and the run's label to a Deployment's pods.
func (p *Pods) decorate(o *fixture.Object, c egress.Client) error {
	if err := p.custom.customize(o, c); err != nil {
		return err
	}
	for k, v := range c.Annotations {
		if err := unstructured.SetNestedField(o.Object, v, "spec", "template", "metadata", "annotations", k); err != nil {
			return fmt.Errorf("annotate %s: %w", fixture.Describe(o), err)
		}
	}
	if c.User != 0 {
		all, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil {
			return fmt.Errorf("set the user of %s: %w", fixture.Describe(o), err)
		}
		for i := range all {
			if k, ok := all[i].(map[string]any); ok {
				if err := unstructured.SetNestedField(k, c.User, "securityContext", "runAsUser"); err != nil {
					return fmt.Errorf("set the user of %s: %w", fixture.Describe(o), err)
				}
			}
		}
		if err := unstructured.SetNestedSlice(o.Object, all, "spec", "template", "spec", "containers"); err != nil {
			return fmt.Errorf("set the user of %s: %w", fixture.Describe(o), err)
		}
	}
	labels, _, err := unstructured.NestedMap(o.Object, "spec", "template", "metadata", "labels")
	if err != nil {
		return fmt.Errorf("label %s: %w", fixture.Describe(o), err)
	}
	labels[p.owner.Key] = p.owner.Value
	return unstructured.SetNestedMap(o.Object, labels, "spec", "template", "metadata", "labels")
}

// waitReady watches the client's pod until it is ready; on failure the error says what the pod's
// containers are waiting for.
func (p *Pods) waitReady(ctx context.Context, c egress.Client, whose fixture.Owner) (*corev1.Pod, error) {
	pod, err := WaitPodReady(ctx, p.cs, c.Namespace, "app="+c.Workload+","+whose.Selector(), p.limits.Ready)
	if err != nil {
		return nil, err
	}
	if c.Captured() != hasProxy(pod) {
		return nil, fmt.Errorf("pod %s/%s: sidecar present: %t, expected: %t (is the injection webhook installed?)", c.Namespace, pod.Name, hasProxy(pod), c.Captured())
	}
	if !injectedBy(pod, c) {
		return nil, fmt.Errorf("pod %s/%s: its sidecar is revision %q's, not revision %q's: the namespace or the pod has the label of another istiod", c.Namespace, pod.Name, pod.Annotations[egress.RevisionLabel], c.Revision)
	}
	return pod, nil
}

// injectedBy says whether a pod has its sidecar from the istiod that its client is bound to, as the injection notes it.
// Clients that name none take that of the cluster, whatever its revision.
func injectedBy(pod *corev1.Pod, c egress.Client) bool {
	return c.Revision == "" || !c.Captured() || pod.Annotations[egress.RevisionLabel] == c.Revision
}

// WaitPodReady waits that long until a pod with the labels is ready, and returns it.
func WaitPodReady(ctx context.Context, cs kubernetes.Interface, namespace, selector string, within time.Duration) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	lw := cache.NewFilteredListWatchFromClient(cs.CoreV1().RESTClient(), "pods", namespace, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = selector, fields.Everything().String()
	})
	var last *corev1.Pod
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok || pod.DeletionTimestamp != nil {
			return false, nil
		}
		last = pod
		return isReady(pod) || isUsable(pod), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a ready pod with %s in namespace %s: %w; %s", selector, namespace, errors.Join(err, context.Cause(ctx)), explain(ctx, cs, namespace, last))
	}
	return last, nil
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// isUsable says whether a pod with a native sidecar can be used already: its containers run, and they
// were started only after the sidecar's startup probe had succeeded. Kubelet reports such a pod as
// ready up to a second later.
func isUsable(p *corev1.Pod) bool {
	native := slices.ContainsFunc(p.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == "istio-proxy" && s.Started != nil && *s.Started
	})
	return native && p.Status.PodIP != "" && len(p.Status.ContainerStatuses) == len(p.Spec.Containers) &&
		!slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running == nil })
}

func hasProxy(p *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == "istio-proxy" }
	return slices.ContainsFunc(p.Spec.Containers, is) || slices.ContainsFunc(p.Spec.InitContainers, is)
}

// explain says why a pod is not ready: its containers' states and the namespace's last warnings.
func explain(ctx context.Context, cs kubernetes.Interface, namespace string, pod *corev1.Pod) string {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "interrupted"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var b strings.Builder
	if pod == nil {
		b.WriteString("no such pod was made")
	} else {
		fmt.Fprintf(&b, "pod %s is %s", pod.Name, pod.Status.Phase)
		for _, s := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
			switch {
			case s.State.Waiting != nil:
				fmt.Fprintf(&b, "; container %s waits: %s %s", s.Name, s.State.Waiting.Reason, s.State.Waiting.Message)
			case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
				fmt.Fprintf(&b, "; container %s ended with %d: %s", s.Name, s.State.Terminated.ExitCode, s.State.Terminated.Message)
			}
		}
	}
	events, err := cs.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return b.String()
	}
	for i, e := range events.Items {
		if i >= len(events.Items)-3 {
			fmt.Fprintf(&b, "; event %s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	return b.String()
}

// Get returns a started client.
func (p *Pods) Get(name string) (*Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.started[name]; ok {
		return c, nil
	}
	have := make([]string, 0, len(p.started))
	for n := range p.started {
		have = append(have, n)
	}
	slices.Sort(have)
	return nil, fmt.Errorf("client %q was not started; running: %s", name, strings.Join(have, ", "))
}

// Started lists the running clients.
func (p *Pods) Started() []*Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.started))
}

// Do makes a request of the probe agent in a client's container.
func (p *Pods) Do(ctx context.Context, name string, q probe.Request) (Output, error) {
	c, err := p.Get(name)
	if err != nil {
		return Output{}, err
	}
	if c.Container == "" {
		return Output{}, fmt.Errorf("client %q is only called, nothing runs in it", name)
	}
	return c.run.do(ctx, q)
}

// Identity describes the pod behind a client: its UID, images and restarts. Two equal identities are
// the same running pod.
func (p *Pods) Identity(ctx context.Context, name string) (string, error) {
	c, err := p.Get(name)
	if err != nil {
		return "", err
	}
	pods, err := p.cs.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + c.Workload})
	if err != nil {
		return "", fmt.Errorf("look at client %q: %w", name, err)
	}
	var b strings.Builder
	for _, pod := range pods.Items {
		if !p.ours(&pod) {
			continue
		}
		fmt.Fprintf(&b, "%s %s", pod.Name, pod.UID)
		for _, s := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
			fmt.Fprintf(&b, " %s=%s restarts=%d", s.Name, s.ImageID, s.RestartCount)
		}
	}
	return b.String(), nil
}

// Close ends every shell; the pods stay.
func (p *Pods) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.started {
		c.run.close()
	}
}
