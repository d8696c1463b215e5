package why

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// bearing is what bears on one probe in one phase, in the making.
type bearing struct {
	c       egress.Case
	ph      egress.Phase
	stage   stage
	mesh    mesh
	expand  *strings.Replacer
	carrier string
	client  egress.Client
	known   bool // the client is described
	led     bool // it makes the call because another client calls it
	call    call
	q       Question // for what is asked of live clusters too
	out     []Reason
	sidecar *object // that holds for the client for sure
	// opened says that an entry or a Service that the client's sidecar may see has the name or address, and the port.
	opened  bool
	parents []object // entries and Services that routes may be bound to
	leads   []string // hosts that routes lead to
}

func (b *bearing) say(object, format string, a ...any) {
	b.out = append(b.out, Reason{object, fmt.Sprintf(format, a...)})
}

// who is the client whose sidecar carries the call.
func (b *bearing) who() string {
	if b.led {
		return "client " + b.carrier
	}
	return "the client"
}

// reasons are all that bears on a probe.
func (b *bearing) reasons(p egress.Probe) []Reason {
	if b.led = p.Through[b.ph] != ""; b.led {
		b.say(b.who(), "makes the call to %s when it is called", p.Server)
	}
	if p.Hold.Resumes(b.ph) {
		b.say("the call", "goes over the connection that an earlier phase has opened")
	}
	for _, a := range p.Args {
		if strings.HasPrefix(a, "--http") {
			b.say("the call", "is made with %s", a)
		}
	}
	b.dns()
	if !b.captured() {
		b.networkPolicies()
		return b.out
	}
	b.istiod()
	b.sidecars()
	for _, o := range b.stage.objects {
		b.entry(o)
		b.service(o)
	}
	b.unnamed()
	for _, o := range b.stage.objects {
		b.endpoints(o)
	}
	for _, o := range b.stage.objects {
		b.routing(o)
	}
	for _, o := range b.stage.objects {
		b.connecting(o)
	}
	b.networkPolicies()
	for _, o := range b.stage.objects {
		b.whatever(o)
	}
	if s := b.mesh.further(); s != "" {
		b.say("the mesh configuration", "has %s", s)
	}
	return b.out
}

// dns tells of the answers that the case has changed.
func (b *bearing) dns() {
	for _, n := range b.call.names {
		answer := ""
		for _, ph := range b.c.Phases() {
			if a, ok := b.c.DNS[ph][n.shown]; ok && b.ph != egress.Removed {
				answer = a
			}
			if ph == b.ph {
				break
			}
		}
		if answer != "" {
			b.say("", "the case lets DNS answer %s for %s", answer, n.shown)
		}
	}
}

// istiod tells of one that serves the client and is away.
func (b *bearing) istiod() {
	if r := b.client.Revision; r != "" && b.c.Away(r, b.ph) {
		b.say("", "the istiod of revision %s, which serves %s, is away", r, b.who())
	}
}

// eq says that two names are the same, or the first is a wildcard for the second.
func eq(pattern, name string) bool { return hostMatches(strings.ToLower(pattern), name) }

// named says which of some hosts, as an object writes them, stand for a name of the call; heard says that the call carries it. One that it
// does not carry is left out where another one is there.
func (b *bearing) named(shown []string) (what []string, heard bool) {
	for _, n := range b.call.names {
		if n.unheard && heard {
			continue
		}
		for _, h := range shown {
			full := b.expand.Replace(h)
			if !eq(full, n.name) {
				continue
			}
			t := h
			if !strings.EqualFold(full, n.name) {
				t += ", which covers " + n.shown
			}
			if n.as != "" {
				t += " (" + n.as + ")"
			}
			what = append(what, t)
			heard = heard || !n.unheard
		}
	}
	return what, heard
}

// addressed says which addresses and ranges of an object have one that is dialled.
func (b *bearing) addressed(addresses []string) []string {
	var out []string
	for _, d := range b.call.addresses {
		for _, a := range addresses {
			p, err := netip.ParsePrefix(a)
			switch {
			case err == nil && !p.IsSingleIP() && p.Contains(d.address):
				out = append(out, fmt.Sprintf("has the range %s, in which %s lies", a, d))
			case addressHas(a, d.address.String()):
				out = append(out, "has the address "+d.String())
			}
		}
	}
	return out
}

