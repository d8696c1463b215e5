package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/report"
)

// bundler keeps debug bundles.
type bundler struct {
	cluster  cluster.Cluster
	cs       kubernetes.Interface
	internet cluster.Internet // nil for the live one
	pods     *pods.Pods
	out      *report.Folder // nil keeps nothing
	limit    time.Duration  // for one bundle
	logf     func(format string, a ...any)
}

// keep keeps what helps to understand a case that does not conform: logs, config dumps, resources,
// arrivals. It names the folder in the result; what could not be had is in its errors.txt. Of a case that did not run
// there is nothing to keep.
func (b *bundler) keep(ctx context.Context, l lane, r *egress.Result) {
	if b.out == nil || len(r.Phases) == 0 || (r.Verdict != egress.Violates && r.Verdict != egress.Inconclusive) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.limit)
	defer cancel()
	dir := "bundles/" + r.Case.Name
	var errs error
	keep := func(name string, text []byte, err error) {
		if err == nil {
			err = b.out.Write(dir+"/"+name, text)
		}
		errs = errors.Join(errs, err)
	}
	res, err := json.MarshalIndent(r, "", "  ")
	keep("result.json", res, err)
	keep("resources.yaml", []byte(strings.Join(r.Applied, "---\n")), nil)
	if b.internet != nil {
		log, _, err := b.internet.Arrivals(ctx, 0)
		var text []byte
		if err == nil {
			text, err = json.MarshalIndent(log, "", "  ")
		}
		keep("arrivals.json", text, err)
	}
	if b.cluster.Failure() == nil {
		text, err := b.podLog(ctx, mesh.SystemNamespace, "app=istiod", "discovery")
		keep("istiod.log", text, err)
		b.clients(ctx, l, r.Case, keep)
	}
	if node, ok := b.cluster.(cluster.Logger); ok {
		for _, part := range []string{"kube-proxy", "coredns", "kubelet"} { // which lead a client's calls
			text, err := tail(node, part)
			keep(part+".log", text, err)
		}
	}
	if errs != nil {
		if err := b.out.Write(dir+"/errors.txt", []byte(errs.Error()+"\n")); err != nil { // the bundle is best effort
			b.logf("debug bundle of %s: %v", r.Case.Name, errors.Join(errs, err))
		}
	}
	r.BundleAt = b.out.Join(dir)
}

// partLog is how much of the log of a part of the cluster is kept, in bytes.
const partLog = 256 << 10

// tail reads the end of the log of a part of a cluster.
func tail(c cluster.Logger, part string) ([]byte, error) {
	log, err := c.Log(part)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // nothing was written
	if f, ok := log.(io.Seeker); ok {
		if _, err := f.Seek(-partLog, io.SeekEnd); err != nil { // it is shorter
			_, err = f.Seek(0, io.SeekStart)
			if err != nil {
				return nil, fmt.Errorf("read the log of %s: %w", part, err)
			}
		}
	}
	text, err := io.ReadAll(io.LimitReader(log, partLog))
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", part, err)
	}
	return text, nil
}

func (b *bundler) clients(ctx context.Context, l lane, c egress.Case, keep func(string, []byte, error)) {
	for _, n := range c.Clients() {
		p, err := b.pods.Get(l.actual(n))
		if err != nil || !p.Proxied() {
			continue
		}
		text, err := b.podLog(ctx, p.Namespace, "app="+p.Workload, mesh.ProxyContainer)
		keep(n+".proxy.log", text, err)
		dump, err := kube.Exec(ctx, b.cluster.RESTConfig(), b.cs, p.Namespace, p.PodName, mesh.ProxyContainer, nil, "pilot-agent", "request", "GET", "config_dump")
		keep(n+".config_dump.json", []byte(dump), err)
	}
}

func (b *bundler) podLog(ctx context.Context, namespace, selector, container string) ([]byte, error) {
	l, err := b.cs.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil || len(l.Items) == 0 {
		return nil, fmt.Errorf("find the pod %s in %s: %w", selector, namespace, err)
	}
	lines := int64(2000)
	return b.cs.CoreV1().Pods(namespace).GetLogs(l.Items[0].Name, &corev1.PodLogOptions{Container: container, TailLines: &lines}).DoRaw(ctx)
}
