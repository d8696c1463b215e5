package pods

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

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
	inside   Dialer

	mu      sync.Mutex
	started map[string]*Pod
}

// Pod is a running client.
type Pod struct {
	egress.Client
	PodName string
	IP      string
	Also    []string // its further addresses: that of the other family, where it has both
	UID     string   // which no other pod has, of no other cluster either
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
	Inside     Dialer // by which agents are talked to; nil leaves the API server
}

// New returns an empty set of pods.
func New(o Options) *Pods {
	return &Pods{cfg: o.Config, cs: o.Clientset, fixtures: o.Fixtures, istioctl: o.Istioctl, kubecfg: o.Kubeconfig, owner: o.Owner, custom: o.Custom, limits: o.Limits, inside: o.Inside, started: map[string]*Pod{}}
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
		c = known(c, pod)
		err = p.installAgent(ctx, c, pod.Name)
	}
	if err != nil {
		return err
	}
	started := &Pod{Client: c, PodName: pod.Name, IP: pod.Status.PodIP, UID: string(pod.UID)}
	for _, a := range pod.Status.PodIPs {
		if a.IP != started.IP {
			started.Also = append(started.Also, a.IP)
		}
	}
	started.run = &runner{open: func() (stream, error) {
		return p.agentIn(c.Namespace, pod.Name, c.Container)
	}}
	if c.StandIn != nil && !c.StandIn.InPlace && c.Captured() && !isReady(pod) {
		if err := p.proxyReady(ctx, c, pod, started.run.do); err != nil {
			started.run.close()
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started[c.Name] = started
	return nil
}

// adopt takes over the pod that an earlier command left running, such as the client of a cluster
// from `egressctl up`; nil when there is none.
func (p *Pods) adopt(ctx context.Context, c egress.Client) (*corev1.Pod, error) {
	if c.StandIn != nil { // it is made for one run
		return nil, nil
	}
	l, err := p.cs.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector(c)})
	if err != nil {
		return nil, fmt.Errorf("look for a running pod: %w", err)
	}
	for i := range l.Items {
		if pod := &l.Items[i]; p.ours(pod) && usable(pod, c) && pod.DeletionTimestamp == nil && hasProxy(pod) == c.Captured() && injectedBy(pod, c) {
			return pod, nil
		}
	}
	return nil, nil
}

func (p *Pods) create(ctx context.Context, c egress.Client) (*corev1.Pod, error) {
	if c.StandIn != nil && c.StandIn.InPlace {
		return p.createInPlace(ctx, c)
	}
	objs, err := described(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, o := range objs {
		if isDeployment(o) {
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
		case err != nil && isDeployment(o): // whose pod is still on its way
			whose = fixture.ClusterOwner
		}
	}
	return p.waitReady(ctx, c, whose)
}

// described are a client's objects as its manifest has them, under its own names.
func described(ctx context.Context, c egress.Client) ([]*fixture.Object, error) {
	objs, err := fixture.Load(ctx, samples.FS, c.Manifest)
	if err != nil {
		return nil, err
	}
	switch {
	case c.StandIn != nil:
		if objs, err = standIn(objs, c); err != nil {
			return nil, err
		}
	case !c.Serves():
		objs = withoutEndpoints(objs, c.Hollow)
	}
	for _, o := range objs {
		o.SetNamespace(c.Namespace)
		if c.StandIn == nil {
			rename(o, c)
		}
	}
	return objs, nil
}

func isDeployment(o *fixture.Object) bool { return o.GetKind() == "Deployment" }

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
// `egressctl up` is used as it is; one that somebody else has made gets the labels of a stand-in's, until Return.
func (p *Pods) Namespace(ctx context.Context, c egress.Client) error {
	ns := &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": c.Namespace, "labels": p.namespaceLabels(c),
	}}}
	_, err := p.fixtures.Apply(ctx, "", ns)
	var foreign *fixture.ForeignError
	switch {
	case err == nil:
		_, err = p.fixtures.Apply(ctx, "", p.custom.objects(c.Namespace)...)
	case c.StandIn != nil && errors.As(err, &foreign): // such as default, which every cluster has
		return p.borrow(ctx, c, foreign.Object)
	case ofCluster(err):
		return nil
	}
	return err
}

// ofCluster says whether an object could not be made because the cluster has it from `egressctl up`.
func ofCluster(err error) bool {
	var foreign *fixture.ForeignError
	return errors.As(err, &foreign) && foreign.OfCluster()
}

// ours says whether an object, such as a pod, is one of this owner's or of the cluster's.
func (p *Pods) ours(x metav1.Object) bool {
	return p.owner.Owns(x) || fixture.ClusterOwner.Owns(x)
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
	if c.StandIn != nil {
		for k, v := range c.StandIn.NamespaceLabels {
			l[k] = v
		}
	}
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
	if c.DualStack {
		if err := unstructured.SetNestedField(o.Object, egress.DualStackClass, "spec", "template", "spec", "runtimeClassName"); err != nil {
			return fmt.Errorf("give the pod of %s both families: %w", fixture.Describe(o), err)
		}
	}
	if err := runAs(o, "runAsUser", c.User); err != nil {
		return fmt.Errorf("set the user of %s: %w", fixture.Describe(o), err)
	}
	if c.Init {
		if err := asInit(o, c.Container); err != nil {
			return err
		}
	}
	// With none, the pod is gone from the API before its processes are, see End.
	if err := unstructured.SetNestedField(o.Object, int64(1), "spec", "template", "spec", "terminationGracePeriodSeconds"); err != nil {
		return fmt.Errorf("let the pod of %s end: %w", fixture.Describe(o), err)
	}
	labels, _, err := unstructured.NestedMap(o.Object, "spec", "template", "metadata", "labels")
	if err != nil {
		return fmt.Errorf("label %s: %w", fixture.Describe(o), err)
	}
	labels[p.owner.Key] = p.owner.Value
	return unstructured.SetNestedMap(o.Object, labels, "spec", "template", "metadata", "labels")
}

// runAs sets the user or group of a Deployment's containers; 0 leaves it.
func runAs(o *fixture.Object, field string, id int64) error {
	if id == 0 {
		return nil
	}
	all, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	for i := range all {
		if k, ok := all[i].(map[string]any); ok {
			if err := unstructured.SetNestedField(k, id, "securityContext", field); err != nil {
				return err
			}
		}
	}
	return unstructured.SetNestedSlice(o.Object, all, "spec", "template", "spec", "containers")
}

// asInit makes a container of a Deployment an init container. In its place comes one like it, which never starts.
func asInit(o *fixture.Object, container string) error {
	all, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return fmt.Errorf("make an init container in %s: %w", fixture.Describe(o), err)
	}
	for i, k := range all {
		k, ok := k.(map[string]any)
		if !ok || k["name"] != container {
			continue
		}
		later := maps.Clone(k)
		later["name"] = container + "-later"
		all[i] = later
		if err := unstructured.SetNestedSlice(o.Object, []any{k}, "spec", "template", "spec", "initContainers"); err != nil {
			return fmt.Errorf("make an init container in %s: %w", fixture.Describe(o), err)
		}
		return unstructured.SetNestedSlice(o.Object, all, "spec", "template", "spec", "containers")
	}
	return fmt.Errorf("make an init container in %s: it has no container %q", fixture.Describe(o), container)
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
	pods, err := p.cs.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector(c.Client)})
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
