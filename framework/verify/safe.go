package verify

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/why"
)

// In place, real hosts may be called, so only what is safe for them is asked: what an object or an expectation names, as GET of / for
// HTTP, and where it is not known to be HTTP, a connection and no more. What is next to something, or by the name of another host, or
// at ports that nobody names, is never called: that is for the dry mesh.

// gentleness is how a question is asked in place.
type gentleness string

const (
	bareConnection gentleness = "a connection, and nothing is sent"
	handshakeAlone gentleness = "a handshake of TLS, and nothing is sent"
)

// Unasked are questions that are not asked, for one reason.
type Unasked struct {
	What []string `json:"what"`
	Why  string   `json:"why"`
}

// Safe says what of an outside may be asked in place.
type Safe struct {
	// StandIns says that pods play the outside, which only the asking pods know; else the real one is called.
	StandIns bool
	// Stranger is a host that no object names and that may be called all the same; "" for none.
	Stranger string
}

// Safe is the outside with those questions alone that are safe to ask in place, and what is not asked.
func (o *Outside) Safe(m *Model, s Safe) (*Outside, []Unasked) {
	out := *o
	out.Questions, out.Blind, out.Lacking = nil, !s.StandIns, nil
	entries := m.entries()
	var left []Unasked
	leave := func(what, why string) {
		i := slices.IndexFunc(left, func(u Unasked) bool { return u.Why == why })
		if i < 0 {
			i = len(left)
			left = append(left, Unasked{Why: why})
		}
		left[i].What = append(left[i].What, what)
	}
	for _, q := range o.Questions {
		q, why := s.safe(m, o, entries, q)
		if why != "" {
			leave(q.Key(), why)
			continue
		}
		out.Questions = append(out.Questions, q)
	}
	for _, x := range o.Lacking {
		if s.StandIns {
			leave(x.Error(), "no stand-in can play it")
		}
	}
	if q, ok := s.stranger(out.Questions); ok {
		out.Questions = append(out.Questions, q)
	}
	return &out, left
}

// stranger is the question for the stranger that a user names, unless it is asked anyway.
func (s Safe) stranger(asked []Question) (Question, bool) {
	if s.Stranger == "" || s.StandIns {
		return Question{}, false
	}
	sp := speeches["TLS"]
	q := Question{Kind: Strange, What: "the stranger of --stranger", Host: s.Stranger, Port: defaultPorts[sp.scheme], speech: sp}
	q.To = target(sp.scheme, q.Host, q.Port)
	return q, !slices.ContainsFunc(asked, func(x Question) bool { return x.Key() == q.Key() })
}

// never is why questions of a kind are never asked in place.
var never = map[QuestionKind]string{
	Addressed: "the address of a host is somebody else's tomorrow, and it is asked by its name",
	Neighbour: "nobody has named what is next to a host, and it may be anybody's",
	Lie:       "a host that is called by another's name would take it for an attack",
}

// safe is a question as it is asked in place, or why it is not.
func (s Safe) safe(m *Model, o *Outside, entries []entry, q Question) (Question, string) {
	if why := never[q.Kind]; why != "" {
		return q, why
	}
	web := q.speech.scheme == "http" || q.speech.scheme == "https"
	switch {
	case q.Kind == Strange && !s.StandIns:
		return q, "a stranger is called where --stranger names one, and at port 443 alone"
	case q.Kind == Strange && (q.Host != Stranger || !web || q.Port != defaultPorts[q.speech.scheme]):
		return q, "a stranger is called by HTTP and HTTPS at their own ports alone"
	case q.Kind == Strange:
		return q, s.unplayable(m, o, nil, q)
	case q.As != "":
		return q, never[Lie]
	case q.server != "":
		return q, "the mesh alone has the name, so the control client cannot call it"
	case q.sampled:
		return q, "which names there are below a wildcard is in no object: name one in --expectations"
	case q.speech.scheme == "udp":
		return q, "datagrams are not sent to hosts of which nobody knows what they make of them"
	case q.speech.scheme == "grpc":
		return q, "which gRPC calls a host has is in no object"
	}
	about := s.about(entries, q)
	if why := s.outOfPlace(about, q); why != "" {
		return q, why
	}
	if why := s.unplayable(m, o, about, q); s.StandIns && why != "" {
		return q, why
	}
	q.gentle = gentle(about, q)
	return q, ""
}

// about are the entries that a question is asked for.
func (s Safe) about(entries []entry, q Question) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
		return !slices.Contains(q.About, sourceOf(e.object))
	})
}

// outOfPlace says why what entries have is nothing outside that could be called.
func (s Safe) outOfPlace(about []entry, q Question) string {
	if slices.ContainsFunc(about, func(e entry) bool { return text(e.object, "spec", "location") == "MESH_INTERNAL" }) {
		return "it is a part of the mesh, and nothing outside (location MESH_INTERNAL)"
	}
	a, err := netip.ParseAddr(q.Host)
	if err != nil || len(about) == 0 { // a name, or an address that an expectation names
		return ""
	}
	exact := slices.ContainsFunc(about, func(e entry) bool {
		return slices.ContainsFunc(e.addresses, func(r netip.Prefix) bool { return r.IsSingleIP() && r.Addr() == a })
	})
	switch {
	case !exact:
		return "which addresses of a range somebody has is in no object: name one in --expectations"
	case !slices.ContainsFunc(about, func(e entry) bool { return e.resolution == "NONE" }):
		return "the address is the mesh's own for a host that is asked by its name"
	}
	return ""
}

