// Package enforcer runs what enforces NetworkPolicies on the nodes of a cluster of the harness, for as long as a case needs
// it: kube-router's network policy controller, one pod a node. Its rules are on every pod's traffic, so nothing else may run
// meanwhile; the pod takes them away when it ends.
//
// It knows when a policy is enforced, and when one that was deleted is no more: the controller's log says what it has heard,
// and when it has written the rules that follow from that.
package enforcer

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/pods"
)

//go:embed objects.yaml
var objectsYAML []byte

// podLabel is the label by which the pods are found; its value is the node's name.
const podLabel = "mesh-egress-conformance/enforces-on"

// Enforcer makes and removes the pods in one cluster. It does one thing at a time.
type Enforcer struct {
	cs     kubernetes.Interface
	fix    *fixture.Client
	limits limits.Limits

	made  []*fixture.Object
	nodes []*node
}

// node is one node whose rules are kept.
type node struct {
	name string
	log  *log
	end  context.CancelFunc // of the following
	read sync.WaitGroup
}

// New returns an enforcer for a cluster; fix makes its objects.
func New(cs kubernetes.Interface, fix *fixture.Client, l limits.Limits) *Enforcer {
	return &Enforcer{cs: cs, fix: fix, limits: l}
}

// ErrLeft is in the chain of an error after which rules may still be there. Start and Stop, one after the other, take them away.
var ErrLeft = errors.New("rules of NetworkPolicies may be left")

