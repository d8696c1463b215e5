package why

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// World is what is known of where a case runs before it does.
type World struct {
	Clients []egress.Client
	// Hosts are those whose addresses are known; nil for none.
	Hosts *internet.Hosts
}

// Expected says of a case, by phase and probe, what of it bears on the outcome that it expects: what its objects say of the probe's
// host, address and port, and what its client's annotations and the outbound policy are. It says what is written in them, and where
// that does not settle the outcome it does not say which of them wins. The fixtures are the objects of the case's files.
func (w World) Expected(c egress.Case, fixtures []egress.Object) map[egress.Phase][][]Reason {
	home := w.home(c)
	lane := home
	if k, ok := w.client("client"); ok {
		lane = k // whatever clients the case has (docs/cases.md)
	}
	expand := strings.NewReplacer(placeholder, lane.Namespace)
	out := map[egress.Phase][][]Reason{}
	stages := stagesOf(c, fixtures, home.Namespace, expand)
	for _, ph := range c.Phases() {
		for _, p := range c.Probes {
			b := &bearing{c: c, ph: ph, stage: stages[ph], expand: expand, mesh: meshOf(c, ph), carrier: p.Carrier(ph)}
			b.client, b.known = w.client(b.carrier)
			b.call = w.callOf(c, p, ph, expand)
			b.q = Question{Namespace: b.client.Namespace, Labels: map[string]string{"app": b.client.Workload}}
			out[ph] = append(out[ph], b.reasons(p))
		}
	}
	return out
}

// OutboundPolicy is the mesh-wide outbound policy in a phase, as people write it.
func OutboundPolicy(c egress.Case, ph egress.Phase) string { return meshOf(c, ph).policy() }

func (w World) client(name string) (egress.Client, bool) {
	i := slices.IndexFunc(w.Clients, func(k egress.Client) bool { return k.Name == name })
	if i < 0 {
		return egress.Client{}, false
	}
	return w.Clients[i], true
}

// home is the client in whose namespace objects go that name none: the first one with a sidecar.
func (w World) home(c egress.Case) egress.Client {
	for _, n := range c.Clients() {
		if k, ok := w.client(n); ok && k.Captured() {
			return k
		}
	}
	return egress.Client{Namespace: "the case's own"}
}

// object is one object of a case. What it embeds has placeholders replaced, for comparisons; raw is as it was written, for people.
type object struct {
	Object
	raw                 map[string]any
	group               string
	labels, annotations map[string]string
	written             string // the namespace that it names; "" for none
}

func (o object) String() string {
	if o.written != "" {
		return o.Kind + " " + o.written + "/" + o.Name
	}
	return o.Kind + " " + o.Name
}

// is says whether an object is another version of this one.
func (o object) is(x object) bool {
	return o.Kind == x.Kind && o.group == x.group && o.Namespace == x.Namespace && o.Name == x.Name
}

// namespaceless are kinds of Kubernetes' that lie in no namespace.
var namespaceless = []string{"Namespace", "GatewayClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}

func newObject(raw egress.Object, home string, expand *strings.Replacer) object {
	full, _ := expanded(raw, expand).(map[string]any)
	o := object{raw: raw, labels: textMap(at(raw, "metadata", "labels")), annotations: textMap(at(raw, "metadata", "annotations")), written: str(at(raw, "metadata", "namespace"))}
	o.Kind, o.Name, o.Namespace = str(raw["kind"]), str(at(full, "metadata", "name")), str(at(full, "metadata", "namespace"))
	if version := str(raw["apiVersion"]); strings.Contains(version, "/") {
		o.group, _, _ = strings.Cut(version, "/")
	}
	if o.Namespace == "" && !slices.Contains(namespaceless, o.Kind) {
		o.Namespace = home
	}
	o.Spec, _ = full["spec"].(map[string]any)
	return o
}

// stage is what is there in a phase.
type stage struct {
	objects []object
	gone    []object // that were there in the phase before, and are no more
	refused []object // that the API server must not take
}

// stagesOf are the objects of each phase.
func stagesOf(c egress.Case, fixtures []egress.Object, home string, expand *strings.Replacer) map[egress.Phase]stage {
	read := func(in []egress.Object) []object {
		var out []object
		for _, o := range in {
			out = append(out, newObject(o, home, expand))
		}
		return out
	}
	setup, own := read(c.Setup), read(slices.Concat(fixtures, c.Objects))
	applied := replaced(setup, own)
	changed := slices.DeleteFunc(slices.Clone(applied), func(o object) bool {
		return slices.Contains(c.Delete, o.Kind+"/"+o.Name) && slices.ContainsFunc(own, o.is)
	})
	changed = replaced(changed, read(c.Change))
	missing := func(from, in []object) []object {
		return slices.DeleteFunc(slices.Clone(from), func(o object) bool { return slices.ContainsFunc(in, o.is) })
	}
	// What the case has laid over an object of its setup goes with the case's own.
	after := slices.DeleteFunc(slices.Clone(setup), func(o object) bool {
		return slices.ContainsFunc(slices.Concat(own, read(c.Change)), o.is)
	})
	return map[egress.Phase]stage{
		egress.Before: {objects: setup}, egress.Removed: {objects: after},
		egress.Applied: {objects: applied, refused: read(c.Refused)},
		egress.Changed: {objects: changed, gone: missing(applied, changed)},
	}
}

// replaced are objects with others applied on top.
func replaced(objects, by []object) []object {
	out := slices.Clone(objects)
	for _, o := range by {
		if i := slices.IndexFunc(out, o.is); i >= 0 {
			out[i] = o
		} else {
			out = append(out, o)
		}
	}
	return out
}

// mesh is the mesh configuration as far as a case says it.
type mesh map[string]any

// meshOf is that of a phase: the base, and the case's own on top while it is applied.
func meshOf(c egress.Case, ph egress.Phase) mesh {
	out := mesh{}
	maps.Copy(out, c.BaseMeshConfig)
	if ph != egress.Applied && ph != egress.Changed {
		return out
	}
	maps.Copy(out, c.MeshConfig)
	if c.Policy != "" {
		out["outboundTrafficPolicy"] = map[string]any{"mode": string(c.Policy)}
	}
	return out
}

// policy is the outbound policy. A case that says nothing of it leaves REGISTRY_ONLY.
func (m mesh) policy() string {
	stanza, said := m["outboundTrafficPolicy"].(map[string]any)
	mode, isText := stanza["mode"].(string)
	switch {
	case !said:
		return string(egress.RegistryOnly)
	case isText:
		return mode
	case stanza["mode"] == nil:
		return "without a mode"
	}
	return fmt.Sprintf("mode %v", stanza["mode"])
}

// further are the settings that a case makes besides what is said elsewhere.
func (m mesh) further() string {
	rest := maps.Clone(m)
	for _, k := range []string{"outboundTrafficPolicy", "defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo"} {
		delete(rest, k)
	}
	if len(rest) == 0 {
		return ""
	}
	return compact(map[string]any(rest))
}
