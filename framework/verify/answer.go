package verify

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/why"
)

// State is what an answer comes to.
type State string

// The states.
const (
	Allowed  State = "allowed"  // it got out; what an object names may have been led elsewhere by another one
	Led      State = "led"      // what no object names got out, and not to what was called: to a host that an object names
	Blocked  State = "blocked"  // by the mesh
	Fails    State = "fails"    // something lets it out, and it does not arrive, or is not answered
	Unproven State = "unproven" // the witnesses do not agree, the stand-in could not be reached, or it failed by no doing of the mesh
)

// Answer is what became of one question from one class.
type Answer struct {
	From    string         `json:"from"` // its first workload
	To      string         `json:"to"`
	As      string         `json:"as,omitempty"`
	Kind    QuestionKind   `json:"kind"`
	What    string         `json:"what,omitempty"`
	State   State          `json:"state"`
	Outcome egress.Outcome `json:"outcome"`
	Words   string         `json:"words"`
	// Registered says that a service of the mesh's registry let it out; Passthrough that the outbound policy did; neither is past
	// the sidecar.
	Registered  bool `json:"registered,omitempty"`
	Passthrough bool `json:"passthrough,omitempty"`
	// Arrived says that what fails got out: it arrived where it was going, and the client has no answer, or none that it accepts.
	Arrived bool `json:"arrived,omitempty"`
	// Via is the gateway that it went through, or Direct.
	Via string `json:"via,omitempty"`
	// Encrypted says who made the TLS in which it arrived: workload, sidecar, gateway, or nobody.
	Encrypted string `json:"encrypted,omitempty"`
	Landed    string `json:"landed,omitempty"` // where it arrived; where attempts arrive at several, all of them
	// By are the objects that decided, in their order, Because what each did.
	By      []Source     `json:"by,omitempty"`
	Because []why.Reason `json:"because,omitempty"`
	But     string       `json:"but,omitempty"`
	// Nearly are objects that have the host and do not let it out.
	Nearly []why.Reason `json:"nearly,omitempty"`
	// Evidence are the witnesses in one line; Unproven why nothing is proven.
	Evidence string `json:"evidence,omitempty"`
	Unproven string `json:"unproven,omitempty"`

	question Question
	class    Class
	landings []string // the hosts of Landed
	astray   bool     // one of them is none that an entry has for what was called
	unread   bool     // it went by a gateway of which nobody knows by which objects
	at       string   // what was called, as Landed would name it
}

// Direct is the way of what went through no gateway.
const Direct = "direct"

// Who made the TLS in which something arrived.
const (
	ByWorkload = "workload"
	BySidecar  = "sidecar"
	ByGateway  = "gateway"
	ByNobody   = "nobody"
)

// Heard is what a class of clients has been told, question by question.
type Heard struct {
	Class   Class
	Results []egress.ProbeResult // in the order of the questions
	// Around is what is known of its proxy and of the objects, as for every call that it makes.
	Around why.Question
}

// index finds objects by kind and name, as proxies name what they are configured by. Istio's are meant where another group has a kind
// of the same name, as the Gateway API has.
func (m *Model) index() map[string]manifest.Object {
	out := map[string]manifest.Object{}
	for _, x := range m.Objects {
		if _, have := out[x.String()]; !have || strings.HasSuffix(x.Group(), ".istio.io") {
			out[x.String()] = x
		}
	}
	return out
}

// Answers reads what was heard.
func (m *Model) Answers(o *Outside, heard []Heard) []Answer {
	index := m.index()
	var out []Answer
	for _, h := range heard {
		for i, r := range h.Results {
			out = append(out, m.answer(o, index, h, o.Questions[i], r))
		}
	}
	return out
}

func (m *Model) answer(o *Outside, index map[string]manifest.Object, h Heard, q Question, r egress.ProbeResult) Answer {
	a := Answer{From: h.Class.Label(), To: q.To, As: q.As, Kind: q.Kind, What: q.What, Outcome: r.Got, Words: r.Got.Words(), Evidence: r.Evidence, question: q, class: h.Class}
	around := h.Around
	around.Probe, around.Result, around.ExportTo = q.Probe(h.Class.Client), r, m.Mesh.exportTo()
	reason := why.Explain(around)
	a.unread = around.Unread(r)
	a.Because, a.But, a.Nearly = reason.Because, reason.But, reason.Nearly
	for _, b := range reason.Because {
		if s := m.source(index, h.Class, b.Object); !slices.Contains(a.By, s) {
			a.By = append(a.By, s)
		}
	}
	if a.udp() && r.Got == egress.Direct && around.Captured {
		a.By, a.Because = nil, []why.Reason{{Object: "UDP", What: "is never redirected to a sidecar"}}
	}
	a.State = q.stateOf(r)
	if o.Blind && r.Got == egress.Direct && around.Captured && m.leavesOut(h.Class.Members[0], r, q.Port) {
		a.State = Allowed // its sidecar has no line of it, and by an exclusion must not have one
	}
	elsewhere := q.Kind != Named && q.Kind != Addressed && !o.Blind && r.Server != o.server(q.Host)
	switch a.State {
	case Unproven:
		a.Unproven = unprovenBy(r)
		return a
	case Fails:
		a.Arrived = received(r) && !elsewhere
		if !a.Arrived {
			return a
		}
	case Allowed:
		a.Registered, a.Passthrough = r.Got == egress.OK, r.Got == egress.Pass
	default:
		return a
	}
	a.Via, a.Encrypted = Direct, ByNobody
	if !o.Blind {
		a.lands(o, r)
	}
	if n := len(r.Observations); n > 0 {
		a.travelled(q, r.Observations[n-1], o.Blind && m.originates(q.Host, q.Port) != "")
	}
	if elsewhere {
		a.State, a.Words = Led, egress.Led.Words()
	}
	return a
}

