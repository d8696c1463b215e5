package harness

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/existing"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// visit is the opening of a session in somebody else's cluster, once its Istio is known.
type visit struct {
	*opening
	found mesh.Found
}

// useExisting looks what is in somebody else's cluster, makes an internet of pods there, and clients that use it.
func (s *opening) useExisting(ctx context.Context) error {
	if s.opts.Sabotage != NoSabotage {
		return fmt.Errorf("sabotage %s: this cluster belongs to somebody else, and nothing in it is broken on purpose", s.opts.Sabotage)
	}
	if err := s.connect(); err != nil {
		return err
	}
	if err := existing.Preflight(ctx, s.conn.cs); err != nil {
		return err
	}
	var err error
	if s.hold.lock, err = shareByUID(ctx, s.store, s.conn.cs); err != nil {
		return fmt.Errorf("cluster %s: %w", s.env.cluster.Name(), err)
	}
	if err := s.beginJournal(ctx); err != nil {
		return err
	}
	beyond, err := s.opts.beyond(ctx, s.conn.fix)
	if err != nil {
		return err
	}
	found, err := s.istio(ctx)
	if err != nil {
		return err
	}
	s.opts.logf("Istio %s (revision %s), outbound policy %s", found.Release, found.Revision, found.Policy)
	// Namespaces of the run alone: nothing that is there already is taken over or removed.
	for i, c := range s.opts.Clients {
		s.opts.Clients[i].Namespace = c.Namespace + "-" + s.hold.run
	}
	if err := (&visit{s, found}).existingEnvironment(ctx, beyond); err != nil {
		return err
	}
	if err := s.connect(); err != nil { // clients are customized from here on
		return err
	}
	if err := s.lookForForeign(ctx, searched.ofExisting); err != nil {
		return err
	}
	for _, n := range baseClients {
		s.starter.startClient(n)
	}
	if err := s.followGateways(ctx); err != nil {
		return err
	}
	s.starter.gateways.bring = func(context.Context) error {
		return fmt.Errorf("gateways of somebody else's cluster are not used")
	}
	return s.join(ctx)
}

// existingEnvironment makes the environment of an existing cluster, and an internet of pods unless the live one is
// wanted.
func (s *visit) existingEnvironment(ctx context.Context, beyond map[string][]string) error {
	e, err := s.environment(ctx)
	if err != nil {
		return err
	}
	bounds := existing.Constraints{Hosts: e.hosts, Files: s.opts.Fixtures, Clients: s.opts.Clients, Beyond: beyond, OwnPolicy: s.found.Policy != egress.RegistryOnly, Live: s.opts.Internet == cluster.Live, OwnIstio: s.hold.istio != nil}
	e.constraints = []constraint{{"on somebody else's cluster", bounds.SkipReason}, {"on somebody else's cluster", families{clients: s.opts.Clients}.dualStack}}
	e.custom.Inject = injectionLabel(s.found)
	e.custom.Policies = func(namespace string) []*fixture.Object { return policies(s.found, namespace) }
	f := &e.facts
	f.Istio, f.IstioTag, f.Envoy, f.Internet = s.found.Version, s.found.Release, "of Istio "+s.found.Release, s.opts.Internet
	f.Notes = append(f.Notes, fmt.Sprintf("the cluster and its Istio (revision %s, mesh-wide outbound policy %s) belong to somebody else", s.found.Revision, s.found.Policy))
	if bounds.Live {
		f.Features = nil
		f.Notes = append(f.Notes, "the internet is the live one: no arrival log, two witnesses and the control client")
	} else {
		in, err := s.startPodInternet(ctx, e.custom, bounds.Names(s.opts.Cases))
		if err != nil {
			return err
		}
		f.Internet, f.Features = cluster.Hermetic, []egress.Feature{egress.Hermetic}
		f.Notes = append(f.Notes, "each host of the internet is a pod")
		e.internet, e.custom.DNS, e.custom.CA = in, in.DNS, in.CA
	}
	if bounds.OwnPolicy {
		f.Notes = append(f.Notes, "a Sidecar in each of the run's namespaces makes them REGISTRY_ONLY")
	}
	s.completeEnvironment(&e)
	s.env = e
	return nil
}

// environment is what every session in somebody else's cluster has: that cluster, and pods of an image that it can pull.
func (s *visit) environment(ctx context.Context) (environment, error) {
	e := environment{cluster: s.env.cluster, facts: s.env.cluster.Facts(), hosts: s.opts.Hosts, revision: s.found.Revision}
	e.custom = &pods.Customization{Image: cmp.Or(s.opts.ClientImage, defaultClientImage)}
	var err error
	if e.custom.AnyUser, err = s.conn.openShift(); err != nil {
		return e, err
	}
	e.custom.Agent, err = components.Agent(ctx, s.store, s.opts.Components.Progress)
	return e, err
}

// startPodInternet starts the pods that play the internet.
func (s *visit) startPodInternet(ctx context.Context, as *pods.Customization, names []string) (*existing.Internet, error) {
	program, err := components.Self()
	if err != nil {
		return nil, err
	}
	in, err := existing.StartInternet(ctx, existing.InternetOptions{
		Config: s.env.cluster.RESTConfig(), Clientset: s.conn.cs, Fixtures: s.conn.fix, Run: s.hold.run, Image: as.Image, Hosts: s.opts.Hosts, Names: names, Program: program, Limits: s.opts.Limits, AnyUser: as.AnyUser,
	})
	if err == nil {
		s.times.mark(stepInternet)
	}
	return in, err
}

// defaultClientImage has a shell and curl; the hermetic internet's pods run it too.
const defaultClientImage = "docker.io/curlimages/curl:8.16.0"

// injectionLabel is the label of namespaces whose pods this Istio gives sidecars.
func injectionLabel(found mesh.Found) map[string]string {
	if found.Revision == "default" {
		return map[string]string{"istio-injection": "enabled"}
	}
	return map[string]string{"istio.io/rev": found.Revision}
}

// policies are the objects that make a namespace of the run as cases expect the mesh to be.
func policies(found mesh.Found, namespace string) []*fixture.Object {
	var out []*fixture.Object
	if found.Policy != egress.RegistryOnly {
		out = append(out, &fixture.Object{Object: map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": map[string]any{"name": "registry-only", "namespace": namespace},
			"spec": map[string]any{"outboundTrafficPolicy": map[string]any{"mode": string(egress.RegistryOnly)}, "egress": []any{map[string]any{"hosts": []any{"*/*"}}}},
		}})
	}
	if !found.AccessLog {
		out = append(out, &fixture.Object{Object: map[string]any{
			"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": map[string]any{"name": "access-log", "namespace": namespace},
			"spec": map[string]any{"accessLogging": []any{map[string]any{"providers": []any{map[string]any{"name": "envoy"}}}}},
		}})
	}
	return out
}

// openShift says whether the cluster chooses its pods' users.
func (c *connection) openShift() (bool, error) {
	groups, err := c.cs.Discovery().ServerGroups()
	if err != nil {
		return false, fmt.Errorf("ask the cluster for its API groups, which tell whether it chooses the users of pods (OpenShift): %w", err)
	}
	return slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "security.openshift.io" }), nil
}
