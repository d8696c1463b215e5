package verify

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

// plainURL writes what is called as questions have it: in lower case, without a port that goes without saying, and without the
// path of everything.
func plainURL(to string) string {
	to = strings.TrimSuffix(strings.ToLower(to), "/")
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.Path != "" {
		return to
	}
	if port, err := strconv.Atoi(u.Port()); err == nil && port == defaultPorts[u.Scheme] {
		return target(u.Scheme, u.Hostname(), port)
	}
	return to
}

// askable is the question that an expectation stands for by itself, whether an object names what it is about or not. Why it stands
// for none is said, but for a pattern that is about whatever is asked anyway.
func askable(to, as string) (q Question, why string) {
	u, err := url.Parse(to)
	switch {
	case strings.ContainsAny(strings.Replace(to, "://*.", "://", 1)+as, `*?[\`):
		return Question{}, ""
	case err != nil || u.Host == "":
		return Question{}, "it is no URL, such as https://api.example or tcp://db.example:5432"
	case u.Path != "":
		return Question{}, "paths are not told apart: take " + u.Path + " away"
	}
	host := sample(u.Hostname())
	port := defaultPorts[u.Scheme]
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // url.Parse has seen that it is a number
	}
	sp, known := schemeSpeech(u.Scheme, port)
	switch {
	case !known:
		return Question{}, fmt.Sprintf("scheme %q is none of http, https, grpc, tcp and udp", u.Scheme)
	case port < 1 || port > 65535:
		return Question{}, "it needs a port from 1 to 65535"
	case as != "" && sp.scheme != "http" && sp.scheme != "https":
		return Question{}, "only http and https are called by another's name"
	}
	q = Question{Kind: Named, What: "expected", Host: host, Port: port, As: as, speech: sp, sampled: host != u.Hostname()}
	if as != "" {
		q.Kind = Lie
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !usable(a) {
			return Question{}, "nobody outside can have that address in the dry mesh"
		}
		return q, ""
	}
	if name, is := strings.CutPrefix(host, addressOf); is {
		q.Kind, q.Host, q.To = Addressed, name, target(sp.scheme, host, port)
	}
	if why := internet.NameFault(q.Host); why != "" {
		return Question{}, why
	}
	if !external(q.Host) {
		return Question{}, "only an entry of the mesh's can have that name, and none does"
	}
	return q, ""
}

// schemeSpeech is how a URL's scheme is spoken at a port.
func schemeSpeech(scheme string, port int) (speech, bool) {
	for _, protocol := range []string{"HTTP", "TLS", "GRPC", "UDP", ""} {
		if sp := speak(protocol, port); sp.scheme == scheme {
			return sp, true
		}
	}
	return plain, scheme == plain.scheme // on a port that everybody knows
}

// expected makes what the expectations name, and asks for it.
func (p *planner) expected(e *Expectations) {
	if e == nil {
		return
	}
	for _, x := range e.Allow {
		for _, to := range x.To {
			q, why := askable(to, x.As)
			if why != "" || q.Host == "" {
				continue
			}
			p.expect(q)
		}
	}
}

func (p *planner) expect(q Question) {
	a, err := netip.ParseAddr(q.Host)
	switch {
	case err == nil && !p.out.usable(a):
		return // a host that is there anyway has it: nobody is asked, which is told
	case err == nil:
		p.at(a).serve(q.Port, q.speech.service)
	default:
		p.covering(q.Host).serve(q.Port, q.speech.service)
	}
	if q.Kind == Addressed { // once addresses are chosen
		p.addressed = append(p.addressed, q)
		return
	}
	p.ask(q, manifest.Object{})
}

// covering is the stand-in that answers for a name already, by the name or a wildcard; else one that is made for it.
func (p *planner) covering(name string) *stand {
	best := ""
	for pattern := range p.byName {
		if p.byName[name] == nil && serves(pattern, name) && len(pattern) > len(best) {
			best = pattern
		}
	}
	return p.stand(cmp.Or(best, name))
}
