package compare

import (
	encjson "encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Difference is one thing that came out otherwise in one run than in another, of a case that both have run. It is what
// every comparison means by "differs": of versions, of times, and of places (parity).
type Difference struct {
	Probe string `json:"probe,omitempty"` // with its phase; "" where the verdicts differ
	// What of it differs: "" is the outcome, or the verdict; else the demand that the case makes on each version.
	What string `json:"what,omitempty"`
	From string `json:"from"`
	To   string `json:"to"`
	// Either says that the case itself accepts both outcomes, on the same version too.
	Either bool `json:"either,omitempty"`
	// Stated says that the case itself demands the one of the earlier version, and the other of the later.
	Stated bool `json:"stated,omitempty"`

	from, to egress.Outcome
}

func (d Difference) String() string {
	s := d.From + " → " + d.To
	if d.What != "" {
		s = d.What + " " + s
	}
	if d.Probe != "" {
		s = d.Probe + ": " + s
	}
	return s
}

// differences are all that two results of a case differ in: their verdicts, or else what their probes came to, phase by
// phase. Probes are in the order of the case.
func differences(x, y *Case, versionX, versionY string) []Difference {
	if x.Verdict != y.Verdict {
		return []Difference{{From: string(x.Verdict), To: string(y.Verdict)}}
	}
	names := func(c *Case) (out []egress.Phase) {
		for _, ph := range c.Phases {
			out = append(out, ph.Phase)
		}
		return out
	}
	if px, py := names(x), names(y); !slices.Equal(px, py) {
		return []Difference{{Probe: "phases", From: fmt.Sprint(px), To: fmt.Sprint(py)}}
	}
	var out []Difference
	for i, ph := range x.Phases {
		other := y.Phases[i]
		if n, m := len(ph.Probes), len(other.Probes); n != m {
			out = append(out, Difference{Probe: ph.Phase.String() + ", probes", From: fmt.Sprint(n), To: fmt.Sprint(m)})
			continue
		}
		for k, p := range ph.Probes {
			q := other.Probes[k]
			if p.Got == q.Got {
				continue
			}
			out = append(out, Difference{
				Probe: ph.Phase.String() + ", " + p.Probe, From: p.Got.String(), To: q.Got.String(), from: p.Got, to: q.Got,
				Either: p.Want.Has(p.Got) && p.Want.Has(q.Got) && q.Want.Has(p.Got) && q.Want.Has(q.Got),
				Stated: p.Want.Has(p.Got) && q.Want.Has(q.Got) && (!p.Want.Has(q.Got) || !q.Want.Has(p.Got)),
			})
		}
	}
	return append(out, demands(x, versionX, versionY)...)
}

// demands are what a case demands otherwise of one Istio version than of another, besides outcomes. Both runs have kept to
// what was demanded of them, so it is a difference of what they did.
func demands(x *Case, versionX, versionY string) []Difference {
	if x.Verdict != egress.Conforms || !strings.Contains(string(x.raw), `"versions"`) {
		return nil
	}
	var c egress.Case
	if err := encjson.Unmarshal(x.raw, &c); err != nil {
		return nil // of an age that had no versions
	}
	a, b := c.On(versionX), c.On(versionY)
	var out []Difference
	for i, p := range a.Probes {
		was, is := fields(p), fields(b.Probes[i])
		for _, f := range egress.Versioned() {
			if f != "want" && !reflect.DeepEqual(was[f], is[f]) {
				out = append(out, Difference{Probe: p.String(), What: f, From: inWords(was[f]), To: inWords(is[f]), Stated: true})
			}
		}
	}
	return out
}

// fields is a probe by the names of its fields.
func fields(p egress.Probe) map[string]any {
	var out map[string]any
	b, err := encjson.Marshal(p)
	if err == nil {
		err = encjson.Unmarshal(b, &out)
	}
	if err != nil { // a probe that was just read can be written
		return map[string]any{"": err.Error()}
	}
	return out
}

// inWords is a demand in one line; what holds in all phases is said once.
func inWords(v any) string {
	if v == nil {
		return "any"
	}
	if phases, ok := v.(map[string]any); ok && len(phases) == len(egress.Phases()) {
		first, same := phases[egress.Before.String()], true
		for _, p := range phases {
			same = same && reflect.DeepEqual(p, first)
		}
		if same {
			v = first
		}
	}
	b, err := encjson.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.ReplaceAll(string(b), `"`, "")
}
