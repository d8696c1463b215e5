// Package egress is the vocabulary of the harness: what a case claims, what a probe does, what can
// come out of it, and how three witnesses become an outcome and outcomes a verdict. It is pure: it
// opens no connection and reads no file.
package egress

import (
	"fmt"
	"math/bits"
	"strings"
)

// Outcome is what a probe came to, or (several bits set) the set of outcomes that a case accepts.
// The zero value is invalid: a harness fault is an error and never an outcome.
type Outcome uint32

// The closed set of outcomes.
const (
	OK        Outcome = 1 << iota // answer of the intended server through a cluster of the registry
	Pass                          // answer through PassthroughCluster: outbound policy ALLOW_ANY
	Direct                        // answer without the sidecar: traffic was not captured
	B502                          // blocked on an HTTP listener: 502 from the sidecar, route block_all
	BRST                          // blocked as bytes: accepted, then closed, BlackHoleCluster
	S503UH                        // 503, no healthy upstream host
	S503UF                        // 503, connection or TLS failure to the upstream
	S503NC                        // 503, cluster not found
	S503UO                        // 503, circuit breaker overflow
	S404NR                        // 404, no route
	S504UT                        // 504, upstream request timeout
	S403RBAC                      // 403, denied by authorization policy
	S403UPG                       // 403, protocol upgrade refused
	TMO                           // the client timed out (curl 28)
	REF                           // the connection was refused (curl 7)
	DNSX                          // the name did not resolve (curl 6)
	CERT                          // the server's certificate was not accepted (curl 60)
	Self                          // answered by the proxy itself on a rule's order: redirect, fault, direct response
	Named                         // a DNS question was answered with records
	S503UC                        // 503, the upstream closed the connection
	S503DF                        // 503, the proxy could not resolve the name
	Cut                           // answered, then closed while it was held
	Open                          // answered through a cluster of the registry, and still answered after it was held
	Led                           // led elsewhere: the arrival is at another host than the probe's target
	Stall                         // the client timed out in the mesh, while the control client was answered
	DoubleTLS                     // the destination received TLS within the TLS of a proxy
	lastOutcome
)

// Blocked is the class of outcomes that a mesh's REGISTRY_ONLY policy makes.
const Blocked = B502 | BRST

// Reached is the class of outcomes in which the destination answered.
const Reached = OK | Pass | Direct

// Arrived is the class of outcomes that rest on an arrival: where it was and how can be asked of them.
const Arrived = Reached | Cut | Open

// AtOnce is the class of outcomes that the mesh gives of its own accord, without asking anybody: nobody waits for them.
const AtOnce = Blocked | S503UH | S503NC | S503UO | S404NR | S403RBAC | S403UPG | Self

type outcomeInfo struct {
	name    string // the code, in YAML and JSON
	words   string // for tables, which nobody should need a legend for
	meaning string
	status  int // HTTP status of the mesh's own answer, 0 for none or any
}

