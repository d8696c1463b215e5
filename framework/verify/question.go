package verify

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

// QuestionKind is why something is asked.
type QuestionKind string

// The kinds, in the order in which they are told.
const (
	Named     QuestionKind = "1 named"     // an object names it
	Addressed QuestionKind = "2 address"   // the address of what an object names, without the name
	Neighbour QuestionKind = "3 neighbour" // nobody names it, and it is next to something that an object names
	Lie       QuestionKind = "4 lie"       // another host, called by the name of one that an object names
	Strange   QuestionKind = "5 stranger"  // nobody names it
)

// Word is the kind as people say it.
func (k QuestionKind) Word() string { _, w, _ := strings.Cut(string(k), " "); return w }

// MarshalText writes the word.
func (k QuestionKind) MarshalText() ([]byte, error) { return []byte(k.Word()), nil }

// Question is what every class of clients is asked to call.
type Question struct {
	// To is what is called: scheme, host and port, as in https://api.example. As is the name that it is called by, where that
	// is not its own: the server name of TLS, or the Host of a request.
	To string `json:"to"`
	As string `json:"as,omitempty"`
	// Kind says why it is asked, What what it is, where To does not say it.
	Kind QuestionKind `json:"kind"`
	What string       `json:"what,omitempty"`
	// Host and Port are what is called.
	Host string `json:"host"`
	Port int    `json:"port"`
	// About are the objects that it is asked for.
	About []Source `json:"about,omitempty"`

	speech speech
	server string // the stand-in that it leads to, where the name is the mesh's own; "" for what is called
	// sampled says that the name is made up below a wildcard, and no object has it.
	sampled bool
	// gentle is how it is asked in place; "" is as in the dry mesh.
	gentle gentleness
}

