package verify

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// entriesFight finds entries of one host and port that say different things, or the same.
func (s *seen) entriesFight() []Surprise {
	var out []Surprise
	entries := s.m.entries()
	for i, a := range entries {
		for _, b := range entries[i+1:] {
			host, port, differs := fight(a, b)
			if host == "" {
				continue
			}
			sources := []Source{sourceOf(a.object), sourceOf(b.object)}
			var proof []string
			for _, x := range s.answers {
				if x.Kind == Named && x.question.Host == sample(host) && x.question.Port == port {
					by := x.by(func(o string) bool { return o == a.object.String() || o == b.object.String() })
					p := x.proof()
					if len(by) > 0 {
						p += ", by " + bySources(by)
					}
					proof = append(proof, p)
				}
			}
			if !s.meet(a, b) || len(proof) == 0 {
				continue
			}
			if differs == "" {
				out = append(out, Surprise{
					Title: "two entries say the same", Objects: sources, Proof: proof,
					Why: fmt.Sprintf("both have %s with port %d", host, port), Remedy: "take one of them away: whoever removes the other one later closes nothing",
				})
				continue
			}
			out = append(out, Surprise{
				Title: "two entries of one host fight", Objects: sources, Proof: proof,
				Why: fmt.Sprintf("both have %s with port %d, and they differ: %s; Istio takes the older one's, or mixes their endpoints", host, port, differs), Remedy: "make one entry of them, or export each to its own namespace",
			})
		}
	}
	return out
}

// fight finds a host and port that both have, and in what they differ.
func fight(a, b entry) (host string, port int, differs string) {
	for _, h := range a.hosts {
		if !slices.Contains(b.hosts, h) {
			continue
		}
		for _, p := range a.ports {
			for _, q := range b.ports {
				if p.number != q.number {
					continue
				}
				var d []string
				if p.protocol != q.protocol {
					d = append(d, fmt.Sprintf("protocol %s and %s", p.protocol, q.protocol))
				}
				if a.resolution != b.resolution {
					d = append(d, fmt.Sprintf("resolution %s and %s", a.resolution, b.resolution))
				}
				if p.target != q.target {
					d = append(d, fmt.Sprintf("target port %d and %d", p.target, q.target))
				}
				if fmt.Sprint(a.endpoints) != fmt.Sprint(b.endpoints) {
					d = append(d, "endpoints")
				}
				return h, p.number, strings.Join(d, ", ")
			}
		}
	}
	return "", 0, ""
}

// meet says whether some namespace sees both entries.
func (s *seen) meet(a, b entry) bool {
	to := func(e entry) []string {
		var out []string
		exportTo := e.exportTo
		if len(exportTo) == 0 {
			exportTo = s.m.Mesh.exportTo()
		}
		for _, t := range exportTo {
			if t == "." {
				t = e.object.Namespace()
			}
			out = append(out, t)
		}
		return out
	}
	x, y := to(a), to(b)
	all := func(t []string) bool { return len(t) == 0 || slices.Contains(t, "*") }
	return all(x) || all(y) || slices.ContainsFunc(x, func(n string) bool { return slices.Contains(y, n) })
}

// aroundGateway finds hosts that are reached through a gateway, and without it.
func (s *seen) aroundGateway() []Surprise {
	var out []Surprise
	told := map[string]bool{}
	for _, through := range s.answers {
		if through.State != Allowed || through.Via == Direct || through.Landed == "" || told[through.Landed] {
			continue
		}
		var proof []string
		var objects []Source
		for _, around := range s.answers {
			if around.State == Allowed && around.Via == Direct && around.Landed == through.Landed && s.captured(around.class) && !around.udp() {
				proof = append(proof, around.proof()+", not through "+through.Via)
				for _, o := range around.By {
					if !slices.Contains(objects, o) {
						objects = append(objects, o)
					}
				}
			}
		}
		if len(proof) == 0 {
			continue
		}
		told[through.Landed] = true
		out = append(out, Surprise{
			Title: "a gateway can be walked around", Objects: append(slices.Clone(through.By), objects...), Proof: append([]string{through.proof() + " through " + through.Via}, proof...),
			Why:    "routes to a gateway are for the names, ports, protocols and workloads that they match; everything else that lets the host out goes there directly",
			Remedy: "lead every port and namespace of the host through the gateway, export the entry to the gateway's namespace alone, and let the network accept nothing but the gateway",
		})
	}
	return out
}

// tlsUnverified finds TLS of the mesh's that does not look at the certificate.
func (s *seen) tlsUnverified() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) {
		if a.State != Allowed || a.Encrypted != BySidecar && a.Encrypted != ByGateway {
			return nil, false
		}
		of := a.by(func(o string) bool {
			x, ok := s.index[o]
			return ok && x.Kind() == "DestinationRule" && slices.ContainsFunc(policiesOf(x), unverified)
		})
		return of, len(of) > 0
	}) {
		out = append(out, Surprise{
			Title: "TLS that the mesh makes is not verified", Objects: g.objects, Proof: g.proof,
			Why: "insecureSkipVerify takes any certificate: whoever is at the address, or on the way to it, can read along", Remedy: "take insecureSkipVerify away, and name caCertificates where the host's authority is not a public one",
		})
	}
	return out
}

