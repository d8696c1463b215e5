package verify

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

// Expectations say what may get out. Everything else that is asked must not.
type Expectations struct {
	File  string  `json:"-"`
	Allow []Allow `json:"allow"`
}

// Allow is something that may get out.
type Allow struct {
	From []string `json:"from"` // workloads as namespace/name, with * for any part of it
	To   []string `json:"to"`   // what is called, such as https://api.example or tcp://db.example:5432, with * for any part of it
	// As is the name by which it is called, where that is another host's; "" for its own.
	As string `json:"as,omitempty"`
	// Via is the gateway that it must go through, or direct; Encrypted who must make the TLS in which it arrives: workload, sidecar,
	// gateway, mesh (either of the last two) or nobody. "" is any.
	Via       string `json:"via,omitempty"`
	Encrypted string `json:"encrypted,omitempty"`

	line int
	used bool
}

// byMesh is TLS that the sidecar or a gateway makes.
const byMesh = "mesh"

// ParseExpectations reads an egress.yaml. Errors have file and line.
func ParseExpectations(file string, b []byte) (*Expectations, error) {
	docs, err := input.Documents(file, b)
	if err != nil {
		return nil, err
	}
	out := &Expectations{File: file}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: one document with the field allow is expected, there are %d", file, len(docs))
	}
	d := input.Decoder{File: file}
	d.Value(docs[0], out)
	list := input.Value(docs[0], "allow")
	if list == nil {
		d.Mistake(docs[0], "the field allow is missing", "write allow: [] where nothing may get out")
	}
	for i := range out.Allow {
		x := &out.Allow[i]
		at := input.At(list, i)
		x.line = at.Line
		if len(x.From) == 0 || len(x.To) == 0 {
			d.Mistake(at, "from and to are lists that name something", `"*" is everybody, and everything`)
		}
		if !slices.Contains([]string{"", ByWorkload, BySidecar, ByGateway, ByNobody, byMesh}, x.Encrypted) {
			d.Mistake(input.At(at, "encrypted"), fmt.Sprintf("encrypted: %q is none of %s, %s, %s, %s and %s", x.Encrypted, ByWorkload, BySidecar, ByGateway, byMesh, ByNobody), "")
		}
		for _, pattern := range slices.Concat(x.From, x.To) {
			if _, err := path.Match(plainSlashes(pattern), ""); err != nil {
				d.Mistake(at, fmt.Sprintf("%q is no pattern: %v", pattern, err), "")
			}
		}
	}
	if err := d.Found.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// plainSlashes lets * in a pattern stand for slashes too.
func plainSlashes(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// matches says whether a text is one that a pattern means.
func matches(pattern, text string) bool {
	ok, err := path.Match(plainSlashes(pattern), plainSlashes(text))
	return err == nil && ok
}

func anyMatches(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, text) })
}

// targets are what expectations name without a pattern: it is asked, whether an object names it or not.
func (e *Expectations) targets() []Question {
	var out []Question
	if e == nil {
		return nil
	}
	for _, x := range e.Allow {
		for _, to := range x.To {
			if q, ok := asked(to); ok && x.As == "" {
				out = append(out, q)
			}
		}
	}
	return out
}

// asked is a question that a URL stands for.
func asked(to string) (Question, bool) {
	u, err := url.Parse(to)
	if err != nil || strings.Contains(to, "*") || internet.NameFault(u.Hostname()) != "" || strings.HasPrefix(u.Hostname(), addressOf) {
		return Question{}, false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil { // which an object names, or nobody
		return Question{}, false
	}
	port := defaultPorts[u.Scheme]
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return Question{}, false
		}
	}
	for _, protocol := range []string{"HTTP", "TLS", "GRPC", "UDP", ""} {
		if sp := speak(protocol, port); sp.scheme == u.Scheme && port > 0 {
			return Question{Kind: Named, Host: u.Hostname(), Port: port, speech: sp, What: "expected"}, true
		}
	}
	if u.Scheme == plain.scheme && port > 0 { // on a port that everybody knows
		return Question{Kind: Named, Host: u.Hostname(), Port: port, speech: plain, What: "expected"}, true
	}
	return Question{}, false
}

// DeviationKind is how an answer differs from what is expected.
type DeviationKind string

// The kinds of deviations.
const (
	Leak   DeviationKind = "leak"   // allowed, and not expected
	Outage DeviationKind = "outage" // expected, and not allowed
	Detour DeviationKind = "detour" // allowed as expected, another way, or encrypted by somebody else
)

// Deviation is an answer that is not as expected.
type Deviation struct {
	Kind   DeviationKind `json:"kind"`
	From   string        `json:"from"` // the workload
	To     string        `json:"to"`
	As     string        `json:"as,omitempty"`
	What   string        `json:"what"`
	By     []Source      `json:"by,omitempty"`   // objects that let it out, or keep it in
	Rule   string        `json:"rule,omitempty"` // place of the expectation
	Remedy string        `json:"remedy,omitempty"`
}

// Judge compares answers, for every workload of each class, with what is expected. What is unproven deviates from nothing. Lines of the
// file that nobody's answer is about are noted.
func (e *Expectations) Judge(answers []Answer) ([]Deviation, input.Mistakes) {
	var out []Deviation
	for i := range e.Allow {
		e.Allow[i].used = false
	}
	for _, a := range answers {
		for _, w := range a.class.Members {
			if d, ok := e.deviation(w, a); ok {
				out = append(out, d)
			}
		}
	}
	var idle input.Mistakes
	for _, x := range e.Allow {
		if !x.used {
			idle = append(idle, input.Mistake{File: e.File, Line: x.line, What: fmt.Sprintf("nothing is asked that this is about: no workload is called %s, or no object names %s", strings.Join(x.From, ", "), strings.Join(x.To, ", "))})
		}
	}
	return out, idle
}

