package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// promise starts f in the background, once for each name.
func (s *Session) promise(name string, f func(context.Context) error) *future {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.futures[name]; have != nil {
		return have
	}
	fut := &future{done: make(chan struct{})}
	s.futures[name] = fut
	go func() {
		defer close(fut.done)
		// What is started for one case serves the others too, so it must outlive that case.
		ctx, stop := s.alive(s.life)
		defer stop()
		fut.err = f(ctx)
	}()
	return fut
}

// launch starts a client in the background.
func (s *Session) launch(name string) *future {
	return s.promise(name, func(ctx context.Context) error {
		c, err := s.client(name)
		if err != nil {
			return err
		}
		if err := s.pods.Start(ctx, c); err != nil {
			return err
		}
		if !c.Sidecar() {
			return nil
		}
		pod, err := s.pods.Get(name)
		if err != nil {
			return err
		}
		if err := s.logs.Start(ctx, name, logSource(pod)); err != nil {
			return err
		}
		if c.Container != "" && !c.Escapes {
			if err := s.logs.Attached(ctx, name); err != nil {
				return err
			}
		}
		return s.waitURL(ctx, c.ReadyURL)
	})
}

// client finds the description of a client, or of a lane's copy of one.
func (s *Session) client(name string) (egress.Client, error) {
	for _, c := range s.opts.Clients {
		for l := range lane(max(1, len(s.lanes))) {
			if l.actual(c.Name) == name {
				return l.client(c), nil
			}
		}
	}
	return egress.Client{}, fmt.Errorf("client %q is not defined", name)
}

// waitURL waits until the control client gets an answer from a workload behind the ingress gateway:
// its pod may be ready before the gateway knows it.
func (s *Session) waitURL(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	for _, f := range []*future{s.promise(gatewaysFuture, s.gateways), s.need(egress.ControlClient)} {
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, egress.Patience(apiTimeout))
	defer cancel()
	url = strings.ReplaceAll(url, "${INGRESS_IP}", s.ingress)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := s.pods.Do(ctx, egress.ControlClient, probe.Request{Argv: []string{"curl", "-sS", "-f", "-o", "/dev/null", "-m", "5", url}})
		if err == nil && out.ExitCode == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer from %s: %w; last: exit %d %s", url, errors.Join(ctx.Err(), err), out.ExitCode, out.Stderr)
		case <-tick.C:
		}
	}
}

func (s *Session) need(name string) *future {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.futures[name]; f != nil {
		return f
	}
	f := &future{done: make(chan struct{}), err: fmt.Errorf("%q was never started", name)}
	close(f.done)
	return f
}

// gatewayAPI makes the cluster know the Gateway API.
func (s *Session) gatewayAPI(ctx context.Context) error {
	f := s.Cluster.Facts()
	if err := mesh.InstallGatewayAPI(ctx, s.fix, f.Module, f.Istio); err != nil {
		return err
	}
	return s.istiod.Quiet(ctx)
}

func (s *Session) startGateways(ctx context.Context, in *mesh.Installer) error {
	if err := in.Gateways(ctx); err != nil {
		return err
	}
	return s.watchGateways(ctx)
}

// ensureGateways starts the gateways where they are missing: whoever brought the cluster up may not have needed them.
func (s *Session) ensureGateways(ctx context.Context) error {
	for _, g := range []string{mesh.IngressGateway, mesh.EgressGateway} {
		_, err := s.cs.AppsV1().Deployments(mesh.SystemNamespace).Get(ctx, g, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return s.startGateways(ctx, s.installer())
		}
		if err != nil {
			return fmt.Errorf("look for gateway %s: %w", g, err)
		}
	}
	return s.watchGateways(ctx)
}

func (s *Session) watchGateways(ctx context.Context) error {
	for _, g := range []string{mesh.IngressGateway, mesh.EgressGateway} {
		pod, err := pods.WaitPodReady(ctx, s.cs, mesh.SystemNamespace, "app="+g)
		if err != nil {
			return err
		}
		if err := s.logs.Start(ctx, g, mesh.LogSource{Namespace: mesh.SystemNamespace, Pod: pod.Name, Gateway: true}); err != nil {
			return err
		}
		s.mu.Lock()
		s.gatewayPods[g] = pod.Name
		s.mu.Unlock()
	}
	svc, err := s.cs.CoreV1().Services(mesh.SystemNamespace).Get(ctx, mesh.IngressGateway, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the ingress gateway's address: %w", err)
	}
	s.ingress = svc.Spec.ClusterIP
	return nil
}

// gatewayProxy names the proxy of the gateway that a feature stands for; "" while it does not run.
func (s *Session) gatewayProxy(f egress.Feature) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pod := s.gatewayPods["istio-"+strings.ReplaceAll(string(f), "-", "")]; pod != "" {
		return mesh.Proxy(pod, mesh.SystemNamespace)
	}
	return ""
}
