package harness

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// ownGateways are the gateways that every cluster of ours has.
type ownGateways struct {
	conn   *connection // nil until the cluster is there
	limits limits.Pods
	// bring starts them, or finds them.
	bring func(context.Context) error

	mu      sync.Mutex
	ingress string // the address of the ingress gateway
}

// installedGateways are the gateways that every cluster of ours has, by the feature that a case needs.
var installedGateways = map[egress.Feature]string{egress.IngressGateway: mesh.IngressGateway, egress.EgressGateway: mesh.EgressGateway}

// find waits until the gateways' pods are ready and their logs followed.
func (g *ownGateways) find(ctx context.Context) error {
	for _, name := range installedGateways {
		if _, err := pods.WaitPodReady(ctx, g.conn.cs, mesh.SystemNamespace, "app="+name, g.limits); err != nil {
			return err
		}
		if err := g.conn.followed.Await(ctx, mesh.SystemNamespace, map[string]string{"app": name}, 1); err != nil {
			return err
		}
	}
	svc, err := g.conn.cs.CoreV1().Services(mesh.SystemNamespace).Get(ctx, mesh.IngressGateway, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the ingress gateway's address: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ingress = svc.Spec.ClusterIP
	return nil
}

// have says whether both gateways are installed: whoever brought the cluster up may not have needed them.
func (g *ownGateways) have(ctx context.Context) (bool, error) {
	for _, name := range installedGateways {
		_, err := g.conn.cs.AppsV1().Deployments(mesh.SystemNamespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for gateway %s: %w", name, err)
		}
	}
	return true, nil
}

// ingressIP is the address of the ingress gateway; "" before that was found.
func (g *ownGateways) ingressIP() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ingress
}

// proxies names the proxies of the gateway that a feature stands for; none while it does not run.
func (g *ownGateways) proxies(f egress.Feature) []string {
	name := installedGateways[f]
	if name == "" {
		return nil
	}
	return g.conn.followed.Proxies(mesh.SystemNamespace, map[string]string{"app": name})
}

// all names the proxies of all of them.
func (g *ownGateways) all() []string {
	var out []string
	for f := range installedGateways {
		out = append(out, g.proxies(f)...)
	}
	return out
}

func (s *site) installGateways(ctx context.Context, in *mesh.Installer) error {
	if err := in.Gateways(ctx); err != nil {
		return err
	}
	return s.starter.gateways.find(ctx)
}

// ensureGateways installs the gateways where they are missing, and waits until istiod knows those that are there already. The
// session is joined by then.
func (s *site) ensureGateways(ctx context.Context) error {
	have, err := s.starter.gateways.have(ctx)
	if err != nil {
		return err
	}
	if !have {
		return s.installGateways(ctx, s.installer(s.env.facts.Istios()[0]))
	}
	if err := s.starter.gateways.find(ctx); err != nil {
		return err
	}
	return s.starter.gatewaysConnected(ctx)
}

// gatewaysConnected waits until istiod knows the gateways, once the session is joined.
func (s *starter) gatewaysConnected(ctx context.Context) error {
	return s.mesh.connected(ctx, s.gateways.all()...)
}
