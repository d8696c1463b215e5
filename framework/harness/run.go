package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/report"
)

// Environment describes the session for its report.
func (s *Session) Environment() report.Environment {
	f := s.Cluster.Facts()
	t := s.Timings()
	for k, v := range f.Timings {
		t["cluster: "+k] = v
	}
	var parts []report.Component
	for _, c := range f.Components {
		parts = append(parts, report.Component(c))
	}
	return report.Environment{
		Provider: f.Provider, Cluster: s.Cluster.Name(), Kubernetes: f.Kubernetes, Istio: f.Istio, Envoy: f.Envoy,
		Source: f.Source, Internet: s.outsideText(), Sabotage: string(s.opts.Sabotage), Deviations: s.Deviations(), Foreign: s.foreignNames(), Timings: t, Components: parts,
	}
}

// over says whether a run is cut short. That the cluster is gone ctx knows a moment later than the cluster.
func (s *Session) over(ctx context.Context) bool {
	select {
	case <-s.Cluster.Gone():
		<-ctx.Done()
	default:
	}
	return ctx.Err() != nil
}

// Bundle keeps what helps to understand a case that does not conform: logs, config dumps, resources,
// arrivals. It names the folder in the result; what could not be had is in its errors.txt. Of a case that did not run
// there is nothing to keep.
func (s *Session) Bundle(ctx context.Context, l lane, r *egress.Result, out *report.Folder) {
	if out == nil || len(r.Phases) == 0 || (r.Verdict != egress.Violates && r.Verdict != egress.Inconclusive) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Limits.Cluster.Bundle)
	defer cancel()
	dir := "bundles/" + r.Case.Name
	var errs error
	keep := func(name string, b []byte, err error) {
		if err == nil {
			err = out.Write(dir+"/"+name, b)
		}
		errs = errors.Join(errs, err)
	}
	res, err := json.MarshalIndent(r, "", "  ")
	keep("result.json", res, err)
	keep("resources.yaml", []byte(strings.Join(r.Applied, "---\n")), nil)
	if in := s.Cluster.Internet(); in != nil {
		log, _, err := in.Arrivals(ctx, 0)
		var b []byte
		if err == nil {
			b, err = json.MarshalIndent(log, "", "  ")
		}
		keep("arrivals.json", b, err)
	}
	if s.Cluster.Failure() == nil {
		b, err := s.podLog(ctx, mesh.SystemNamespace, "app=istiod", "discovery")
		keep("istiod.log", b, err)
		s.bundleClients(ctx, l, r.Case, keep)
	}
	if errs != nil {
		if err := out.Write(dir+"/errors.txt", []byte(errs.Error()+"\n")); err != nil { // the bundle is best effort
			s.opts.logf("debug bundle of %s: %v", r.Case.Name, errors.Join(errs, err))
		}
	}
	r.BundleAt = out.Join(dir)
}

func (s *Session) bundleClients(ctx context.Context, l lane, c egress.Case, keep func(string, []byte, error)) {
	for _, n := range c.Clients() {
		p, err := s.pods.Get(l.actual(n))
		if err != nil || !p.Captured() {
			continue
		}
		b, err := s.podLog(ctx, p.Namespace, "app="+p.Workload, mesh.ProxyContainer)
		keep(n+".proxy.log", b, err)
		dump, err := kube.Exec(ctx, s.Cluster.RESTConfig(), s.cs, p.Namespace, p.PodName, mesh.ProxyContainer, nil, "pilot-agent", "request", "GET", "config_dump")
		keep(n+".config_dump.json", []byte(dump), err)
	}
}

func (s *Session) podLog(ctx context.Context, namespace, selector, container string) ([]byte, error) {
	l, err := s.cs.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil || len(l.Items) == 0 {
		return nil, fmt.Errorf("find the pod %s in %s: %w", selector, namespace, err)
	}
	lines := int64(2000)
	return s.cs.CoreV1().Pods(namespace).GetLogs(l.Items[0].Name, &corev1.PodLogOptions{Container: container, TailLines: &lines}).DoRaw(ctx)
}

// Observe makes one probe from a client, with all witnesses.
func (s *Session) Observe(ctx context.Context, p egress.Probe) (egress.ProbeResult, error) {
	if !slices.ContainsFunc(s.opts.Clients, func(c egress.Client) bool { return c.Name == p.From }) {
		names := make([]string, len(s.opts.Clients))
		for i, c := range s.opts.Clients {
			names[i] = c.Name
		}
		return egress.ProbeResult{}, fmt.Errorf("client %q is unknown; known: %s", p.From, strings.Join(names, ", "))
	}
	if err := s.starter.startClient(p.From).wait(ctx); err != nil {
		return egress.ProbeResult{}, s.because(ctx, err)
	}
	return s.lanes[0].engine.Observe(ctx, p), nil
}
