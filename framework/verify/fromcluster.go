package verify

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// FromCluster is what was read of a cluster without what is no team's: what belongs to Kubernetes itself and to the installation of
// Istio, what the injection webhook has put into pods. It says what is left out; name is what
// messages call the cluster.
func FromCluster(set *manifest.Set, name string) *manifest.Set {
	p := &pruner{name: name, out: &manifest.Set{Mistakes: slices.Clone(set.Mistakes), Notices: slices.Clone(set.Notices), Folders: set.Folders}}
	p.gateways(set.Objects)
	p.harnesses(set.Objects)
	for _, x := range set.Objects {
		if isIstiod(x) {
			p.istiod(x)
		}
		if !p.dropped(x) {
			p.out.Objects = append(p.out.Objects, uninject(x))
		}
	}
	p.tell("of Kubernetes itself, which no sidecar is for", p.systems)
	p.tell("namespaces that egressctl has made there", p.own)
	p.tell("of the installation of Istio, of which the dry mesh has its own", p.installation)
	p.out.Mistakes, p.out.Notices = p.out.Mistakes.Sorted(), p.out.Notices.Sorted()
	return p.out
}

// pruner leaves out of what was read of a cluster what is no team's.
type pruner struct {
	name string
	out  *manifest.Set
	// proxies are the labels of the gateways' pods in RootNamespace.
	proxies               []map[string]string
	systems, installation []string
	own                   []string // namespaces that a harness has made there
}

// roleOf is what becomes of an object.
func roleOf(x manifest.Object) role {
	k, known := kinds[x.Group()+"/"+x.Kind()]
	if !known {
		return ignored
	}
	return k.role
}

// gateways finds the gateways that live beside istiod.
func (p *pruner) gateways(all []manifest.Object) {
	for _, x := range all {
		if x.Namespace() == RootNamespace && roleOf(x) == workload && isProxy(x) {
			p.proxies = append(p.proxies, podLabels(x))
		}
	}
}

// harnesses finds the namespaces of runs, and those that a cluster of the harness's own comes with.
func (p *pruner) harnesses(all []manifest.Object) {
	for _, x := range all {
		labels := stringMap(x.At("metadata", "labels"))
		if roleOf(x) == space && (labels[fixture.RunLabel] != "" || labels[fixture.ClusterLabel] != "") {
			p.own = append(p.own, x.Name())
		}
	}
}

// isProxy says whether the pods of a workload are gateways.
func isProxy(x manifest.Object) bool {
	path := templates[x.Kind()]
	notes := stringMap(x.At(append(slices.Clone(path), "metadata", "annotations")...))
	return isGateway(podLabels(x), notes, mappings(x.At(append(slices.Clone(path), "spec", "containers")...)))
}

func podLabels(x manifest.Object) map[string]string {
	return stringMap(x.At(append(slices.Clone(templates[x.Kind()]), "metadata", "labels")...))
}

// dropped says whether an object is left out, and notes it.
func (p *pruner) dropped(x manifest.Object) bool {
	where, what := x.Namespace(), roleOf(x)
	running := what == workload || what == pointing || x.Kind() == "Service" && x.Group() == ""
	switch {
	case slices.Contains(p.own, where), what == space && slices.Contains(p.own, x.Name()):
	case what == space && (uninjected(x.Name()) || x.Name() == RootNamespace):
		return true // which every cluster has
	case running && uninjected(where), running && where == defaultNamespace && x.Name() == apiServer:
		p.systems = append(p.systems, x.String())
	case what == workload && (isIstiod(x) || where == RootNamespace && !isProxy(x)):
		p.installation = append(p.installation, x.String())
	case running && what != workload && where == RootNamespace && !p.leadsToProxy(x):
		p.installation = append(p.installation, x.String())
	default:
		return false
	}
	return true
}

// The Service, without a selector, that every cluster has.
const (
	apiServer        = "kubernetes"
	defaultNamespace = "default"
)

// leadsToProxy says whether a Service in RootNamespace is that of a gateway.
func (p *pruner) leadsToProxy(x manifest.Object) bool {
	want := stringMap(x.At("spec", "selector"))
	return len(want) > 0 && slices.ContainsFunc(p.proxies, func(have map[string]string) bool { return subset(want, have) })
}

// istiod says which version a control plane has, and that one which is not where it is expected counts for nothing.
func (p *pruner) istiod(x manifest.Object) {
	for _, c := range mappings(x.At("spec", "template", "spec", "containers")) {
		image, _ := c["image"].(string)
		if name, _ := c["name"].(string); name == "discovery" {
			p.notice("%s runs %s: --istio says of which version the dry mesh is", x, image)
		}
	}
	if x.Namespace() != RootNamespace {
		p.out.Mistakes = append(p.out.Mistakes, input.Mistake{File: x.File, What: fmt.Sprintf(
			"%s is not in %s: its mesh settings are not read (--mesh-config names a file), and what holds there for its whole mesh is taken for that namespace alone", x, RootNamespace)})
	}
}

func (p *pruner) notice(format string, a ...any) {
	p.out.Notices = append(p.out.Notices, input.Mistake{File: p.name, What: fmt.Sprintf(format, a...)})
}

// tell says what is left out, and why.
func (p *pruner) tell(why string, what []string) {
	if len(what) > 0 {
		p.notice("left out, %s: %s", why, someOf(what))
	}
}

// someOf are names in one line, some of many.
func someOf(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// injectedNote is the annotation of a pod that was injected; what it has is of no other use here.
const injectedNote = "sidecar.istio.io/status"

// uninject is a pod as it was before the injection webhook has seen it: its stand-in is injected itself.
func uninject(x manifest.Object) manifest.Object {
	if x.Kind() != "Pod" || x.At("metadata", "annotations", injectedNote) == nil || isProxy(x) {
		return x
	}
	x.Fields = clone(x.Fields)
	spec, _ := x.Fields["spec"].(map[string]any)
	for _, list := range []string{"containers", "initContainers"} {
		all, _ := spec[list].([]any)
		spec[list] = slices.DeleteFunc(all, func(c any) bool {
			m, _ := c.(map[string]any)
			return m["name"] == "istio-proxy" || m["name"] == "istio-init" || m["name"] == "istio-validation"
		})
	}
	labels, _ := x.At("metadata", "labels").(map[string]any)
	for _, l := range []string{"security.istio.io/tlsMode", "service.istio.io/canonical-name", "service.istio.io/canonical-revision"} {
		delete(labels, l)
	}
	notes, _ := x.At("metadata", "annotations").(map[string]any)
	delete(notes, injectedNote)
	return x
}
