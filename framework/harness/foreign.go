package harness

import (
	"context"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/isolation"
	"mesh-egress-conformance/framework/mesh"
)

// A cluster that lives on may have been changed by hand: a ServiceEntry in another namespace, a mesh configuration that
// was edited. Its cases would then say of the mesh what is that object's doing, so such objects are looked for before
// any case runs.

// egressGroups are the API groups whose objects decide about egress.
var egressGroups = []string{"networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io", "gateway.networking.k8s.io", "networking.k8s.io"}

// foreign is something in the cluster that neither the harness has installed nor a run has made.
type foreign struct {
	what string
	// object is nil for the mesh configuration.
	object *fixture.Object
}

// foreignObjects are all that was found.
type foreignObjects []foreign

// searched is a cluster in which they are looked for.
type searched struct {
	config *rest.Config
	cs     kubernetes.Interface
}

// ofOurs finds what is in a cluster of the harness and was not installed by it.
func (s searched) ofOurs(ctx context.Context) (foreignObjects, error) {
	installed, err := mesh.ReadInstalled(s.config)
	if err != nil {
		return nil, err
	}
	found, err := s.foreignConfig(ctx, installed.Mesh)
	if err != nil {
		return nil, err
	}
	objs, err := s.egressObjects(ctx)
	for _, o := range objs {
		if isForeign(o, installed) {
			found = append(found, foreign{fixture.Describe(o), o})
		}
	}
	return found, err
}

// ofExisting finds what the run's namespaces can see of an existing cluster's objects.
func (s searched) ofExisting(ctx context.Context) (foreignObjects, error) {
	objs, err := s.egressObjects(ctx)
	var found foreignObjects
	for _, o := range objs {
		if isForeign(o, mesh.Installed{}) && reachesAll(o) {
			found = append(found, foreign{fixture.Describe(o), o})
		}
	}
	return found, err
}

// lookForForeign finds what the session's cluster has besides, and refuses a cluster of the harness for it where the
// options say so.
func (s *opening) lookForForeign(ctx context.Context, find func(searched, context.Context) (foreignObjects, error)) error {
	var err error
	s.env.foreign, err = find(searched{s.env.cluster.RESTConfig(), s.conn.cs}, ctx)
	if err != nil || len(s.env.foreign) == 0 {
		return err
	}
	s.opts.logf("in this cluster, not the harness's: %s", some(s.env.foreign.names()))
	if s.opts.StrictCluster && s.env.ours {
		return fmt.Errorf("cluster %s has what the harness has not installed: %s. Verdicts could be about that: remove it, use another cluster (--name), or accept it with --strict-cluster=false",
			s.env.cluster.Name(), some(s.env.foreign.names()))
	}
	return nil
}

// some joins names, the first ones of many; all of them are in the report.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(names[:most], "; "), len(names)-most)
}

// names are what was found, as the report has it.
func (x foreignObjects) names() []string {
	out := make([]string, len(x))
	for i, f := range x {
		out[i] = f.what
	}
	return out
}

// foreignConfig compares the mesh configuration with the installed one.
func (s searched) foreignConfig(ctx context.Context, want mesh.Config) (foreignObjects, error) {
	have, err := mesh.InstalledConfig(ctx, s.cs)
	if err != nil || want == nil {
		return nil, err
	}
	var out foreignObjects
	keys := slices.Collect(maps.Keys(have))
	for k := range want {
		if _, ok := have[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !reflect.DeepEqual(have[k], want[k]) {
			out = append(out, foreign{what: fmt.Sprintf("the mesh configuration's %s, which is %s and was installed as %s", k, inline(have[k]), inline(want[k]))})
		}
	}
	return out, nil
}

// inline is a value on one line.
func inline(v any) string {
	if v == nil {
		return "absent"
	}
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// egressObjects lists the objects of all kinds that decide about egress. What this user may not list is left out.
func (s searched) egressObjects(ctx context.Context) ([]*fixture.Object, error) {
	dyn, err := dynamic.NewForConfig(s.config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	lists, err := s.cs.Discovery().ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) { // an aggregated API that is down is none of ours
		return nil, fmt.Errorf("list the kinds of the cluster: %w", err)
	}
	var out []*fixture.Object
	for _, l := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("list the kinds of the cluster: %w", err)
		}
		for _, r := range l.APIResources {
			if !slices.Contains(egressGroups, gv.Group) && (gv.Group != "" || r.Kind != "Service") {
				continue
			}
			have, err := dyn.Resource(gv.WithResource(r.Name)).List(ctx, metav1.ListOptions{})
			switch {
			case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
				continue
			case err != nil:
				return nil, fmt.Errorf("list %s: %w", r.Name, err)
			}
			for i := range have.Items {
				out = append(out, &have.Items[i])
			}
		}
	}
	return out, nil
}