// rule finds the expectation that allows something. What is said of a workload's name is said of all kinds that have it.
func (e *Expectations) rule(w Workload, a Answer) *Allow {
	for i := range e.Allow {
		x := &e.Allow[i]
		if x.As == a.As && (anyMatches(x.From, w.path()) || anyMatches(x.From, w.Label())) && anyMatches(x.To, a.To) {
			return x
		}
	}
	return nil
}

func (e *Expectations) deviation(w Workload, a Answer) (Deviation, bool) {
	d := Deviation{From: w.Label(), To: a.To, As: a.As, By: a.By}
	x := e.rule(w, a)
	if x != nil {
		x.used = true
		d.Rule = input.Mistake{File: e.File, Line: x.line}.Where()
	}
	switch {
	case a.State == Unproven:
		return d, false
	case x == nil && a.State == Allowed:
		d.Kind, d.What = Leak, a.said()
		d.Remedy = fmt.Sprintf("keep it in, or expect it: add to %s {from: [%s], to: [%q]%s}", e.File, d.From, a.To, asField(a.As))
	case x == nil || a.State == Led:
		return d, false
	case a.State != Allowed:
		d.Kind, d.What = Outage, cmp.Or(a.But, a.Words)
		if len(d.By) == 0 {
			d.By = a.question.About
		}
		for _, n := range a.Nearly {
			d.What += fmt.Sprintf("; %s %s", n.Object, n.What)
		}
	case x.Via != "" && x.Via != a.Via && !strings.HasSuffix(a.Via, "/"+x.Via):
		d.Kind, d.What = Detour, fmt.Sprintf("it goes %s, and is expected %s", way(a.Via), way(x.Via))
	case x.Encrypted != "" && x.Encrypted != a.Encrypted && (x.Encrypted != byMesh || a.Encrypted != BySidecar && a.Encrypted != ByGateway):
		d.Kind, d.What = Detour, fmt.Sprintf("it arrives %s, and is expected to arrive %s", tlsBy(a.Encrypted), tlsBy(x.Encrypted))
	default:
		return d, false
	}
	return d, true
}

func asField(as string) string {
	if as == "" {
		return ""
	}
	return ", as: " + as
}

func way(via string) string {
	if via == Direct {
		return "directly"
	}
	return "through " + via
}

func tlsBy(who string) string {
	if who == ByNobody {
		return "in plain text"
	}
	return "in TLS of the " + who
}

// said is an allowed answer in words.
func (a Answer) said() string {
	s := a.Words + ", " + way(a.Via) + ", " + tlsBy(a.Encrypted)
	if a.Landed != "" && a.Landed != a.question.Host {
		s += ", and lands at " + a.Landed
	}
	return s
}

// Present are the expectations that the answers meet.
func Present(answers []Answer) *Expectations {
	type way struct{ to, as, via, encrypted string }
	from := map[way][]string{}
	everybody := map[string][]string{} // by namespace
	for _, a := range answers {
		for _, w := range a.class.Members {
			if !slices.Contains(everybody[w.Namespace], w.Label()) {
				everybody[w.Namespace] = append(everybody[w.Namespace], w.Label())
			}
			if a.State == Allowed {
				k := way{a.To, a.As, a.Via, a.Encrypted}
				from[k] = append(from[k], w.Label())
			}
		}
	}
	to := map[string]*Allow{}
	for k, who := range from {
		x := Allow{From: together(who, everybody), As: k.as, Via: k.via, Encrypted: k.encrypted}
		key := fmt.Sprintf("%q %q %q %q", x.From, x.As, x.Via, x.Encrypted)
		if to[key] == nil {
			to[key] = &x
		}
		to[key].To = append(to[key].To, k.to)
	}
	out := &Expectations{Allow: []Allow{}}
	for _, x := range to {
		slices.Sort(x.To)
		out.Allow = append(out.Allow, *x)
	}
	slices.SortFunc(out.Allow, func(a, b Allow) int {
		return cmp.Or(slices.Compare(a.From, b.From), slices.Compare(a.To, b.To), strings.Compare(a.As, b.As), strings.Compare(a.Via, b.Via))
	})
	return out
}

// together names workloads by their namespace where all of it are meant, and by * where all are.
func together(who []string, everybody map[string][]string) []string {
	var out []string
	all := true
	for _, ns := range sortedKeys(everybody) {
		var here []string
		for _, w := range everybody[ns] {
			if slices.Contains(who, w) {
				here = append(here, w)
			}
		}
		slices.Sort(here)
		if len(here) == len(everybody[ns]) && len(here) > 1 {
			here = []string{ns + "/*"}
		} else if len(here) < len(everybody[ns]) {
			all = false
		}
		out = append(out, here...)
	}
	if all && len(everybody) > 1 {
		return []string{"*"}
	}
	return out
}

// YAML is the file.
func (e *Expectations) YAML() ([]byte, error) {
	b, err := yaml.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write the expectations: %w", err)
	}
	return append([]byte("# What may get out of the mesh. Everything else that egressctl verify asks must not.\n"), b...), nil
}

// expected makes what the expectations name, and asks for it.
func (p *planner) expected(e *Expectations) {
	for _, q := range e.targets() {
		p.covering(q.Host).serve(q.Port, q.speech.service)
		p.ask(q, manifest.Object{})
	}
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
