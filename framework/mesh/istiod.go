package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// DefaultRevision stands for an istiod whose pods have no revision, too.
const DefaultRevision = egress.DefaultRevision

// Istiod asks a running control plane what it knows and what its proxies have acknowledged. Every ready replica of it
// is asked, because each knows its own proxies alone. A replica to which the way is cut is dialled again, or left out
// when it is not ready any more.
type Istiod struct {
	limits limits.Push
	find   func(ctx context.Context) (pods []string, err error) // the ready replicas
	dial   func(ctx context.Context, pod string) (*replica, error)

	// connections is how many connections to replicas were made. A process that ends takes its connections with it, so
	// while none is made, every answer comes from the processes that were there.
	connections atomic.Int64

	mu       sync.Mutex
	replicas map[string]*replica // by pod
	looked   time.Time           // when the replicas were last looked for
}

// ConnectIstiod connects to every ready pod of a revision of istiod. ctx bounds the connecting alone.
func ConnectIstiod(ctx context.Context, w Way, revision string, l limits.Push) (*Istiod, error) {
	i := newIstiod(l, func(ctx context.Context) ([]string, error) { return readyIstiod(ctx, w.Clientset, revision) }, nil)
	i.dial = func(ctx context.Context, pod string) (*replica, error) {
		return dialReplica(ctx, w, pod, l, func() { i.connections.Add(1) })
	}
	_, err := i.connected(ctx)
	return i, err
}

func newIstiod(l limits.Push, find func(context.Context) ([]string, error), dial func(context.Context, string) (*replica, error)) *Istiod {
	return &Istiod{limits: l, find: find, dial: dial, replicas: map[string]*replica{}}
}

// readyIstiod names the ready pods of a revision of istiod.
func readyIstiod(ctx context.Context, cs kubernetes.Interface, revision string) ([]string, error) {
	l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: istiodSelector})
	if err != nil {
		return nil, fmt.Errorf("find istiod: %w", err)
	}
	var ready, others []string
	for _, p := range l.Items {
		if revisionOf(&p) == revision && isReady(&p) {
			ready = append(ready, p.Name)
		} else {
			others = append(others, fmt.Sprintf("%s (revision %s, %s%s)", p.Name, revisionOf(&p), p.Status.Phase, endings(&p)))
		}
	}
	if len(ready) == 0 {
		return nil, fmt.Errorf("find istiod: no ready pod of revision %s with label %s in namespace %s; other pods: %v", revision, istiodSelector, SystemNamespace, others)
	}
	return ready, nil
}

// endings says which containers of a pod have ended, how, and whether they were started again; each after "; ".
func endings(p *corev1.Pod) string {
	out := ""
	for _, c := range p.Status.ContainerStatuses {
		end := c.State.Terminated
		if end == nil {
			end = c.LastTerminationState.Terminated
		}
		if end == nil {
			continue
		}
		out += fmt.Sprintf("; its container %s ended with exit status %d (%s)", c.Name, end.ExitCode, end.Reason)
		if c.RestartCount > 0 {
			out += fmt.Sprintf(", restarts: %d", c.RestartCount)
		}
	}
	return out
}

// istiodSelector is the label of istiod's pods, whatever their revision.
const istiodSelector = "app=istiod"

func revisionOf(p *corev1.Pod) string {
	if r := p.Labels[egress.RevisionLabel]; r != "" {
		return r
	}
	return DefaultRevision
}

func isReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Close ends the connections.
func (i *Istiod) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for pod, r := range i.replicas {
		r.stop()
		delete(i.replicas, pod)
	}
}

// connected returns the replicas, which it connects to where there is none yet.
func (i *Istiod) connected(ctx context.Context) (map[string]*replica, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.replicas) == 0 {
		if err := i.connect(ctx); err != nil {
			return nil, err
		}
	}
	return maps.Clone(i.replicas), nil
}

// connect makes the connections fit the pods that are ready now. The caller holds the lock.
func (i *Istiod) connect(ctx context.Context) error {
	pods, err := i.find(ctx)
	if err != nil {
		return err
	}
	i.looked = time.Now()
	for pod, r := range i.replicas {
		if !slices.Contains(pods, pod) {
			r.stop()
			delete(i.replicas, pod)
		}
	}
	for _, pod := range pods {
		if i.replicas[pod] != nil {
			continue
		}
		r, err := i.dial(ctx, pod)
		if err != nil {
			return err
		}
		i.replicas[pod] = r
	}
	return nil
}

