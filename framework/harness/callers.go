package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/upgrade"
)

// callers are the pods of a workload whose traffic is watched through an upgrade. Each calls every target at a fixed
// pace: what is allowed from when it is ready until it is told to end, as a Service would send it work; what is blocked from
// when its container runs until that has ended.
type callers struct {
	s     *site
	o     UpgradeOptions
	heard *heard

	end     context.CancelFunc
	ended   sync.WaitGroup
	mu      sync.Mutex
	pods    map[string]*callerPod
	logs    map[string]*mesh.AccessLog // of the sidecars, those of pods that are gone too
	faults  []error
	arrived int64 // the next entry of the arrival log
}

// callerPod is one pod.
type callerPod struct {
	name  string
	agent *pods.Agent
	end   context.CancelFunc

	mu      sync.Mutex
	serving bool
}

func newCallers(s *site, o UpgradeOptions) *callers {
	return &callers{s: s, o: o, heard: &heard{told: o.OnAttempt}, pods: map[string]*callerPod{}, logs: map[string]*mesh.AccessLog{}}
}

// callerLook is between two looks at which pods there are.
const callerLook = 100 * time.Millisecond

// start makes the workload and its rules, and returns once everything is as it must be: from then on it is watched.
func (c *callers) start(ctx context.Context, moment func(string, ...any)) error {
	objs, err := fixture.Parse(ctx, fmt.Appendf(nil, callersYAML, c.o.Replicas))
	if err != nil {
		return err
	}
	if _, err := c.s.conn.fix.Apply(ctx, callersNamespace, objs...); err != nil {
		return err
	}
	if err := awaitRollout(ctx, c.s.conn.cs, callersNamespace, callersName, c.s.opts.Limits.Pods.Ready); err != nil {
		return err
	}
	if _, c.arrived, err = c.s.env.internet.Arrivals(ctx, 0); err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	c.end = end
	if err := c.look(life, nil); err != nil {
		return err
	}
	if err := c.steady(ctx); err != nil {
		return err
	}
	c.heard.begin()
	c.ended.Go(func() { c.watch(life, moment) })
	c.ended.Go(func() { c.collect(life) })
	c.ended.Go(func() { c.control(life) })
	return nil
}

// steady waits until each caller has found every target as it must be, twice in a row.
func (c *callers) steady(ctx context.Context) error {
	last := ""
	err := wait.PollUntilContextTimeout(ctx, c.o.Pace, c.s.opts.Limits.Pods.Ready, true, func(ctx context.Context) (bool, error) {
		last = c.heard.unsteady(c.names())
		return last == "", nil
	})
	if err != nil {
		return fmt.Errorf("wait until the callers find every target as it must be before the upgrade: %s: %w", last, err)
	}
	return nil
}

func (c *callers) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for n := range c.pods {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// inService are the pods to which work would be sent, sorted.
func (c *callers) inService() []string {
	return slices.DeleteFunc(c.names(), func(n string) bool {
		c.mu.Lock()
		p := c.pods[n]
		c.mu.Unlock()
		return p == nil || !p.serves()
	})
}

func (p *callerPod) serves() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving
}

// watch looks at the pods again and again.
func (c *callers) watch(ctx context.Context, moment func(string, ...any)) {
	t := time.NewTicker(callerLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := c.look(ctx, moment); err != nil && ctx.Err() == nil {
				c.fault(err)
			}
		}
	}
}

// fault notes why not all can be relied on; the same thing once.
func (c *callers) fault(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.faults, func(x error) bool { return x.Error() == err.Error() }) {
		c.faults = append(c.faults, err)
	}
}