// isForeign says whether an object is neither the harness's nor part of every cluster of Istio's or Kubernetes'.
func isForeign(o *fixture.Object, installed mesh.Installed) bool {
	spec, _ := o.Object["spec"].(map[string]any)
	controller, _ := spec["controllerName"].(string)
	switch {
	case o.GetLabels()[fixture.RunLabel] != "", o.GetLabels()[fixture.ClusterLabel] != "", installed.Has(o):
		return false
	case o.GetKind() == "GatewayClass" && strings.HasPrefix(controller, "istio.io/"): // istiod makes them
		return false
	case o.GetKind() == "Service" && (o.GetNamespace() == metav1.NamespaceSystem || o.GetNamespace() == metav1.NamespaceDefault && o.GetName() == "kubernetes"):
		return false
	case o.GetKind() == "IngressClass", o.GetKind() == "IPAddress", o.GetKind() == "ServiceCIDR", o.GetKind() == "Ingress": // say nothing about egress
		return false
	}
	return true
}

// reachesAll says whether other namespaces can notice an object: it is exported to them, or it is the mesh's own.
func reachesAll(o *fixture.Object) bool {
	switch o.GetKind() {
	case "ServiceEntry", "VirtualService", "DestinationRule":
		spec, _ := o.Object["spec"].(map[string]any)
		to, _ := spec["exportTo"].([]any)
		return len(to) == 0 || slices.Contains(to, any("*"))
	case "Service":
		return len(isolation.SharedPorts(o.Object)) > 0
	case "Gateway", "NetworkPolicy":
		return false
	}
	return o.GetNamespace() == mesh.SystemNamespace
}

// explains says whether a foreign object may be the reason for what a case has found: it is not about other hosts
// alone.
func (f foreign) explains(c egress.Case) bool {
	if f.object == nil {
		return true
	}
	if taken := isolation.SharedPorts(f.object.Object); f.object.GetKind() == "Service" && len(taken) > 0 && !isolation.Headless(f.object.Object) {
		return slices.ContainsFunc(c.Probes, func(p egress.Probe) bool {
			_, port, err := net.SplitHostPort(p.Address())
			return err != nil || slices.Contains(taken, port) // of a command nobody knows the port
		})
	}
	spec, _ := f.object.Object["spec"].(map[string]any)
	hosts, _ := spec["hosts"].([]any)
	if h, ok := spec["host"]; ok {
		hosts = append(slices.Clone(hosts), h)
	}
	if len(hosts) == 0 || spec["addresses"] != nil {
		return true
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		m, _ := p.(map[string]any)
		protocol, _ := m["protocol"].(string)
		if f.object.GetKind() == "ServiceEntry" && !slices.Contains([]string{"HTTP", "HTTPS", "HTTP2", "TLS", "GRPC"}, strings.ToUpper(protocol)) {
			return true // a port of bytes takes what is meant for any host
		}
	}
	for _, h := range hosts {
		name, _ := h.(string)
		for _, p := range c.Probes {
			if means(name, p.Destination()) {
				return true
			}
		}
	}
	return false
}

// means says whether a host of Istio's, which may be a wildcard, stands for a name.
func means(host, name string) bool {
	suffix, wild := strings.CutPrefix(host, "*")
	return host == name || wild && strings.HasSuffix(name, suffix)
}

// blame adds to a verdict that is not the wanted one what in the cluster may explain it.
func (x foreignObjects) blame(r egress.Result) egress.Result {
	if r.Verdict != egress.Violates && r.Verdict != egress.Inconclusive {
		return r
	}
	var may []string
	for _, f := range x {
		if f.explains(r.Case) {
			may = append(may, f.what)
		}
	}
	if len(may) > 0 {
		r.Why += "\n(not the harness's, and may explain it: " + some(may) + ")"
	}
	return r
}