// unplayable says why no stand-in that only the asking pod knows can take a host's place.
func (s Safe) unplayable(m *Model, o *Outside, about []entry, q Question) string {
	if _, err := netip.ParseAddr(q.Host); err == nil {
		return "no pod that plays a host can have an address of one's choice"
	}
	for _, e := range about {
		switch {
		case len(e.addresses) > 0:
			return "the entry gives the host addresses, and no pod that plays it can have one of one's choice"
		case slices.ContainsFunc(e.endpoints, func(x endpoint) bool { _, err := netip.ParseAddr(x.address); return err == nil }):
			return "the entry leads the host to addresses, which are the real ones"
		}
	}
	if x, inside := m.ledInside(q.Host); inside {
		return fmt.Sprintf("%s leads it to a workload of the cluster, such as a gateway, which does not know who plays the host", x)
	}
	if h, ok := o.all.Find(q.Host); !ok || h.NoPod() != "" {
		return "no single pod can play the host"
	}
	return ""
}

// ledInside finds a VirtualService that leads a host of the outside to one of the cluster's own.
func (m *Model) ledInside(host string) (manifest.Object, bool) {
	for _, x := range m.Objects {
		if x.Kind() != "VirtualService" || !slices.ContainsFunc(texts(x.At("spec", "hosts")), func(h string) bool { h = strings.ToLower(h); return h == host || serves(h, host) }) {
			continue
		}
		for _, kind := range []string{"http", "tls", "tcp"} {
			for _, r := range mappings(x.At("spec", kind)) {
				for _, to := range mappings(r["route"]) {
					if name, _ := at(to, "destination", "host").(string); name != "" && !external(strings.ToLower(name)) {
						return x, true
					}
				}
			}
		}
	}
	return manifest.Object{}, false
}

// gentle is how a host is called in place: a request where it is known to speak HTTP, by its protocol or by a port that everybody
// knows, or where somebody expects one; else no byte is sent.
func gentle(about []entry, q Question) gentleness {
	switch {
	case q.speech.scheme == plain.scheme:
		return bareConnection
	case q.speech.scheme != "https" || q.Port == defaultPorts["https"] || len(about) == 0:
		return ""
	}
	for _, e := range about {
		for _, p := range e.ports {
			if p.number == q.Port && p.protocol == "HTTPS" {
				return ""
			}
		}
	}
	return handshakeAlone
}

// Players are the hosts that stand-ins must play so that the questions can be asked: those that are called, and those to which entries
// lead them.
func (o *Outside) Players(m *Model) []string {
	var out []string
	add := func(host string) {
		if h, ok := o.all.Find(host); ok && h.NoPod() == "" && !slices.Contains(out, h.Name) {
			out = append(out, h.Name)
		}
	}
	entries := m.entries()
	for _, q := range o.Questions {
		add(q.Host)
		for _, e := range (Safe{}).about(entries, q) {
			for _, x := range e.endpoints {
				add(strings.ToLower(x.address))
			}
		}
	}
	return out
}

// InPlace says of a report how it was asked in a cluster itself.
type InPlace struct {
	Cluster string `json:"cluster"`
	// Outside is what was called: the real one, or stand-ins.
	Outside string `json:"outside"`
	// Made is all that was made there meanwhile.
	Made     string    `json:"made"`
	NotAsked []Unasked `json:"notAsked"`
}

// outsides are what was called, in words.
var outsides = map[bool]string{
	true:  "pods that play the hosts, which only the asking pods know",
	false: "the real outside, which does not tell what arrived: two witnesses and the control client",
}

// InPlaceOf says how a cluster was asked.
func InPlaceOf(cluster string, s Safe, pods int, left []Unasked) *InPlace {
	x := &InPlace{Cluster: cluster, Outside: outsides[s.StandIns], NotAsked: left}
	x.Made = fmt.Sprintf("%d short-lived pods beside the workloads, each with a ConfigMap, and a namespace with the control client%s", pods, map[bool]string{true: ", and one with the stand-ins"}[s.StandIns])
	return x
}

// lines are what a reader must know, each for a line.
func (x *InPlace) lines() []string {
	if x == nil {
		return nil
	}
	out := []string{fmt.Sprintf("asked in place: %s, against %s", x.Cluster, x.Outside), "made there, and removed again: " + x.Made}
	for _, u := range x.NotAsked {
		out = append(out, fmt.Sprintf("not asked: %s: %s", someOf(u.What), cmp.Or(u.Why, "-")))
	}
	return out
}

// Hosts are all that stand-ins can play.
func (o *Outside) Hosts() *internet.Hosts { return o.all }

// Deciding are the objects of a model as explanations need them.
func (m *Model) Deciding() []why.Object {
	var out []why.Object
	for _, x := range m.Objects {
		spec, _ := x.Fields["spec"].(map[string]any)
		out = append(out, why.Object{Kind: x.Kind(), Namespace: x.Namespace(), Name: x.Name(), Spec: spec})
	}
	return out
}