// unverified says whether a traffic policy makes TLS without looking at the certificate.
func unverified(policy map[string]any) bool {
	all := []any{policy["tls"]}
	for _, p := range mappings(policy["portLevelSettings"]) {
		all = append(all, p["tls"])
	}
	return slices.ContainsFunc(all, func(v any) bool {
		tls, _ := v.(map[string]any)
		skip, _ := tls["insecureSkipVerify"].(bool)
		return skip
	})
}

// plainForSome finds calls that arrive in TLS of the mesh's from some workloads, and in plain text from others.
func (s *seen) plainForSome() []Surprise {
	var out []Surprise
	told := map[string]bool{}
	for _, a := range s.answers {
		if a.Kind != Named || a.State != Allowed || a.Encrypted != BySidecar && a.Encrypted != ByGateway || told[a.To] {
			continue
		}
		proof := []string{a.proof() + " " + tlsBy(a.Encrypted)}
		objects := slices.Clone(a.By)
		for _, b := range s.answers {
			if b.To == a.To && b.As == "" && b.State == Allowed && b.Registered && b.Encrypted == ByNobody {
				proof = append(proof, b.proof()+" "+tlsBy(b.Encrypted))
				for _, o := range b.By {
					if !slices.Contains(objects, o) {
						objects = append(objects, o)
					}
				}
			}
		}
		if len(proof) == 1 {
			continue
		}
		told[a.To] = true
		out = append(out, Surprise{
			Title: "a host gets TLS from some workloads and plain text from others", Objects: objects, Proof: proof,
			Why:    "the mesh makes TLS by a DestinationRule, and only for workloads that see it; the entry is seen by more, whose calls go out as they are",
			Remedy: "export DestinationRule and ServiceEntry to the same namespaces",
		})
	}
	return out
}

// tlsPorts are those at which everybody speaks TLS.
var tlsPorts = []int{443, 8443}

// httpOnTLSPort finds ports of TLS that an entry says are HTTP.
func (s *seen) httpOnTLSPort() []Surprise {
	var out []Surprise
	for _, e := range s.m.entries() {
		for _, p := range e.ports {
			if !strings.HasPrefix(p.protocol, "HTTP") || p.protocol == "HTTPS" || !slices.Contains(tlsPorts, p.number) {
				continue
			}
			for _, h := range e.hosts {
				if s.m.originates(h, p.number) != "" {
					continue // plain HTTP is meant, of which the proxy makes TLS
				}
				var proof []string
				for _, a := range s.answers {
					if a.Kind == Named && a.question.Host == sample(h) && a.question.Port == p.number && a.question.speech.scheme == "https" && (a.State == Blocked || a.State == Fails) && s.captured(a.class) {
						proof = append(proof, a.proof())
					}
				}
				if len(proof) == 0 {
					continue
				}
				out = append(out, Surprise{
					Title: "an entry says HTTP of a port of TLS", Objects: []Source{s.at(e, "spec", "ports", p.place)}, Proof: proof,
					Why:    fmt.Sprintf("port %d of %s is %s, so the proxy reads what clients send as HTTP: calls in TLS fail, and only plain text gets out", p.number, h, p.protocol),
					Remedy: "protocol: TLS; or, where clients speak plain HTTP and the mesh is to make TLS of it, a DestinationRule with tls.mode SIMPLE",
				})
			}
		}
	}
	return out
}

// doubleTLS finds calls in TLS of which the mesh makes TLS once more.
func (s *seen) doubleTLS() []Surprise {
	var out []Surprise
	for _, g := range s.groups(func(a Answer) ([]Source, bool) { return a.By, a.Outcome == egress.DoubleTLS && len(a.By) > 0 }) {
		out = append(out, Surprise{
			Title: "calls in TLS arrive as TLS within TLS", Objects: g.objects, Proof: g.proof,
			Why:    "a DestinationRule makes TLS for a port to which clients speak TLS themselves, and no server understands the two: only clients that speak plain text to the port are answered",
			Remedy: "portLevelSettings that make TLS for the port of plain text alone (an entry's HTTP port with targetPort 443); or no tls in the DestinationRule, where clients make their own",
		})
	}
	return out
}

// at is a part of an entry.
func (s *seen) at(e entry, path ...any) Source {
	out := sourceOf(e.object)
	if n := e.object.LineAt(path...); n > 0 {
		out.Line = n
	}
	return out
}

// said are the protocols that the first word of a port's name may say.
var said = map[string]string{"http": "HTTP", "http2": "HTTP2", "https": "HTTPS", "tls": "TLS", "grpc": "GRPC", "tcp": "TCP", "mongo": "MONGO", "redis": "REDIS", "mysql": "MYSQL", "udp": "UDP"}

