package pods

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/probe"
)

// waitReady watches the client's pod until it is ready; on failure the error says what the pod's
// containers are waiting for.
func (p *Pods) waitReady(ctx context.Context, c egress.Client, whose fixture.Owner) (*corev1.Pod, error) {
	pod, err := waitPod(ctx, p.cs, c.Namespace, selector(c)+","+whose.Selector(), p.limits, func(pod *corev1.Pod) bool { return usable(pod, c) })
	if err != nil {
		return nil, err
	}
	if c.Injection != egress.LabelledInjection && c.Captured() != hasProxy(pod) {
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

// WaitPodReady waits until a pod with the labels is ready, and returns it.
func WaitPodReady(ctx context.Context, cs kubernetes.Interface, namespace, selector string, l limits.Pods) (*corev1.Pod, error) {
	return waitPod(ctx, cs, namespace, selector, l, func(pod *corev1.Pod) bool { return isReady(pod) || isUsable(pod) })
}

// waitPod waits l.Ready, or l.Slow where nothing has gone wrong with the pod.
func waitPod(ctx context.Context, cs kubernetes.Interface, namespace, selector string, l limits.Pods, ready func(*corev1.Pod) bool) (*corev1.Pod, error) {
	lw := cache.NewFilteredListWatchFromClient(cs.CoreV1().RESTClient(), "pods", namespace, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = selector, fields.Everything().String()
	})
	var last *corev1.Pod
	wait := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok || pod.DeletionTimestamp != nil {
				return false, nil
			}
			last = pod
			return ready(pod), nil
		})
		return errors.Join(err, context.Cause(ctx))
	}
	err := wait(l.Ready)
	if err != nil && ctx.Err() == nil && last != nil && !fails(last) {
		err = wait(l.Slow - l.Ready)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for a ready pod with %s in namespace %s: %w; %s", selector, namespace, err, explain(ctx, cs, namespace, last))
	}
	return last, nil
}

// fails says whether something has gone wrong with a pod that is not ready yet: no node takes it, or a container waits
// for something that has failed, or has ended.
func fails(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed || slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
	}) {
		return true
	}
	usual := []string{"", "PodInitializing", "ContainerCreating"}
	return slices.ContainsFunc(append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...), func(s corev1.ContainerStatus) bool {
		w, t := s.State.Waiting, s.State.Terminated
		return s.RestartCount > 0 || w != nil && !slices.Contains(usual, w.Reason) || t != nil && t.ExitCode != 0
	})
}

// usable says whether commands can run in a client's pod.
func usable(p *corev1.Pod, c egress.Client) bool {
	switch {
	case c.StandIn != nil && c.StandIn.InPlace: // it never becomes ready
		return p.Status.PodIP != "" && has(p, corev1.ContainersReady) || isUsable(p)
	case c.StandIn != nil: // its proxy says itself when it is ready, see proxyReady
		return isReady(p) || runs(p)
	case !c.Init:
		return isReady(p) || isUsable(p)
	}
	return p.Status.PodIP != "" && slices.ContainsFunc(p.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == c.Container && s.State.Running != nil
	})
}

func isReady(p *corev1.Pod) bool { return has(p, corev1.PodReady) }

func has(p *corev1.Pod, what corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == what && c.Status == corev1.ConditionTrue })
}

// isUsable says whether a pod with a native sidecar can be used already: its containers run, and they
// were started only after the sidecar's startup probe had succeeded. Kubelet reports such a pod as
// ready up to a second later.
func isUsable(p *corev1.Pod) bool {
	native := slices.ContainsFunc(p.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == proxyContainer && s.Started != nil && *s.Started
	})
	return native && runs(p)
}

// runs says whether all containers of a pod run.
func runs(p *corev1.Pod) bool {
	return p.Status.PodIP != "" && len(p.Status.ContainerStatuses) == len(p.Spec.Containers) &&
		!slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running == nil })
}

// AwaitReady waits until the kubelet calls a started client ready, after which Services lead to it.
func (p *Pods) AwaitReady(ctx context.Context, name string) error {
	c, err := p.Get(name)
	if err != nil {
		return err
	}
	return p.kubeletReady(ctx, c.Client)
}

func (p *Pods) kubeletReady(ctx context.Context, c egress.Client) error {
	_, err := waitPod(ctx, p.cs, c.Namespace, selector(c)+","+p.owner.Selector(), p.limits, isReady)
	return err
}

// proxyReady waits until the proxy beside a stand-in is ready: until it says so when it is asked what the kubelet asks it once a second, or
// the kubelet knows it.
func (p *Pods) proxyReady(ctx context.Context, c egress.Client, pod *corev1.Pod, do func(context.Context, probe.Request) (Output, error)) error {
	url, err := readiness(pod)
	if err != nil {
		return err
	}
	return either(ctx, func(ctx context.Context) (bool, error) {
		out, err := do(ctx, probe.Request{Page: &probe.Page{URL: url}})
		return err == nil && out.ExitCode == 0, err
	}, func(ctx context.Context) error { return p.kubeletReady(ctx, c) })
}

// either waits until a proxy says that it is ready, or the kubelet knows it, or knows what is wrong.
func either(ctx context.Context, proxy func(context.Context) (bool, error), kubelet func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	said := false
	var asking sync.WaitGroup
	asking.Go(func() {
		if said = wait.PollUntilContextCancel(ctx, proxyPoll, true, proxy) == nil; said {
			cancel()
		}
	})
	err := kubelet(ctx)
	cancel()
	asking.Wait()
	if said {
		return nil
	}
	return err
}

// proxyPoll is the pause between two questions to a proxy that starts.
const proxyPoll = 20 * time.Millisecond

// readiness is where a pod's proxy says whether it is ready, as its readiness probe has it.
func readiness(pod *corev1.Pod) (string, error) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == proxyContainer && c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet != nil {
			get := c.ReadinessProbe.HTTPGet
			return fmt.Sprintf("http://%s%s", net.JoinHostPort("127.0.0.1", get.Port.String()), get.Path), nil
		}
	}
	return "", fmt.Errorf("pod %s/%s: its proxy has no readiness probe over HTTP, as sidecars that Istio injects have", pod.Namespace, pod.Name)
}

// proxyContainer is the name of the sidecar's container.
const proxyContainer = "istio-proxy"

func hasProxy(p *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == proxyContainer }
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
