package harness

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
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

// lookForForeign finds what is not the harness's own. In a cluster of somebody else's it finds what the run's
// namespaces can see of it.
func (s *Session) lookForForeign(ctx context.Context) error {
	var installed mesh.Installed
	var found []foreign
	if s.visit == nil {
		var err error
		if installed, err = mesh.ReadInstalled(s.Cluster.RESTConfig()); err != nil {
			return err
		}
		if found, err = s.foreignConfig(ctx, installed.Mesh); err != nil {
			return err
		}
	}
	objs, err := s.egressObjects(ctx)
	if err != nil {
		return err
	}
	for _, o := range objs {
		if isForeign(o, installed) && (s.visit == nil || reachesAll(o)) {
			found = append(found, foreign{fixture.Describe(o), o})
		}
	}
	s.foreign = found
	if len(found) == 0 {
		return nil
	}
	s.opts.logf("in this cluster, not the harness's: %s", some(s.foreignNames()))
	if s.opts.StrictCluster && s.visit == nil {
		return fmt.Errorf("cluster %s has what the harness has not installed: %s. Verdicts could be about that: remove it, use another cluster (--name), or accept it with --strict-cluster=false",
			s.Cluster.Name(), some(s.foreignNames()))
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

// foreignNames are what was found, as the report has it.
func (s *Session) foreignNames() []string {
	out := make([]string, len(s.foreign))
	for i, f := range s.foreign {
		out[i] = f.what
	}
	return out
}

// foreignConfig compares the mesh configuration with the installed one.
func (s *Session) foreignConfig(ctx context.Context, want mesh.Config) ([]foreign, error) {
	have, err := mesh.InstalledConfig(ctx, s.cs)
	if err != nil || want == nil {
		return nil, err
	}
	var out []foreign
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
func (s *Session) egressObjects(ctx context.Context) ([]*fixture.Object, error) {
	dyn, err := dynamic.NewForConfig(s.Cluster.RESTConfig())
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
	case "Service", "Gateway", "NetworkPolicy":
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
func (s *Session) blame(r egress.Result) egress.Result {
	if r.Verdict != egress.Violates && r.Verdict != egress.Inconclusive {
		return r
	}
	var may []string
	for _, f := range s.foreign {
		if f.explains(r.Case) {
			may = append(may, f.what)
		}
	}
	if len(may) > 0 {
		r.Why += "\n(not the harness's, and may explain it: " + some(may) + ")"
	}
	return r
}