// look begins to call from new pods, and ends with those that are gone.
func (c *callers) look(ctx context.Context, moment func(string, ...any)) error {
	l, err := c.s.conn.cs.CoreV1().Pods(callersNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + callersName})
	if err != nil {
		return fmt.Errorf("look at the callers: %w", err)
	}
	tell := func(format string, a ...any) {
		if moment != nil {
			moment(format, a...)
		}
	}
	there := map[string]bool{}
	for i := range l.Items {
		pod := &l.Items[i]
		if !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == callersName && s.State.Running != nil }) {
			continue
		}
		there[pod.Name] = true
		c.mu.Lock()
		p := c.pods[pod.Name]
		if p == nil {
			p = c.begin(ctx, pod)
			c.pods[pod.Name] = p
		}
		c.mu.Unlock()
		serves := pod.DeletionTimestamp == nil && ready(pod)
		p.mu.Lock()
		was := p.serving
		p.serving = serves
		p.mu.Unlock()
		switch {
		case serves && !was:
			tell("pod %s is ready", pod.Name)
		case !serves && was:
			tell("pod %s is told to end, or not ready any more", pod.Name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, p := range c.pods {
		if !there[n] {
			p.end()
			c.heard.left(n)
			delete(c.pods, n)
		}
	}
	return nil
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// begin calls every target from a pod until that is gone.
func (c *callers) begin(ctx context.Context, pod *corev1.Pod) *callerPod {
	ctx, cancel := context.WithCancel(ctx)
	p := &callerPod{name: pod.Name, agent: c.s.conn.pods.Agent(callersNamespace, pod.Name, callersName), end: cancel}
	c.heard.address(pod.Status.PodIP, pod.Name)
	c.ended.Go(func() { c.follow(ctx, pod.Name) })
	var calls sync.WaitGroup
	for _, t := range callerTargets {
		calls.Go(func() { c.call(ctx, p, t, &calls) })
	}
	c.ended.Go(func() {
		calls.Wait()
		p.agent.Close()
	})
	return p
}

// call makes attempts at one target at the pace.
func (c *callers) call(ctx context.Context, p *callerPod, t upgrade.Target, calls *sync.WaitGroup) {
	tick := time.NewTicker(c.o.Pace)
	defer tick.Stop()
	open := false // a held connection
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !t.Blocked && !p.serves() {
			continue
		}
		spec := probe.Spec{URL: t.URL, ID: fmt.Sprintf("%s/%s/%d", p.name, t.Name, n), Timeout: int(callTimeout.Milliseconds())}
		if !t.Held { // a late answer keeps no other attempt waiting
			calls.Go(func() { c.attempt(ctx, p, t, spec) })
			continue
		}
		spec.Send, spec.Hold = "a", &probe.Hold{Name: t.Name, Open: true}
		if open {
			spec.Hold = &probe.Hold{Name: t.Name, Resume: true, Then: "b"}
		}
		open = c.attempt(ctx, p, t, spec)
	}
}

// callTimeout is after how long an attempt has failed.
const callTimeout = 2 * time.Second

// attempt makes one attempt, and says whether it was answered.
func (c *callers) attempt(ctx context.Context, p *callerPod, t upgrade.Target, spec probe.Spec) bool {
	asked := time.Now()
	within, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	out, err := p.agent.Do(within, probe.Request{Spec: &spec})
	a := answer{stream: upgrade.Stream{Pod: p.name, Target: t.Name}, target: t, id: spec.ID, began: out.Began, ended: out.Ended}
	if err == nil {
		err = json.Unmarshal([]byte(out.Stdout), &a.report)
	}
	if err != nil {
		if ctx.Err() != nil || !p.serves() { // its pod has ended, and the attempt with it
			return false
		}
		a.err, a.began, a.ended = err, asked, time.Now()
	}
	c.heard.add(a)
	return err == nil && a.report.ExitCode == 0
}

// collect reads the arrival log.
func (c *callers) collect(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := c.arrivals(ctx); err != nil && ctx.Err() == nil {
				c.fault(err)
			}
		}
	}
}