var outcomes = map[Outcome]outcomeInfo{
	OK:        {"OK", "allowed", "answered by the intended server through a service of the registry", 0},
	Pass:      {"PASS", "allowed, unregistered (passthrough)", "answered through PassthroughCluster (outbound policy ALLOW_ANY)", 0},
	Direct:    {"DIRECT", "allowed past the sidecar", "answered without the sidecar, traffic was not captured", 0},
	B502:      {"B502", "blocked (502)", "blocked on an HTTP listener: 502 made by the sidecar", 502},
	BRST:      {"BRST", "blocked (reset)", "blocked as bytes: connection accepted, then closed", 0},
	S503UH:    {"503UH", "refused (503, no healthy endpoint)", "503, no healthy upstream host", 503},
	S503UF:    {"503UF", "failed (503, no connection or TLS)", "503, connection or TLS failure to the upstream", 503},
	S503NC:    {"503NC", "refused (503, no such cluster)", "503, cluster not found; 500 by a route of the Gateway API", 503},
	S503UO:    {"503UO", "refused (503, circuit breaker)", "503, circuit breaker overflow", 503},
	S404NR:    {"404NR", "refused (404, no route)", "404, no route", 404},
	S504UT:    {"504UT", "failed (504, timeout in the proxy)", "504, upstream request timeout", 504},
	S403RBAC:  {"403RBAC", "denied (403, authorization policy)", "403, denied by an authorization policy", 403},
	S403UPG:   {"403UPG", "denied (403, protocol upgrade)", "403, protocol upgrade refused", 403},
	TMO:       {"TMO", "no answer (timeout)", "the client timed out: network, not mesh", 0},
	REF:       {"REF", "no connection (refused)", "connection refused: network, not mesh", 0},
	DNSX:      {"DNSX", "no such name", "the name did not resolve: DNS, not mesh", 0},
	CERT:      {"CERT", "certificate not accepted", "the client did not accept the server's certificate", 0},
	Self:      {"SELF", "answered by the proxy", "answered by the proxy itself, as a rule orders: redirect, fault or direct response", 0},
	S503UC:    {"503UC", "failed (503, closed by the destination)", "503, the destination closed the connection", 503},
	S503DF:    {"503DF", "failed (503, no such name for the proxy)", "503, the proxy could not resolve the name", 503},
	Led:       {"LED", "led to another host", "led elsewhere: it arrived at another host than the one that it is meant for", 0},
	Stall:     {"STALL", "no answer (stalled by the mesh)", "stalled by the mesh: the client timed out, and the control client was answered", 0},
	Cut:       {"CUT", "allowed, then cut", "answered, and then cut while the connection was held", 0},
	Open:      {"OPEN", "allowed, still open", "answered through a service of the registry, and the connection was still open after it was held", 0},
	DoubleTLS: {"TLS2", "failed (TLS within TLS)", "the destination received TLS within the TLS of a proxy, which no server understands: a TLS call to a port for which a rule originates TLS", 0},
	Named:     {"NAMED", "name resolved", "the DNS question was answered with records", 0},
}

var classNames = map[Outcome]string{0: "none", Blocked: "blocked", Reached: "reached"}

// Has reports whether got is one of the outcomes of the set o.
func (o Outcome) Has(got Outcome) bool { return got != 0 && o&got == got }

// Single reports whether o is exactly one outcome.
func (o Outcome) Single() bool { return bits.OnesCount32(uint32(o)) == 1 && o < lastOutcome }

// Gives says whether the mesh itself answers like this in an outcome of the set.
func (o Outcome) Gives(c ClientWitness) bool {
	for b := OK; b < lastOutcome; b <<= 1 {
		if o&b != 0 && (b == Self || outcomes[b].status != 0 && c.Says(outcomes[b].status)) { // a rule may order any status
			return true
		}
	}
	return false
}

// String is the outcome's name; a set is its class name or its members joined by "|".
func (o Outcome) String() string {
	if n, ok := classNames[o]; ok {
		return n
	}
	var names []string
	for b := OK; b < lastOutcome; b <<= 1 {
		if o&b != 0 {
			names = append(names, outcomes[b].name)
		}
	}
	return strings.Join(names, "|")
}

// Words say an outcome, or a set of them, to people: "blocked (502)". Codes are for files.
func (o Outcome) Words() string {
	if o == 0 {
		return "nothing proven"
	}
	if o&(lastOutcome-1) == lastOutcome-1 {
		return "anything"
	}
	var words []string
	for _, class := range []struct {
		all   Outcome
		words string
	}{{Reached, "allowed in any way"}, {Blocked, "blocked"}} {
		if o&class.all == class.all {
			words, o = append(words, class.words), o&^class.all
		}
	}
	for b := OK; b < lastOutcome; b <<= 1 {
		if o&b != 0 {
			words = append(words, outcomes[b].words)
		}
	}
	return strings.Join(words, " or ")
}

// Meaning is one sentence for people.
func (o Outcome) Meaning() string {
	if o == Blocked {
		return "blocked by the mesh (B502 or BRST)"
	}
	return outcomes[o].meaning
}