// unseen says why the client's sidecar does not see an object: to which namespaces it is exported, for which istiod it is, and what
// the client's Sidecar imports. "" where nothing of that is written.
func (b *bearing) unseen(o object, byDefault string) string {
	b.q.ExportTo = texts(expanded(b.mesh[byDefault], b.expand))
	var out []string
	if b.known && !b.q.sees(o.Object) {
		if to := texts(at(o.raw, "spec", "exportTo")); len(to) > 0 {
			out = append(out, fmt.Sprintf("is not exported to the namespace of %s (exportTo: %s)", b.who(), strings.Join(to, ", ")))
		} else {
			out = append(out, fmt.Sprintf("is not exported to the namespace of %s (the mesh's %s: %s)", b.who(), byDefault, strings.Join(b.q.ExportTo, ", ")))
		}
	}
	if r := b.otherRevision(o); r != "" {
		out = append(out, r)
	}
	return strings.Join(out, " and ")
}

// revisionLabel binds an object to one istiod.
const revisionLabel = "istio.io/rev"

func (b *bearing) otherRevision(o object) string {
	r, bound := o.labels[revisionLabel]
	own := b.client.Revision
	switch {
	case !bound || r == own || !b.known || own == "" && r == "default":
		return ""
	case own == "":
		return fmt.Sprintf("is for the istiod of revision %s (%s), and %s is bound to none", r, revisionLabel, b.who())
	}
	return fmt.Sprintf("is for the istiod of revision %s (%s), and %s is bound to %s", r, revisionLabel, b.who(), own)
}

// unnamed says what no entry has, and what the outbound policy is then.
func (b *bearing) unnamed() {
	var missing []called
	for _, n := range b.call.names {
		if !n.unheard && !slices.ContainsFunc(b.stage.objects, func(o object) bool { return b.hasName(o, n) }) {
			missing = append(missing, n)
		}
	}
	text := ""
	if len(missing) > 0 {
		var shown []string
		for _, n := range missing {
			shown = append(shown, n.shown)
		}
		text = "no ServiceEntry or Service of the case names " + strings.Join(shown, " or ")
		text += b.other(missing, b.stage.gone, "had it, and has been removed", "had it, and have been removed")
		text += b.other(missing, b.stage.refused, "has it, and must be refused", "have it, and must be refused")
	}
	if !b.opened && !b.call.protocol.Question {
		policy := b.policy()
		if text != "" {
			policy = ", and " + policy
		}
		text += policy
	}
	if text != "" {
		b.say("", "%s", text)
	}
	b.samePort()
}

// other names objects with one of some names that are not there.
func (b *bearing) other(names []called, objects []object, one, several string) string {
	var have []string
	for _, o := range objects {
		if slices.ContainsFunc(names, func(n called) bool { return b.hasName(o, n) }) {
			have = append(have, o.String())
		}
	}
	switch len(have) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (%s %s)", have[0], one)
	}
	return fmt.Sprintf(" (%s %s)", few(have), several)
}

// hasName says whether an entry or a Service has a name of the call.
func (b *bearing) hasName(o object, n called) bool {
	switch {
	case o.Kind == "ServiceEntry":
		ip := func(a string) bool { return addressHas(a, n.name) }
		return slices.ContainsFunc(o.hosts(), func(h string) bool { return eq(h, n.name) }) || slices.ContainsFunc(o.texts("addresses"), ip)
	case o.isService():
		return slices.Contains(b.serviceNames(o), n.name)
	}
	return false
}

// policy is the outbound policy that holds for the client, as far as it is written.
func (b *bearing) policy() string {
	if b.sidecar != nil {
		if stanza, said := b.sidecar.Spec["outboundTrafficPolicy"].(map[string]any); said {
			mode := str(stanza["mode"])
			if mode == "" {
				mode = "without a mode"
			}
			return fmt.Sprintf("the outbound policy of %s is %s", b.sidecar, mode)
		}
	}
	return "the outbound policy is " + b.mesh.policy()
}

// others is how many objects with the port of a call are listed that have another host.
const others = 3

// samePort lists entries and Services that have the port of the call and not its host.
func (b *bearing) samePort() {
	left := 0
	listed := 0
	for _, o := range b.stage.objects {
		what := b.portAlone(o)
		if what == "" {
			continue
		}
		if listed++; listed > others {
			left++
			continue
		}
		b.say(o.String(), "%s", what)
	}
	if left > 0 {
		b.say("", "%d further objects have that port, for other hosts", left)
	}
}

// joined are clauses of one sentence.
func joined(clauses []string) string {
	if len(clauses) < 2 {
		return strings.Join(clauses, "")
	}
	return strings.Join(clauses[:len(clauses)-1], ", ") + " and " + clauses[len(clauses)-1]
}

// few are the first of a list, and how many more there are.
func few(of []string) string {
	const shown = 4
	if len(of) <= shown {
		return strings.Join(of, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(of[:shown-1], ", "), len(of)-shown+1)
}