func (c *callers) arrivals(ctx context.Context) error {
	log, next, err := c.s.env.internet.Arrivals(ctx, c.arrived)
	if err != nil {
		return fmt.Errorf("read the arrival log of the internet: %w", err)
	}
	c.heard.arrive(log)
	c.arrived = next
	if young := slices.IndexFunc(log, func(a egress.Arrival) bool { return time.Since(a.Time) < completeAfter }); young >= 0 {
		c.arrived = log[young].Seq // and all after it are read again
	}
	return nil
}

// completeAfter is when an entry of the arrival log has all that it will have: it is made when a connection comes, and
// the request is added to it.
const completeAfter = 3 * callTimeout

// control calls every target once a second from a pod without a sidecar: where that fails, the target is dead, and what the
// callers find proves nothing.
func (c *callers) control(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, t := range callerTargets {
			spec := probe.Spec{URL: t.URL, Timeout: int((2 * callTimeout).Milliseconds())}
			if t.Held {
				spec.Send = "a"
			}
			out, err := c.s.conn.pods.Do(ctx, egress.ControlClient, probe.Request{Spec: &spec})
			var r probe.Report
			if err == nil {
				err = json.Unmarshal([]byte(out.Stdout), &r)
			}
			if err == nil && r.ExitCode != 0 {
				err = errors.New(r.Error)
			}
			if err != nil && ctx.Err() == nil {
				c.fault(fmt.Errorf("the control client, which has no sidecar, does not reach %s: %w", t.Name, err))
			}
		}
	}
}

// stop ends the calls, and reads the last arrivals. It says why not all can be relied on.
func (c *callers) stop(ctx context.Context) error {
	if c.end == nil {
		return nil
	}
	there := c.inService()
	c.end()
	c.ended.Wait()
	c.hearSidecars(ctx, there)
	if err := c.arrivals(ctx); err != nil {
		c.fault(err)
	}
	return errors.Join(c.faults...)
}

// label gives the callers' namespace the label of a revision in place of the one that it has; "" is the default istiod.
func (c *callers) label(ctx context.Context, revision string) error {
	labels := map[string]any{"istio-injection": "enabled", egress.RevisionLabel: nil}
	if revision != "" {
		labels = map[string]any{"istio-injection": nil, egress.RevisionLabel: revision}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	if _, err = c.s.conn.cs.CoreV1().Namespaces().Patch(ctx, callersNamespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label namespace %s for revision %q: %w", callersNamespace, revision, err)
	}
	return nil
}

// restart replaces the pods one after another, and waits for that.
func (c *callers) restart(ctx context.Context) error {
	if err := restart(ctx, c.s.conn.cs, callersNamespace, callersName); err != nil {
		return err
	}
	return awaitRollout(ctx, c.s.conn.cs, callersNamespace, callersName, c.s.opts.Limits.Pods.Ready)
}

// restart makes a Deployment replace its pods, as kubectl rollout restart does.
func restart(ctx context.Context, cs kubernetes.Interface, namespace, name string) error {
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	if _, err := cs.AppsV1().Deployments(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("restart %s/%s: %w", namespace, name, err)
	}
	return nil
}

// awaitRollout waits until all pods of a Deployment are of its present template and available, and none of an earlier one
// is left.
func awaitRollout(ctx context.Context, cs kubernetes.Interface, namespace, name string, within time.Duration) error {
	missing := "nothing is known of it"
	err := wait.PollUntilContextTimeout(ctx, callerLook, within, true, func(ctx context.Context) (bool, error) {
		d, err := cs.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		want, s := int32(1), d.Status
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		missing = fmt.Sprintf("of %d pods %d are new, %d available, %d there", want, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.AvailableReplicas != want || s.Replicas != want {
			return false, nil
		}
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err != nil {
			return false, err
		}
		l, err := cs.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if err != nil {
			return false, err
		}
		missing = fmt.Sprintf("%d pods are there, those that end included", len(l.Items))
		return len(l.Items) == int(want), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the rollout of %s/%s: %s: %w", namespace, name, missing, err)
	}
	return nil
}