// ParseOutcome reads a name, a class, or several joined by "|".
func ParseOutcome(s string) (Outcome, error) {
	var o Outcome
	for _, part := range strings.Split(s, "|") {
		switch p := strings.TrimSpace(part); p {
		case "blocked":
			o |= Blocked
		case "reached":
			o |= Reached
		default:
			found := false
			for b, i := range outcomes {
				if i.name == p {
					o, found = o|b, true
				}
			}
			if !found {
				return 0, fmt.Errorf("outcome %q is unknown; known: %s, blocked, reached", p, (lastOutcome - 1).String())
			}
		}
	}
	return o, nil
}

// MarshalText makes outcomes readable in reports.
func (o Outcome) MarshalText() ([]byte, error) {
	if o == 0 {
		return nil, nil
	}
	return []byte(o.String()), nil
}

// UnmarshalText is the reverse of MarshalText.
func (o *Outcome) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*o = 0
		return nil
	}
	*o, err = ParseOutcome(string(b))
	return err
}

// Phase is a stage in the life of a case's rule.
type Phase int

// The phases in their order. Removal must restore what was seen before.
const (
	Before Phase = iota
	Applied
	Changed // only for cases that change their rule while it is applied
	Removed
	phases
)

var phaseNames = [...]string{"before", "applied", "changed", "removed"}

// Phases lists all phases in order.
func Phases() []Phase { return []Phase{Before, Applied, Changed, Removed} }

func (p Phase) String() string {
	if p < 0 || p >= phases {
		return fmt.Sprintf("phase(%d)", int(p))
	}
	return phaseNames[p]
}

// MarshalText makes phases readable in reports.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (p *Phase) UnmarshalText(b []byte) error {
	for i, n := range phaseNames {
		if n == string(b) {
			*p = Phase(i)
			return nil
		}
	}
	return fmt.Errorf("phase %q is unknown; known: before, applied, changed, removed", b)
}

// Verdict is the result of a case.
type Verdict string

// The verdicts.
const (
	Conforms      Verdict = "conforms"       // every phase came out as claimed, with all witnesses
	Violates      Verdict = "violates"       // proven otherwise
	Inconclusive  Verdict = "inconclusive"   // not proven either way: a dead target, a failed exec, witnesses that disagree
	Skipped       Verdict = "skipped"        // a need is not met here
	NotApplicable Verdict = "not-applicable" // the claim is not about this Istio version
)

// ExitCode is the program's exit status for a set of verdicts: 0 all conform, 1 a violation,
// 2 an inconclusive case.
func ExitCode(vs []Verdict) int {
	code := 0
	for _, v := range vs {
		switch v {
		case Violates:
			return 1
		case Inconclusive:
			code = 2
		case Conforms, Skipped, NotApplicable:
		}
	}
	return code
}

// Wants are the accepted outcomes of each phase.
type Wants [phases]Outcome

// MarshalText writes "before applied removed", or all four phases where a case changes its rule.
func (w Wants) MarshalText() ([]byte, error) {
	if w.always() {
		return []byte(w[Before].String()), nil
	}
	var f []string
	for _, p := range Phases() {
		if p != Changed || w[p] != 0 {
			f = append(f, w[p].String())
		}
	}
	return []byte(strings.Join(f, " ")), nil
}

// always says whether the same is wanted in all phases.
func (w Wants) always() bool { return w == Wants{w[0], w[0], w[0], w[0]} }

// UnmarshalText reads one outcome for all phases, three for before, applied and removed, or four.
func (w *Wants) UnmarshalText(b []byte) error {
	f := strings.Fields(string(b))
	var os []Outcome
	for _, x := range f {
		o, err := ParseOutcome(x)
		if err != nil {
			return err
		}
		os = append(os, o)
	}
	switch len(os) {
	case 1:
		*w = Wants{os[0], os[0], os[0], os[0]}
	case 3:
		*w = Wants{os[0], os[1], 0, os[2]}
	case 4:
		*w = Wants{os[0], os[1], os[2], os[3]}
	default:
		return fmt.Errorf("want %q: give 1 outcome for all phases, 3 for before, applied and removed, or 4 with changed between the last two", b)
	}
	return nil
}