// Source is an object and where it is written.
type Source struct {
	Object string `json:"object"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// Where is file:line.
func (s Source) Where() string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// String is the object with its place. One of a cluster is its own place.
func (s Source) String() string {
	if s.File == "" || s.File == s.Object {
		return s.Object
	}
	return s.Object + " (" + s.Where() + ")"
}

func sourceOf(x manifest.Object) Source {
	return Source{Object: x.String(), File: x.File, Line: x.Line}
}

// Key tells questions apart, also between runs.
func (q Question) Key() string {
	if q.As == "" {
		return q.To
	}
	return q.To + " as " + q.As
}

// defaultPorts are those that a URL need not name.
var defaultPorts = map[string]int{"http": 80, "https": 443, "grpc": 80, "tls": 443}

// target is a URL without what it need not say.
func target(scheme, host string, port int) string {
	if defaultPorts[scheme] == port {
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// ask adds a question, or one more object that it is asked for.
func (p *planner) ask(q Question, asker manifest.Object) {
	q.To = cmp.Or(q.To, target(q.speech.scheme, q.Host, q.Port))
	var about []Source
	if asker.Fields != nil {
		about = []Source{sourceOf(asker)}
	}
	if p.asked[q.Key()] {
		for i := range p.out.Questions {
			have := &p.out.Questions[i]
			if have.Key() != q.Key() {
				continue
			}
			have.sampled = have.sampled && q.sampled
			if len(about) > 0 && !slices.Contains(have.About, about[0]) {
				have.About = append(have.About, about[0])
			}
		}
		return
	}
	if s := p.called(q); s != nil {
		if _, served := s.services[uint16(q.Port)]; !served { //nolint:gosec // a port
			p.full(q, asker)
			return
		}
	}
	p.asked[q.Key()] = true
	q.About = about
	p.out.Questions = append(p.out.Questions, q)
}

// called is the stand-in that a question is for; nil where it has none of its own.
func (p *planner) called(q Question) *stand {
	a, err := netip.ParseAddr(q.Host)
	for _, s := range p.stands {
		if err == nil && slices.Contains(s.addresses, a) || q.server == "" && slices.ContainsFunc(s.names, func(n string) bool { return sample(n) == q.Host }) || q.server != "" && s.names[0] == q.server {
			return s
		}
	}
	return nil
}

// full notes that a stand-in has as many ports as one can have, and one more is not asked.
func (p *planner) full(q Question, asker manifest.Object) {
	p.out.Lacking = append(p.out.Lacking, input.Mistake{
		File: cmp.Or(asker.File, "the objects"), Line: asker.Line,
		What: fmt.Sprintf("%s is not asked: a host of the dry mesh has at most %d ports", q.To, internet.MaxServices),
	})
}

// askName asks for a host that an object names, and for the stranger by its name. A port whose number everybody knows is
// called as everybody does, too, whatever the object says of its protocol.
func (p *planner) askName(host string, port entryPort, sp speech, x manifest.Object) {
	name := sample(host)
	ways := []speech{sp}
	if usual := speak("", port.number); usual.scheme != plain.scheme && usual.scheme != sp.scheme && sp.service.Kind == internet.Either {
		ways = append(ways, usual)
	}
	for _, w := range ways {
		p.ask(Question{Kind: Named, Host: name, Port: port.number, speech: w, sampled: name != host}, x)
		if w.service.Kind == internet.Either && w.scheme != "grpc" {
			p.byName[Stranger].serve(port.number, web)
			p.ask(Question{Kind: Lie, To: target(w.scheme, Stranger, port.number), As: name, Host: Stranger, Port: port.number, speech: w}, x)
		}
	}
}

// otherPorts are those at which a host is called that nobody has named for it.
var otherPorts = []int{443, 80, 8443}

// neighbours asks for what is next to an entry and not named by it.
func (p *planner) neighbours(e entry) {
	if len(e.ports) == 0 {
		return
	}
	first := e.ports[0]
	sp := p.speech(e, first)
	for _, h := range e.hosts {
		s := p.byName[h]
		if s == nil {
			continue
		}
		for _, n := range otherPorts {
			if _, named := s.services[uint16(n)]; !named { //nolint:gosec // a port
				s.serve(n, web)
				p.ask(Question{Kind: Neighbour, What: "another port", Host: sample(h), Port: n, speech: speak(map[bool]string{true: "HTTP", false: "TLS"}[n == 80], n)}, e.object)
				break
			}
		}
		if sibling := p.sibling(h); sibling != "" {
			p.stand(sibling).serve(first.number, sp.service)
			p.ask(Question{Kind: Neighbour, What: "a sibling", Host: sibling, Port: first.number, speech: sp}, e.object)
		}
	}
	for _, r := range e.addresses {
		if a, ok := p.beside(r); ok {
			p.at(a).serve(first.number, sp.service)
			p.ask(Question{Kind: Neighbour, What: "just outside " + r.String(), Host: a.String(), Port: first.number, speech: sp}, e.object)
		}
	}
}

// sibling is a name next to a host that no object has; "" for none.
func (p *planner) sibling(host string) string {
	_, parent, ok := strings.Cut(host, ".")
	candidates := []string{"unnamed." + parent}
	if strings.HasPrefix(host, "*.") {
		candidates = []string{parent}
	}
	for _, c := range candidates {
		if ok && external(c) && internet.NameFault(c) == "" && !covered(p.entries, c) && !slices.ContainsFunc(p.models, func(m *Model) bool { _, is := m.routed()[c]; return is }) {
			return c
		}
	}
	return ""
}

// beside is the address just outside a range that no entry has.
func (p *planner) beside(r netip.Prefix) (netip.Addr, bool) {
	free := func(a netip.Addr) bool {
		return a.IsValid() && p.out.usable(a) && !slices.ContainsFunc(p.entries, func(e entry) bool {
			return slices.ContainsFunc(e.addresses, func(o netip.Prefix) bool { return o.Contains(a) }) || slices.ContainsFunc(e.endpoints, func(x endpoint) bool { return x.address == a.String() })
		})
	}
	after := last(r).Next()
	if after.IsValid() && after.Is4() && after.As4()[3] == 0 { // no host has a network's own address
		after = after.Next()
	}
	for _, a := range []netip.Addr{after, r.Addr().Prev()} {
		if free(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// everywhere asks the stranger at every port that an object names for any host.
func (p *planner) everywhere() {
	for _, port := range sortedKeys(p.ports) {
		sp := speak(p.ports[port], port)
		p.byName[Stranger].serve(port, sp.service)
		if have := p.byName[Stranger].services[uint16(port)]; have.Kind == internet.Either && sp.service.Kind != internet.Either { //nolint:gosec // a port
			sp = speak("HTTP", port)
		}
		p.ask(Question{Kind: Strange, Host: Stranger, Port: port, What: fmt.Sprintf("port %d, which is named for others", port), speech: sp}, manifest.Object{})
	}
}

// byAddress asks for the addresses of named hosts, once these are chosen.
func (p *planner) byAddress(all *internet.Hosts) {
	for _, e := range p.entries {
		if e.inside || len(e.addresses) > 0 || len(e.ports) == 0 {
			continue
		}
		port := e.ports[0]
		for _, h := range e.hosts {
			host, ok := all.Find(sample(h))
			if p.byName[h] == nil || !ok || len(host.Addresses()) == 0 {
				continue
			}
			sp := p.speech(e, port)
			p.ask(Question{Kind: Addressed, To: target(sp.scheme, addressOf+sample(h), port.number), What: "the address of " + sample(h), Host: host.Addresses()[0].String(), Port: port.number, speech: sp}, e.object)
		}
	}
}

// expectedByAddress asks for the addresses that expectations name by their hosts.
func (p *planner) expectedByAddress(all *internet.Hosts) {
	for _, q := range p.addressed {
		if host, ok := all.Find(q.Host); ok && len(host.Addresses()) > 0 {
			q.What, q.Host = "the address of "+q.Host, host.Addresses()[0].String()
			p.ask(q, manifest.Object{})
		}
	}
}

// addressOf stands before a name whose address is meant: the address itself is another one from run to run.
const addressOf = "address-of-"

// Probe is the attempt that asks the question from a client.
func (q Question) Probe(client string) egress.Probe {
	p := egress.Probe{From: client, URL: target(q.speech.scheme, q.Host, q.Port) + pagePath(q.speech.scheme), Send: q.speech.send, Server: q.server, ArrivesAt: egress.ByPhase[string]{}}
	for _, ph := range egress.Phases() {
		p.ArrivesAt[ph] = egress.Anywhere
	}
	switch q.gentle {
	case bareConnection:
		p.Send, p.Bare = "", true
	case handshakeAlone:
		p.URL, p.Send = target("tls", q.Host, q.Port), ""
	}
	if q.As != "" { // the stranger is dialled, and called by another's name
		p.Connect = net.JoinHostPort(q.Host, strconv.Itoa(q.Port))
		if q.speech.scheme == "https" {
			p.URL, p.SNI = "tls://"+p.Connect, q.As
		} else {
			p.URL = target(q.speech.scheme, q.As, q.Port) + pagePath(q.speech.scheme)
		}
	}
	return p
}

// pagePath is what is asked of a server that has paths.
func pagePath(scheme string) string {
	if scheme == "http" || scheme == "https" {
		return "/"
	}
	return ""
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