// lands notes where attempts arrived.
func (a *Answer) lands(o *Outside, r egress.ProbeResult) {
	servers := sortedKeys(r.Landings)
	if len(servers) == 0 {
		servers = []string{r.Server}
	}
	a.at = o.called(o.server(a.question.Host))
	for _, s := range servers {
		a.landings = append(a.landings, o.called(s))
		a.astray = a.astray || !o.home(a.question.Host, s)
	}
	a.Landed = strings.Join(a.landings, ", ")
}

// received says whether the destination has seen an attempt.
func received(r egress.ProbeResult) bool {
	return slices.ContainsFunc(r.Observations, func(x egress.Observation) bool { return x.Reception() != nil })
}

// out says whether a call got out of the mesh, to where it was going: whoever may not call it has a leak, answered or not.
func (a Answer) out() bool { return a.State == Allowed || a.Arrived }

// travelled says which way an answer took. Where the destination does not tell, what the client speaks and what the mesh makes by its
// rules stand for what arrived.
func (a *Answer) travelled(q Question, x egress.Observation, originated bool) {
	for _, hop := range x.Hops {
		a.Via = gatewayOf(hop.Gateway)
	}
	switch {
	case q.speech.scheme == "https" && a.Outcome != egress.DoubleTLS && (x.Blind || x.Encrypted()):
		a.Encrypted = ByWorkload
	case !x.Encrypted() && !originated:
		a.Encrypted = ByNobody
	case len(x.Hops) > 0:
		a.Encrypted = ByGateway
	default:
		a.Encrypted = BySidecar
	}
}

// podRE is the end of the name of a Deployment's pod.
var podRE = regexp.MustCompile(`-[a-z0-9]{6,10}-[a-z0-9]{5}$`)

// gatewayOf is the workload of a gateway's pod.
func gatewayOf(pod string) string { return podRE.ReplaceAllString(pod, "") }

// network are outcomes by which no question fails that the mesh has anything to do with: whatever is asked has a stand-in with a
// name and a service, and a sidecar accepts every connection. A name that the mesh alone may know is another matter.
const network = egress.TMO | egress.REF | egress.DNSX

// unconnected says whether an attempt came to nothing before it had a connection to anything.
func unconnected(r egress.ProbeResult) bool {
	n := len(r.Observations)
	return network.Has(r.Got) || r.Got == egress.Stall && n > 0 && r.Observations[n-1].Client.Local == ""
}

// unprovenBy says why nothing is proven.
func unprovenBy(r egress.ProbeResult) string {
	if unconnected(r) && r.Control != nil && r.Control.Reached {
		return fmt.Sprintf("%s, and the control client was answered (%s): the machine or the cluster's DNS was too slow, and not the mesh; ask again", r.Got.Words(), r.Control.Detail)
	}
	return cmp.Or(r.Why, r.Got.Meaning(), "the witnesses do not agree")
}

// stateOf is what a probe's result comes to. The judge has proven it, or says why not.
func (q Question) stateOf(r egress.ProbeResult) State {
	switch {
	case q.server != "" && r.Got == egress.DNSX && r.Verdict != egress.Inconclusive:
		return Fails
	case r.Got == 0 || r.Verdict == egress.Inconclusive || unconnected(r):
		return Unproven
	case egress.Arrived.Has(r.Got):
		return Allowed
	case (egress.Blocked | egress.S403RBAC | egress.Self).Has(r.Got):
		return Blocked
	}
	return Fails
}

// server is the stand-in that a name or an address is of.
func (o *Outside) server(host string) string {
	if h, ok := o.all.Find(host); ok {
		return h.Name
	}
	return host
}

// home says whether a stand-in is one of what is called: its own, or one of the addresses and endpoints that entries give it.
func (o *Outside) home(host, server string) bool {
	return server == o.server(host) || slices.ContainsFunc(o.homes, func(h home) bool {
		return slices.Contains(h.called, host) && slices.ContainsFunc(h.stands, func(s string) bool { return o.server(s) == server })
	})
}

// called is what people call a stand-in.
func (o *Outside) called(server string) string { return cmp.Or(o.names[server], server) }

// source is where a workload is written.
func (w Workload) source() Source {
	return Source{Object: cmp.Or(w.Kind, "workload") + " " + w.path(), File: w.File, Line: w.Line}
}

// ofConfig is how reasons name the mesh configuration.
const ofConfig = "the mesh configuration"

// source finds where an object that decided is written.
func (m *Model) source(index map[string]manifest.Object, c Class, object string) Source {
	if object == "client "+c.Client {
		return c.Members[0].source()
	}
	if x, ok := index[object]; ok {
		return sourceOf(x)
	}
	if pod, ok := strings.CutPrefix(object, "gateway "); ok {
		return Source{Object: "gateway " + gatewayOf(pod)}
	}
	if strings.HasPrefix(object, ofConfig) || object == "the outbound policy" {
		return Source{Object: object, File: cmp.Or(m.Mesh.File, "Istio's default"), Line: m.Mesh.Line}
	}
	return Source{Object: object}
}
