package harness

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/existing"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// visit is what a session knows besides when the cluster belongs to somebody else.
type visit struct {
	terms    existing.Constraints
	found    mesh.Found
	internet *existing.Internet
	dress    *pods.Customization
}

// guestCluster is somebody else's cluster with our internet in it.
type guestCluster struct {
	cluster.Cluster
	facts    cluster.Facts
	internet cluster.Internet
}

func (c *guestCluster) Facts() cluster.Facts       { return c.facts }
func (c *guestCluster) Internet() cluster.Internet { return c.internet }

// call on somebody else's cluster: look what is there, make an internet of pods, and clients that use it.
func (s *Session) call(ctx context.Context, store *components.Store) error {
	if s.opts.Sabotage != NoSabotage {
		return fmt.Errorf("sabotage %s: this cluster belongs to somebody else, and nothing in it is broken on purpose", s.opts.Sabotage)
	}
	if err := s.connect(); err != nil {
		return err
	}
	if err := existing.Preflight(ctx, s.cs); err != nil {
		return err
	}
	if err := s.share(ctx, store); err != nil {
		return err
	}
	if err := s.beginJournal(ctx, store); err != nil {
		return err
	}
	beyond, err := s.beyond(ctx)
	if err != nil {
		return err
	}
	found, err := s.istio(ctx, store)
	if err != nil {
		return err
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return err
	}
	s.opts.logf("Istio %s (revision %s), outbound policy %s", found.Release, found.Revision, found.Policy)
	v := &visit{found: found, terms: existing.Constraints{Hosts: hosts, Files: s.opts.Fixtures, Clients: s.opts.Clients, Beyond: beyond, OwnPolicy: found.Policy != egress.RegistryOnly, Live: s.opts.Outside == cluster.Live}}
	s.visit = v
	// Namespaces of the run alone: nothing that is there already is taken over or removed.
	for i, c := range s.opts.Clients {
		s.opts.Clients[i].Namespace = c.Namespace + "-" + s.run
	}
	anyUser, err := s.openShift()
	if err != nil {
		return err
	}
	image := s.opts.ClientImage
	if image == "" {
		image = defaultClientImage
	}
	f := s.Cluster.Facts()
	f.Istio, f.IstioTag, f.Envoy, f.Outside = found.Version, found.Release, "of Istio "+found.Release, s.opts.Outside
	f.Notes = append(f.Notes, fmt.Sprintf("the cluster and its Istio (revision %s, mesh-wide outbound policy %s) belong to somebody else", found.Revision, found.Policy))
	v.dress = &pods.Customization{Image: image, AnyUser: anyUser, Inject: v.inject(), Policies: v.policies}
	foreign := &guestCluster{Cluster: s.Cluster}
	if v.terms.Live {
		f.Features = nil
		f.Notes = append(f.Notes, "the internet is the live one: no arrival log, two witnesses and the control client")
	} else {
		if err := s.bringInternet(ctx, image, anyUser); err != nil {
			return err
		}
		f.Outside, f.Features = cluster.Hermetic, []egress.Feature{egress.Hermetic}
		f.Notes = append(f.Notes, "each host of the internet is a pod")
		foreign.internet, v.dress.DNS, v.dress.CA = v.internet, v.internet.DNS, v.internet.CA
	}
	if v.dress.Agent, err = components.Agent(ctx, store, s.opts.Progress); err != nil {
		return err
	}
	if v.terms.OwnPolicy {
		f.Notes = append(f.Notes, "a Sidecar in each of the run's namespaces makes them REGISTRY_ONLY")
	}
	foreign.facts = f
	s.Cluster = foreign
	if err := s.connect(); err != nil { // the clients are dressed from here on
		return err
	}
	if err := s.lookForForeign(ctx); err != nil {
		return err
	}
	for _, n := range baseClients {
		s.starter.startClient(n)
	}
	if err := s.followGateways(ctx); err != nil {
		return err
	}
	s.starter.gateways = func(context.Context) error {
		return fmt.Errorf("gateways of somebody else's cluster are not used")
	}
	return s.join(ctx)
}

// bringInternet starts the pods that play the internet.
func (s *Session) bringInternet(ctx context.Context, image string, anyUser bool) error {
	program, err := components.Self()
	if err != nil {
		return err
	}
	s.visit.internet, err = existing.StartInternet(ctx, existing.InternetOptions{
		Config: s.Cluster.RESTConfig(), Clientset: s.cs, Fixtures: s.fix, Run: s.run, Image: image, Names: s.visit.terms.Names(s.opts.Cases), Program: program, Limits: s.opts.Limits, AnyUser: anyUser,
	})
	if err == nil {
		s.times.mark("hermetic internet ready")
	}
	return err
}

// defaultClientImage has a shell and curl; the hermetic internet's pods run it too.
const defaultClientImage = "docker.io/curlimages/curl:8.16.0"

// inject is the label of namespaces whose pods this Istio gives sidecars.
func (v *visit) inject() map[string]string {
	if v.found.Revision == "default" {
		return map[string]string{"istio-injection": "enabled"}
	}
	return map[string]string{"istio.io/rev": v.found.Revision}
}

// policies are the objects that make a namespace of the run as cases expect the mesh to be.
func (v *visit) policies(namespace string) []*fixture.Object {
	var out []*fixture.Object
	if v.terms.OwnPolicy {
		out = append(out, &fixture.Object{Object: map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": map[string]any{"name": "registry-only", "namespace": namespace},
			"spec": map[string]any{"outboundTrafficPolicy": map[string]any{"mode": string(egress.RegistryOnly)}, "egress": []any{map[string]any{"hosts": []any{"*/*"}}}},
		}})
	}
	if !v.found.AccessLog {
		out = append(out, &fixture.Object{Object: map[string]any{
			"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": map[string]any{"name": "access-log", "namespace": namespace},
			"spec": map[string]any{"accessLogging": []any{map[string]any{"providers": []any{map[string]any{"name": "envoy"}}}}},
		}})
	}
	return out
}

// openShift says whether the cluster chooses its pods' users.
func (s *Session) openShift() (bool, error) {
	groups, err := s.cs.Discovery().ServerGroups()
	if err != nil {
		return false, fmt.Errorf("ask the cluster for its API groups, which tell whether it chooses the users of pods (OpenShift): %w", err)
	}
	return slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "security.openshift.io" }), nil
}

// excuse says why a case cannot run in this session although its needs are met; "" if it can.
func (s *Session) excuse(c egress.Case) (string, error) {
	if s.visit != nil {
		why, err := s.visit.terms.SkipReason(c)
		if err != nil {
			return "", err
		}
		if why != "" {
			return "not on somebody else's cluster: " + why, nil
		}
	}
	if s.terms != nil {
		why, err := s.terms.SkipReason(c)
		if err != nil {
			return "", err
		}
		if why != "" {
			return "not against the live internet: " + why, nil
		}
	}
	return "", nil
}