// Start makes the pods and returns when each has written rules for all that there is. On error nothing is left, but for ErrLeft.
func (e *Enforcer) Start(ctx context.Context) error {
	err := e.fix.Remove(ctx, e.made...) // what Stop could not remove
	if err == nil {
		err = e.start(ctx)
	}
	if err == nil {
		err = e.await(ctx, "its first rules", func(l *log) bool { return l.synced > 0 })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("enforce NetworkPolicies: %w", err), e.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

func (e *Enforcer) start(ctx context.Context) error {
	ranges, err := e.serviceRanges(ctx)
	if err != nil {
		return err
	}
	nodes, err := e.cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	objs, err := fixture.Parse(ctx, objectsYAML)
	if err != nil {
		return err
	}
	pod := objs[len(objs)-1]
	objs = objs[:len(objs)-1]
	for _, n := range nodes.Items {
		p, err := podOn(pod, n.Name, ranges)
		if err != nil {
			return err
		}
		objs = append(objs, p)
	}
	e.made, err = e.fix.Apply(ctx, "", objs...)
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		p, err := pods.WaitPodReady(ctx, e.cs, metav1.NamespaceSystem, podLabel+"="+n.Name, e.limits.Pods)
		if err != nil {
			return err
		}
		if err := e.follow(ctx, n.Name, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// serviceRanges are the addresses of the cluster's Services, for each family that it has.
func (e *Enforcer) serviceRanges(ctx context.Context) ([]string, error) {
	const kubernetes = "kubernetes" // made by the API server of its own flag
	r, err := e.cs.NetworkingV1().ServiceCIDRs().Get(ctx, kubernetes, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the Services' addresses: %w", err)
	}
	return r.Spec.CIDRs, nil
}

// podOn is the pod for one node.
func podOn(template *fixture.Object, node string, ranges []string) (*fixture.Object, error) {
	p := template.DeepCopy()
	p.SetName(p.GetName() + "-" + node)
	p.SetLabels(map[string]string{podLabel: node})
	containers, _, err := unstructured.NestedSlice(p.Object, "spec", "containers")
	if err != nil || len(containers) != 1 {
		return nil, fmt.Errorf("the enforcer's pod has %d containers: %w", len(containers), err)
	}
	c, ok := containers[0].(map[string]any)
	if !ok {
		return nil, errors.New("the enforcer's container is no mapping")
	}
	c["image"] = components.EnforcerImage
	c["args"] = []any{"-v=2", "-node=" + node, "-service-cluster-ip-range=" + strings.Join(ranges, ",")}
	return p, errors.Join(
		unstructured.SetNestedSlice(p.Object, containers, "spec", "containers"),
		unstructured.SetNestedField(p.Object, node, "spec", "nodeName"),
	)
}

// longestLine is how long a line of the controller's log may be, in bytes; a longer one ends the reading.
const longestLine = 1 << 20

// follow reads a pod's log until the pod ends.
func (e *Enforcer) follow(ctx context.Context, on, pod string) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stream, err := e.cs.CoreV1().Pods(metav1.NamespaceSystem).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("follow the log of pod %s: %w", pod, err)
	}
	n := &node{name: on, log: newLog(), end: cancel}
	n.read.Go(func() {
		defer stream.Close()
		lines := bufio.NewScanner(stream)
		lines.Buffer(nil, longestLine)
		for lines.Scan() {
			n.log.line(lines.Text())
		}
		n.log.over()
	})
	e.nodes = append(e.nodes, n)
	return nil
}

// Enforced returns when every node has the rules that follow from the NetworkPolicies among some objects, in the state in
// which the API server has returned them.
func (e *Enforcer) Enforced(ctx context.Context, made []*fixture.Object) error {
	return e.each(ctx, "enforced", made, func(l *log, o *fixture.Object) bool { return l.has(nameOf(o), o.GetResourceVersion()) })
}

// Lifted returns when no node has rules of the NetworkPolicies among some objects any more, which were deleted.
func (e *Enforcer) Lifted(ctx context.Context, removed []*fixture.Object) error {
	return e.each(ctx, "lifted", removed, func(l *log, o *fixture.Object) bool { return l.lacks(nameOf(o)) })
}

// IsPolicy says whether an object is one that is enforced.
func IsPolicy(o *fixture.Object) bool {
	return o.GetKind() == "NetworkPolicy" && strings.HasPrefix(o.GetAPIVersion(), "networking.k8s.io/")
}

func nameOf(o *fixture.Object) string { return o.GetNamespace() + "/" + o.GetName() }

func (e *Enforcer) each(ctx context.Context, what string, objs []*fixture.Object, done func(*log, *fixture.Object) bool) error {
	for _, o := range objs {
		if !IsPolicy(o) {
			continue
		}
		if err := e.await(ctx, fmt.Sprintf("%s to be %s", fixture.Describe(o), what), func(l *log) bool { return done(l, o) }); err != nil {
			return err
		}
	}
	return nil
}

// await waits until every node's log says something.
func (e *Enforcer) await(ctx context.Context, what string, done func(*log) bool) error {
	ctx, cancel := context.WithTimeout(ctx, e.limits.Control.Enforce)
	defer cancel()
	for _, n := range e.nodes {
		if err := n.log.await(ctx, done); err != nil {
			return fmt.Errorf("wait on node %s for %s: %w; the end of the controller's log:\n%s", n.name, what, err, n.log.tail())
		}
	}
	return nil
}

// Stop removes the pods, and returns when all have taken their rules away; ErrLeft where nobody knows that they have. Without
// Start it does nothing.
func (e *Enforcer) Stop(ctx context.Context) error {
	started := 0
	for _, o := range e.made {
		if o.GetKind() == "Pod" {
			started++
		}
	}
	err := e.fix.Remove(ctx, e.made...)
	if err == nil {
		e.made = nil
	}
	if n := started - len(e.nodes); n > 0 {
		err = errors.Join(err, fmt.Errorf("the logs of %d network policy controllers could not be read", n))
	}
	for _, n := range e.nodes {
		if err != nil { // it may live on
			n.end()
		}
		n.wait(ctx)
		if !n.log.clean() {
			err = errors.Join(err, fmt.Errorf("node %s: the network policy controller has not said that it took its rules away; the end of its log:\n%s", n.name, n.log.tail()))
		}
	}
	e.nodes = nil
	if err != nil {
		return fmt.Errorf("stop enforcing NetworkPolicies: %w: %w", ErrLeft, err)
	}
	return nil
}

// wait returns when the pod's log has ended, or nobody waits for that any more.
func (n *node) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, n.end)()
	n.read.Wait()
	n.end()
}