// reconnect dials the lost replicas again, unless another asker has done so.
func (i *Istiod) reconnect(ctx context.Context, lost map[string]*replica) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for pod, r := range lost {
		if i.replicas[pod] == r {
			r.stop()
			delete(i.replicas, pod)
		}
	}
	return i.connect(ctx)
}

// lookAgain looks for further replicas, such as an autoscaler makes, if that was not done just now.
func (i *Istiod) lookAgain(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.looked) < i.limits.Ask.Relist {
		return nil
	}
	return i.connect(ctx)
}

// askAll asks every replica one question, once more where the way to one was cut, and again and again for a while where one
// is silent: on a busy machine it may be slow. A replica of which which is nil is not asked.
func askAll[T any](ctx context.Context, i *Istiod, which func(*replica) *shared[T]) (map[string]T, error) {
	for start, again := time.Now(), false; ; again = true {
		replicas, err := i.connected(ctx)
		if err != nil {
			return nil, err
		}
		answers, lost, err := askEach(ctx, replicas, which)
		silent := errors.Is(err, context.DeadlineExceeded) && time.Since(start) < i.limits.Ask.Silence
		if len(lost) == 0 || ctx.Err() != nil || again && !silent {
			return answers, err
		}
		if failed := i.reconnect(ctx, lost); failed != nil {
			return nil, errors.Join(err, failed)
		}
	}
}

// askEach asks replicas side by side; lost are those that did not answer.
func askEach[T any](ctx context.Context, replicas map[string]*replica, which func(*replica) *shared[T]) (answers map[string]T, lost map[string]*replica, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers, lost = map[string]T{}, map[string]*replica{}
	for pod, r := range replicas {
		q := which(r)
		if q == nil {
			continue
		}
		wg.Go(func() {
			a, failed := q.ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			if failed == nil {
				answers[pod] = a
				return
			}
			err = errors.Join(err, fmt.Errorf("pod %s: %w", pod, failed))
			if errors.As(failed, new(unreachable)) {
				lost[pod] = r
			}
		})
	}
	wg.Wait()
	if err != nil {
		return nil, lost, err
	}
	return answers, lost, nil
}

// counts is how many pushes each replica has computed.
type counts map[string]int64

// allAfter says whether every replica has come to count more than before. One that was not there before does not
// matter: what it sends is compared with what it had sent when it was first heard of.
func (c counts) allAfter(before counts) bool {
	for pod, n := range before {
		if now, there := c[pod]; there && now <= n {
			return false
		}
	}
	return len(c) > 0
}

// anyBeyondNext says whether a replica has come to count more than one more than before.
func (c counts) anyBeyondNext(before counts) bool {
	for pod, n := range before {
		if c[pod] > n+1 {
			return true
		}
	}
	return false
}

// mark is what istiod had done at one moment.
type mark struct {
	pushes      counts
	processes   map[string]string // by pod, see computed
	connections int64             // see Istiod
}

// computed is the number of pushes that each replica has computed, which is also the counter of the last one of them in
// the nonces (DiscoveryServer.Push numbers and counts them). Where a replica's metrics cannot be read it is the counter
// of the last push that it has sent to any proxy; one that is computed and not sent yet is not in it then.
func (i *Istiod) computed(ctx context.Context) (mark, error) {
	out := mark{pushes: counts{}, processes: map[string]string{}, connections: i.connections.Load()}
	metrics, err := i.metrics(ctx)
	if err != nil {
		return out, err
	}
	for pod, c := range metrics {
		out.pushes[pod], out.processes[pod] = c.pushes, c.process
	}
	if len(metrics) > 0 && i.counted(out.pushes) {
		return out, nil
	}
	sent, err := i.sent(ctx)
	if err != nil {
		return out, err
	}
	for pod, p := range sent {
		if _, known := out.pushes[pod]; !known {
			out.pushes[pod] = p.latest
		}
	}
	return out, nil
}

