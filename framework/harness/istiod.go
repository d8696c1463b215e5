package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
)

// istiodPods are the pods of istiod by name, with how often their containers were started again.
type istiodPods map[string]int32

func (c *connection) istiodPods(ctx context.Context) (istiodPods, []corev1.Pod, error) {
	l, err := c.cs.CoreV1().Pods(mesh.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return nil, nil, fmt.Errorf("list the pods of istiod: %w", err)
	}
	out := istiodPods{}
	for _, p := range l.Items {
		for _, c := range p.Status.ContainerStatuses {
			out[p.Name] += c.RestartCount
		}
	}
	return out, l.Items, nil
}

// ended says which istiod has ended since then, and how; "" if none has.
func (before istiodPods) ended(now []corev1.Pod) string {
	var out []string
	for name, restarts := range before {
		i := slices.IndexFunc(now, func(p corev1.Pod) bool { return p.Name == name })
		if i < 0 {
			out = append(out, fmt.Sprintf("istiod ended: its pod %s is gone", name))
			continue
		}
		for _, c := range now[i].Status.ContainerStatuses {
			end := c.State.Terminated
			if end == nil && c.RestartCount > restarts {
				end = c.LastTerminationState.Terminated
			}
			if end != nil {
				out = append(out, fmt.Sprintf("istiod ended (pod %s: exit status %d, %s)", name, end.ExitCode, end.Reason))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func inconclusive(r egress.Result) bool { return r.Verdict == egress.Inconclusive }

// blameIstiod adds to inconclusive results that istiod has ended during the run, which the kubelet mends and which
// therefore shows nowhere else.
func (s *runner) blameIstiod(ctx context.Context, before istiodPods, results []egress.Result) {
	if len(before) == 0 || !slices.ContainsFunc(results, inconclusive) || s.env.cluster.Failure() != nil {
		return
	}
	var why string
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, s.opts.Limits.Cluster.PodDeath, true, func(ctx context.Context) (bool, error) {
		_, now, err := s.conn.istiodPods(ctx)
		if err == nil {
			why = before.ended(now)
		}
		return why != "", err
	})
	if err != nil || why == "" { // nothing is known that would explain more than the results do
		return
	}
	for i := range results {
		if inconclusive(results[i]) {
			results[i].Why += "\n(" + why + " during this run)"
		}
	}
}
