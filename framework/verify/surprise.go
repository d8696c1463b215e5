package verify

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// Surprise is something that the objects do and hardly anybody expects.
type Surprise struct {
	Name    string   `json:"name"` // of the kind of surprise
	Title   string   `json:"title"`
	Objects []Source `json:"objects"`
	Why     string   `json:"why"`
	Proof   []string `json:"proof"` // answers that show it
	Remedy  string   `json:"remedy"`
}

// seen is what surprises are found in.
type seen struct {
	m        *Model
	o        *Outside
	heard    []Heard
	answers  []Answer // that were proven
	unproven []Answer
	index    map[string]manifest.Object
}

// surprises are all kinds, and what each is. Each rests on answers that were proven; the objects say where they come from.
var surprises = []struct {
	name string
	is   string // as docs/verify.md has it
	find func(*seen) []Surprise
}{
	{"allow-any", "the mesh lets everything out that no object names", (*seen).allowAny},
	{"sidecar-loosens", "a Sidecar lets everything out that no object names, in a mesh that does not", (*seen).sidecarLoosens},
	{"no-sidecar", "a workload has no sidecar", (*seen).noSidecar},
	{"excluded", "calls of a workload go past its sidecar: excluded ports or ranges, or the sidecar's own user", (*seen).excluded},
	{"trusts-name", "resolution NONE trusts the server name or the Host that a client shows", (*seen).trustsName},
	{"swallows-port", "a TCP port without addresses takes every connection to that port", (*seen).swallowsPort},
	{"visible-beyond", "an entry or a route of one namespace lets out the workloads of others, because it has no `exportTo`", (*seen).visibleBeyond},
	{"entries-fight", "two entries have one host and port, and differ; or say the same", (*seen).entriesFight},
	{"around-gateway", "a host is reached through a gateway, and without it", (*seen).aroundGateway},
	{"tls-unverified", "TLS that the mesh makes takes any certificate", (*seen).tlsUnverified},
	{"plain-for-some", "a host gets TLS from some workloads and plain text from others", (*seen).plainForSome},
	{"http-on-tls-port", "an entry says HTTP of a port of TLS", (*seen).httpOnTLSPort},
	{"double-tls", "what is called in TLS arrives as TLS within TLS, because a DestinationRule makes TLS for the port", (*seen).doubleTLS},
	{"port-name", "a port is named for one protocol and has another", (*seen).portName},
	{"no-effect", "an object for hosts outside by which no call goes", (*seen).noEffect},
}

// SurpriseNames lists all kinds.
func SurpriseNames() []string {
	var out []string
	for _, s := range surprises {
		out = append(out, s.name)
	}
	return out
}

// Surprises finds them in what was heard.
func (m *Model) Surprises(o *Outside, heard []Heard, answers []Answer) []Surprise {
	s := &seen{m: m, o: o, heard: heard, index: m.index()}
	for _, a := range answers {
		if a.State == Unproven {
			s.unproven = append(s.unproven, a)
			continue
		}
		s.answers = append(s.answers, a)
	}
	out := []Surprise{}
	for _, kind := range surprises {
		for _, x := range kind.find(s) {
			x.Name, x.Proof = kind.name, few(x.Proof)
			out = append(out, x)
		}
	}
	return append(out, s.notRestarted()...)
}

// few are some of many proofs.
func few(proof []string) []string {
	const most = 3
	proof = slices.Compact(slices.Clone(proof))
	if len(proof) > most {
		return append(proof[:most:most], fmt.Sprintf("and %d more", len(proof)-most))
	}
	return proof
}

// proof is an answer as a sentence.
func (a Answer) proof() string {
	s := fmt.Sprintf("%s → %s%s: %s", a.From, a.To, asText(a.As), a.Words)
	if (a.out() || a.State == Led) && a.Landed != "" {
		s += ", arrived at " + a.Landed
	}
	return s
}

// group gathers answers by what decides about them, in the order of the answers.
type group struct {
	objects []Source
	proof   []string
}

func (s *seen) groups(is func(Answer) (objects []Source, ok bool)) []group {
	var out []group
	for _, a := range s.answers {
		objects, ok := is(a)
		if !ok {
			continue
		}
		i := slices.IndexFunc(out, func(g group) bool { return slices.Equal(g.objects, objects) })
		if i < 0 {
			out = append(out, group{objects: objects})
			i = len(out) - 1
		}
		out[i].proof = append(out[i].proof, a.proof())
	}
	return out
}

// unnamed says whether an answer is one to what nobody names.
func (a Answer) unnamed() bool { return a.Kind == Strange || a.Kind == Neighbour || a.Kind == Lie }

// udp is never redirected to a sidecar.
func (a Answer) udp() bool { return a.question.speech.scheme == "udp" }