// restarted says that a replica was started again since then, and which; nil where none was.
func (i *Istiod) restarted(ctx context.Context, since mark) error {
	if i.connections.Load() == since.connections {
		return nil
	}
	now, err := i.metrics(ctx)
	if err != nil {
		return fmt.Errorf("ask istiod since when it runs: %w", err)
	}
	for _, pod := range slices.Sorted(maps.Keys(since.pushes)) {
		c, there := now[pod]
		switch then := since.processes[pod]; {
		case !there:
		case c.pushes < since.pushes[pod]:
			return fmt.Errorf("istiod (pod %s) was restarted while a change was made: it has computed %d pushes, and had computed %d before", pod, c.pushes, since.pushes[pod])
		case then != c.process && then != "" && c.process != "":
			return fmt.Errorf("istiod (pod %s) was restarted while a change was made", pod)
		}
	}
	return nil
}

// counted says whether every replica is in it.
func (i *Istiod) counted(c counts) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for pod := range i.replicas {
		if _, ok := c[pod]; !ok {
			return false
		}
	}
	return true
}

func (i *Istiod) metrics(ctx context.Context) (map[string]computed, error) {
	return askAll(ctx, i, func(r *replica) *shared[computed] { return r.computed })
}

func (i *Istiod) sent(ctx context.Context) (map[string]push, error) {
	return askAll(ctx, i, func(r *replica) *shared[push] { return r.pushes })
}

// computes waits until a push has been computed since those counts, or until it is clear that none comes.
func (i *Istiod) computes(ctx context.Context, before counts) error {
	err := poll(ctx, i.limits.Ask.Pause, i.limits.Rest.Computed, func(ctx context.Context) (bool, error) {
		now, err := i.computed(ctx)
		return now.pushes.allAfter(before), err
	})
	if errors.Is(err, errPatience) {
		return nil
	}
	return err
}

// Quiet waits until istiod has pushed nothing for a while. Istio 1.31 loses a
// change of the mesh configuration that falls into one debounce window with an update of endpoints
// (docs/findings.md), so such a change is made only when no pod is coming or going.
func (i *Istiod) Quiet(ctx context.Context) error {
	var last map[string]int64
	since, answers := time.Now(), 0
	err := poll(ctx, i.pace(), i.limits.Rest.Becomes, func(ctx context.Context) (bool, error) {
		sent, err := i.sent(ctx)
		if err != nil {
			return false, err
		}
		answers++
		if now := latest(sent); !maps.Equal(now, last) {
			last, since, answers = now, time.Now(), 0
		}
		return i.limits.Rest.Quiet.Over(since, answers), nil
	})
	if err != nil {
		return fmt.Errorf("wait until istiod pushes nothing, for a change of the mesh configuration: %w", err)
	}
	return nil
}

// latest is the counter of the last push that each replica has sent.
func latest(sent map[string]push) counts {
	out := counts{}
	for pod, p := range sent {
		out[pod] = p.latest
	}
	return out
}

// pace is how often a poll looks; questions to istiod have a pace of their own, which is slower.
func (i *Istiod) pace() time.Duration { return i.limits.Ask.Pause / 10 }

var errPatience = errors.New("it did not come in time")

// poll calls f until it is true or fails, or the patience has run out; each call counts as an answer of istiod. What
// f has begun by then is not cut off.
func poll(ctx context.Context, every time.Duration, p limits.Patience, f func(context.Context) (bool, error)) error {
	start, answers := time.Now(), 0
	return wait.PollUntilContextCancel(ctx, every, true, func(ctx context.Context) (bool, error) {
		done, err := f(ctx)
		answers++
		if err == nil && !done && p.Over(start, answers) {
			err = errPatience
		}
		return done, err
	})
}

// holds says whether every replica's own copy of the configuration matches every version.
func (i *Istiod) holds(ctx context.Context, want []Version) (bool, error) {
	have, err := askAll(ctx, i, func(r *replica) *shared[config] { return r.config })
	if err != nil {
		return false, err
	}
	for _, c := range have {
		if !c.holds(want) {
			return false, nil
		}
	}
	return true, nil
}

// works says whether each replica works with another mesh configuration than the last one.
func (i *Istiod) works(ctx context.Context, last map[string]string) (bool, error) {
	now, err := i.meshConfig(ctx)
	if err != nil {
		return false, err
	}
	for pod, text := range now {
		if old, there := last[pod]; there && old == text {
			return false, nil
		}
	}
	return true, nil
}

// meshConfig is the mesh configuration that each replica itself works with, as opaque text.
func (i *Istiod) meshConfig(ctx context.Context) (map[string]string, error) {
	return askAll(ctx, i, func(r *replica) *shared[string] { return r.mesh })
}
