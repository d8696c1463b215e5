package verify

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/input"
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
	// Landed are the hosts where it may arrive, with * for any part; left out, what is called, with the addresses and endpoints that
	// entries give it.
	Landed []string `json:"landed,omitempty"`
	// Fails says that it gets there and need not be answered.
	Fails bool `json:"fails,omitempty"`

	line int
	use  []use // of each To
}

// use is what became of one To.
type use struct {
	met     bool   // some answer is about it
	decides bool   // about one of them it decides
	behind  *Allow // decides about one of them in its place, and demands something else
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
		x.line, x.As = at.Line, strings.ToLower(x.As)
		for k, to := range x.To {
			x.To[k] = plainURL(to)
		}
		if len(x.From) == 0 || len(x.To) == 0 {
			d.Mistake(at, "from and to are lists that name something", `"*" is everybody, and everything`)
		}
		if !slices.Contains([]string{"", ByWorkload, BySidecar, ByGateway, ByNobody, byMesh}, x.Encrypted) {
			d.Mistake(input.At(at, "encrypted"), fmt.Sprintf("encrypted: %q is none of %s, %s, %s, %s and %s", x.Encrypted, ByWorkload, BySidecar, ByGateway, byMesh, ByNobody), "")
		}
		for _, pattern := range slices.Concat(x.From, x.To, x.Landed) {
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

// Judge compares answers, for every workload of each class, with what is expected. What is unproven deviates from nothing. What the
// file says and nobody's answer is judged by is a mistake: what it expects is not proven.
func (e *Expectations) Judge(answers []Answer) ([]Deviation, input.Mistakes) {
	var out []Deviation
	for i := range e.Allow {
		e.Allow[i].use = make([]use, len(e.Allow[i].To))
	}
	everybody := map[string]Workload{}
	for _, a := range answers {
		for _, w := range a.class.Members {
			everybody[w.Label()] = w
			if d, ok := e.deviation(w, a); ok {
				out = append(out, d)
			}
		}
	}
	return out, e.idle(everybody)
}

// idle is what the file says and no answer was judged by.
func (e *Expectations) idle(everybody map[string]Workload) input.Mistakes {
	var out input.Mistakes
	for _, x := range e.Allow {
		add := func(format string, a ...any) {
			out = append(out, input.Mistake{File: e.File, Line: x.line, What: fmt.Sprintf(format, a...)})
		}
		if !slices.ContainsFunc(sortedKeys(everybody), func(name string) bool { return x.from(everybody[name]) }) {
			add("nothing is asked that this is about: no workload is called %s", strings.Join(x.From, ", "))
			continue
		}
		for k, u := range x.use {
			switch {
			case !u.met:
				_, why := askable(x.To[k], x.As)
				add("nothing is asked that %s%s is about: %s", x.To[k], asText(x.As), cmp.Or(why, "no object names anything like it"))
			case !u.decides && u.behind != nil:
				add("%s%s is decided about by line %d, which demands something else: what is demanded here is not looked at; the first one that fits counts, so put it before", x.To[k], asText(x.As), u.behind.line)
			}
		}
	}
	return out
}

// from says whether an expectation is about a workload. What is said of its name is said of all kinds that have it.
func (x *Allow) from(w Workload) bool {
	return anyMatches(x.From, w.path()) || anyMatches(x.From, w.Label())
}

// rule finds the expectation that decides about something, the first that is about it, and notes which ones are.
func (e *Expectations) rule(w Workload, a Answer) *Allow {
	var first *Allow
	for i := range e.Allow {
		x := &e.Allow[i]
		if x.As != a.As || !x.from(w) {
			continue
		}
		for k, to := range x.To {
			if !matches(to, a.To) {
				continue
			}
			if first == nil {
				first = x
			}
			u := &x.use[k]
			u.met, u.decides = true, u.decides || first == x
			if first.demands() != x.demands() {
				u.behind = first
			}
		}
	}
	return first
}

// demands is what an expectation says of the way, so that two may be compared.
func (x *Allow) demands() string {
	return fmt.Sprintf("%q %q %q %t", x.Via, x.Encrypted, x.Landed, x.Fails)
}

func (e *Expectations) deviation(w Workload, a Answer) (Deviation, bool) {
	d := Deviation{From: w.Label(), To: a.To, As: a.As, By: a.By}
	x := e.rule(w, a)
	if x != nil {
		d.Rule = input.Mistake{File: e.File, Line: x.line}.Where()
	}
	switch {
	case a.State == Unproven:
		return d, false
	case x == nil && a.out():
		d.Kind, d.What = Leak, a.said()
		d.Remedy = fmt.Sprintf("keep it in, or expect it: add to %s {from: [%s], to: [%q]%s%s}", e.File, d.From, a.To, asField(a.As), map[bool]string{true: ", fails: true"}[a.Arrived])
	case x == nil || a.State == Led:
		return d, false
	case a.State != Allowed && (!a.Arrived || !x.Fails):
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
	case !x.lands(a):
		d.Kind, d.What = Detour, fmt.Sprintf("it lands at %s, and is expected at %s", a.Landed, cmp.Or(strings.Join(x.Landed, ", "), a.at))
	default:
		return d, false
	}
	return d, true
}

// lands says whether an answer arrived where an expectation has it.
func (x *Allow) lands(a Answer) bool {
	if len(x.Landed) == 0 {
		return !a.astray
	}
	return !slices.ContainsFunc(a.landings, func(l string) bool { return !anyMatches(x.Landed, l) })
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
	type way struct {
		to, as, via, encrypted, landed string
		fails                          bool
	}
	from := map[way][]string{}
	everybody := map[string][]string{} // by namespace
	for _, a := range answers {
		for _, w := range a.class.Members {
			if !slices.Contains(everybody[w.Namespace], w.Label()) {
				everybody[w.Namespace] = append(everybody[w.Namespace], w.Label())
			}
			if a.out() {
				k := way{a.To, a.As, a.Via, a.Encrypted, "", a.Arrived}
				if a.Landed != a.at {
					k.landed = a.Landed
				}
				from[k] = append(from[k], w.Label())
			}
		}
	}
	to := map[string]*Allow{}
	for k, who := range from {
		x := Allow{From: together(who, everybody), As: k.as, Via: k.via, Encrypted: k.encrypted, Fails: k.fails}
		if k.landed != "" {
			x.Landed = strings.Split(k.landed, ", ")
		}
		key := fmt.Sprintf("%q %q %s", x.From, x.As, x.demands())
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