func (s *seen) allowAny() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		of := a.by(func(o string) bool { return !isA("Sidecar")(o) })
		return of, a.State == Allowed && a.Passthrough && a.unnamed() && s.m.Mesh.Policy != egress.RegistryOnly && len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "the mesh lets everything out that no object names (ALLOW_ANY)", Objects: g.objects, Proof: g.proof,
			Why:    "outboundTrafficPolicy ALLOW_ANY is Istio's default: a ServiceEntry does not open anything then, and a missing one closes nothing",
			Remedy: "set meshConfig.outboundTrafficPolicy.mode to REGISTRY_ONLY, once what is needed has its entries",
		})
	}
	return out
}

func (s *seen) sidecarLoosens() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		of := a.by(isA("Sidecar"))
		return of, a.State == Allowed && a.Passthrough && s.m.Mesh.Policy == egress.RegistryOnly && len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "a Sidecar lets everything out, in a mesh that does not", Objects: g.objects, Proof: g.proof,
			Why:    "outboundTrafficPolicy of a Sidecar takes the place of the mesh's, for the workloads that it selects",
			Remedy: "take outboundTrafficPolicy out of the Sidecar, or set it to REGISTRY_ONLY",
		})
	}
	return out
}

// by are the objects of an answer that are meant.
func (a Answer) by(is func(object string) bool) []Source {
	var out []Source
	for _, x := range a.By {
		if is(x.Object) {
			out = append(out, x)
		}
	}
	return out
}

// isA says whether an object, as Source names it, is of a kind.
func isA(kind string) func(object string) bool {
	return func(o string) bool { return strings.HasPrefix(o, kind+" ") }
}

// captured says whether a class has a sidecar.
func (s *seen) captured(c Class) bool {
	return slices.ContainsFunc(s.heard, func(h Heard) bool { return h.Class.Client == c.Client && h.Around.Captured })
}

func (s *seen) noSidecar() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		return []Source{a.class.Members[0].source()}, a.State == Allowed && a.Outcome == egress.Direct && !s.captured(a.class) && a.unnamed() && !a.udp()
	}) {
		out = append(out, Surprise{
			Title: "a workload has no sidecar", Objects: g.objects, Proof: g.proof,
			Why:    "no object of Istio decides about what it calls: its namespace is not labelled for injection, or its pod is exempt from it",
			Remedy: "label the namespace " + injectionLabel + ": enabled (or with its revision), take " + injectLabel + ": \"false\" away, or keep the workload in by a NetworkPolicy",
		})
	}
	return out
}

func (s *seen) trustsName() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		of := a.by(isA("ServiceEntry"))
		return of, a.Kind == Lie && a.State == Allowed && a.Registered && len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "an entry trusts the name that the client shows", Objects: g.objects, Proof: g.proof,
			Why:    "with resolution NONE the proxy sends the connection to the address that the client has dialled, and goes by the server name of TLS or by the Host alone: whoever writes the allowed name into them reaches any address",
			Remedy: "resolution DNS (DYNAMIC_DNS for a wildcard), with which the proxy chooses the address, or lead it through an egress gateway that does",
		})
	}
	return out
}

func (s *seen) swallowsPort() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		of := a.by(isA("ServiceEntry"))
		return of, a.unnamed() && a.Kind != Lie && (a.State == Allowed && a.Registered || a.State == Led && a.Outcome == egress.OK) && a.question.speech.scheme == plain.scheme && len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "an entry takes every connection to its TCP port", Objects: g.objects, Proof: g.proof,
			Why:    "plain TCP names no host, so a port without addresses matches whatever is called at it, in every namespace that sees the entry",
			Remedy: "give the entry addresses, or protocol TLS where the clients speak TLS",
		})
	}
	return out
}

// exported are the kinds that say to which namespaces they are exported, with the mesh setting that says it for those that do not.
var exported = map[string]string{"ServiceEntry": "defaultServiceExportTo", "VirtualService": "defaultVirtualServiceExportTo"}

func (s *seen) visibleBeyond() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		if a.State != Allowed || !a.Registered || a.Kind != Named {
			return nil, false
		}
		var of []Source
		for _, x := range a.By {
			o, ok := s.index[x.Object]
			setting := exported[o.Kind()]
			if ok && setting != "" && o.Namespace() != a.class.Members[0].Namespace && o.Namespace() != RootNamespace && o.At("spec", "exportTo") == nil && len(texts(s.m.Mesh.Config[setting])) == 0 {
				of = append(of, x)
			}
		}
		return of, len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "an object of one namespace lets out the workloads of others", Objects: g.objects, Proof: g.proof,
			Why:    "without exportTo it is exported to all namespaces",
			Remedy: `exportTo: ["."], or the namespaces that need it; or meshConfig.defaultServiceExportTo and defaultVirtualServiceExportTo`,
		})
	}
	return out
}
