package pods

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// End takes a client out of those that are started, so that it can be started again. The returned function ends it, and
// returns when its processes have ended; start it again only after that.
func (p *Pods) End(name string) (end func(context.Context) error, err error) {
	pod, err := p.Get(name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	delete(p.started, name)
	p.mu.Unlock()
	return func(ctx context.Context) error {
		pod.run.close()
		if err := p.end(ctx, pod); err != nil {
			return fmt.Errorf("end client %q: %w", name, err)
		}
		return nil
	}, nil
}

func (p *Pods) end(ctx context.Context, pod *Pod) error {
	if err := p.Discard(ctx, pod.Client); err != nil {
		return err
	}
	return p.waitEnded(ctx, pod.Namespace, pod.PodName, types.UID(pod.UID))
}

// Discard removes the workload of a client, also of one that Start could not start.
func (p *Pods) Discard(ctx context.Context, c egress.Client) error {
	if c.StandIn != nil && c.StandIn.InPlace {
		return p.discardInPlace(ctx, c)
	}
	objs, err := described(ctx, c)
	if err != nil {
		return err
	}
	objs = slices.DeleteFunc(objs, func(o *fixture.Object) bool { return !isDeployment(o) })
	for _, owner := range []*fixture.Client{p.fixtures, p.fixtures.As(fixture.ClusterOwner)} { // an earlier command may have started it
		if err := owner.Remove(ctx, objs...); err != nil {
			return err
		}
	}
	return nil
}

// waitEnded waits until a pod is gone, which its kubelet says when its processes are.
func (p *Pods) waitEnded(ctx context.Context, namespace, name string, uid types.UID) error {
	err := wait.PollUntilContextTimeout(ctx, 300*time.Millisecond, p.limits.Ready, true, func(ctx context.Context) (bool, error) {
		have, err := p.cs.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && have.UID != uid, nil
	})
	if err != nil {
		return fmt.Errorf("wait until pod %s/%s is gone: %w", namespace, name, err)
	}
	return nil
}
