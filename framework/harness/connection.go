package harness

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// connection is what a session has through the API server of its cluster: all of it at once, or nothing.
type connection struct {
	cs    kubernetes.Interface
	fix   *fixture.Client
	pods  *pods.Pods
	logs  *mesh.AccessLogs
	pages *mesh.AdminPages // of proxies
	way   mesh.Way         // to what istiod and proxies tell local callers
	// followed are the gateways of the cluster, whoever made them; nil until they are looked for, before the first case.
	followed *mesh.Gateways
}

// ready is nil where the API server answers that it is.
func (c *connection) ready(ctx context.Context) error {
	_, err := c.cs.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Raw()
	return err
}

// awaitAPI waits until the API server of a cluster is ready.
func (c *connection) awaitAPI(ctx context.Context, in cluster.Cluster, within time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = c.ready(ctx)
		if last != nil && in.Failure() != nil {
			return false, last
		}
		return last == nil, nil
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("wait for the API server: %w", errors.Join(err, last))
	}
	return err
}

// proxies names every running client's proxy.
func (c *connection) proxies() []string {
	var out []string
	for _, p := range c.pods.Started() {
		if p.Proxied() {
			out = append(out, mesh.Proxy(p.PodName, p.Namespace))
		}
	}
	return out
}

// labels are those of a pod, by which objects select it.
func (c *connection) labels(ctx context.Context, namespace, name string) (map[string]string, error) {
	p, err := c.cs.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the labels of pod %s/%s: %w", namespace, name, err)
	}
	return p.Labels, nil
}

// close ends what it holds open.
func (c *connection) close() {
	if c.followed != nil {
		c.followed.Close()
	}
	c.logs.Close()
	c.pages.Close()
	c.pods.Close()
}