// alike are protocols that mean the same for a proxy.
var alike = [][]string{{"HTTPS", "TLS"}, {"TCP", "MYSQL", "REDIS", "MONGO"}, {"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB"}}

// portName finds ports of entries whose name says another protocol than they have: the protocol counts.
func (s *seen) portName() []Surprise {
	var out []Surprise
	for _, e := range s.m.entries() {
		for _, p := range e.ports {
			word, _, _ := strings.Cut(strings.ToLower(p.name), "-")
			name := said[word]
			if name == "" || p.protocol == "" || name == p.protocol || slices.ContainsFunc(alike, func(a []string) bool { return slices.Contains(a, name) && slices.Contains(a, p.protocol) }) {
				continue
			}
			var proof []string
			for _, a := range s.answers {
				if a.Kind == Named && a.question.Port == p.number && slices.ContainsFunc(e.hosts, func(h string) bool { return sample(h) == a.question.Host }) {
					proof = append(proof, a.proof())
				}
			}
			if len(proof) > 0 {
				out = append(out, Surprise{
					Title: "a port is named for one protocol and has another", Objects: []Source{s.at(e, "spec", "ports", p.place)}, Proof: proof,
					Why:    fmt.Sprintf("port %d is called %q, and its protocol is %s: of a ServiceEntry the protocol alone counts", p.number, p.name, p.protocol),
					Remedy: "make the two say the same",
				})
			}
		}
	}
	return out
}

// noEffect finds objects for hosts outside that no answer goes by.
func (s *seen) noEffect() []Surprise {
	if s.m.asked {
		return nil // in place, not everything is asked that an object could be about
	}
	used := map[string]bool{}
	for _, a := range s.answers {
		for _, x := range a.By {
			used[x.Object] = true
		}
	}
	var out []Surprise
	for _, x := range s.m.Objects {
		if used[x.String()] || s.m.refused[x.String()] {
			continue
		}
		asked, why := s.about(x)
		if why == "" {
			continue
		}
		var proof []string
		for _, a := range asked {
			proof = append(proof, a.proof())
		}
		out = append(out, Surprise{Title: "an object has no effect", Objects: []Source{sourceOf(x)}, Proof: append([]string{fmt.Sprintf("none of %d calls that it could be about goes by it", len(asked))}, proof...), Why: why, Remedy: "take it away, or mend it"})
	}
	return out
}

// about are the answers that an object could have decided, and why it does not; "" where nothing can be said of it.
func (s *seen) about(x manifest.Object) ([]Answer, string) {
	asked := func(hosts []string, kinds ...QuestionKind) []Answer {
		about := func(a Answer) bool {
			return slices.Contains(kinds, a.Kind) && s.captured(a.class) && slices.ContainsFunc(hosts, func(h string) bool {
				return h == a.question.Host || serves(h, a.question.Host) || sample(h) == a.question.Host
			})
		}
		hidden := func(a Answer) bool { return about(a) && a.unread }
		if slices.ContainsFunc(s.unproven, about) || slices.ContainsFunc(s.answers, hidden) { // it may be what decides about that one
			return nil
		}
		return slices.DeleteFunc(slices.Clone(s.answers), func(a Answer) bool { return !about(a) })
	}
	switch x.Kind() {
	case "ServiceEntry":
		e := entryOf(x)
		hosts := e.hosts
		for _, r := range e.addresses {
			if a, ok := s.o.within(r); ok {
				hosts = append(slices.Clone(hosts), a.String())
			}
		}
		if found := asked(hosts, Named, Addressed, Lie); len(found) > 0 && !e.inside {
			return found, "no workload sees it (exportTo, or Sidecars that leave it out), another entry has its host, or what it opens is open anyway"
		}
	case "VirtualService":
		var hosts []string
		for _, h := range texts(x.At("spec", "hosts")) {
			if external(strings.ToLower(h)) {
				hosts = append(hosts, strings.ToLower(h))
			}
		}
		if found := asked(hosts, Named); len(found) > 0 && x.At("spec", "gateways") == nil {
			return found, "no entry that its workloads see has its host, or its routes match nothing that was asked"
		}
	case "DestinationRule":
		h := strings.ToLower(text(x, "spec", "host"))
		if found := asked([]string{h}, Named); external(h) && len(found) > 0 {
			return found, "no call goes to its host by an entry that has it, or another rule has the host"
		}
	case "Sidecar":
		want := stringMap(x.At("spec", "workloadSelector", "labels"))
		if len(want) == 0 || slices.ContainsFunc(s.m.Workloads, func(w Workload) bool { return w.Namespace == x.Namespace() && subset(want, w.Labels) }) {
			return nil, ""
		}
		return nil, "its workloadSelector selects no workload of the input"
	}
	return nil, ""
}
