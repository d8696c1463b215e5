package verify

import (
	"fmt"
	"slices"
	"strings"
)

// ChangeKind is what a change of the objects does to a call.
type ChangeKind string

// The kinds of changes, the gravest first.
const (
	Opens     ChangeKind = "opens"
	Closes    ChangeKind = "closes"
	Redirects ChangeKind = "redirects" // it goes another way, lands elsewhere, or is encrypted by somebody else
	Unclear   ChangeKind = "unclear"   // one of the two was not proven
)

// Change is a call that comes out otherwise than before.
type Change struct {
	Kind   ChangeKind `json:"kind"`
	From   []string   `json:"from"` // workloads
	To     string     `json:"to"`
	As     string     `json:"as,omitempty"`
	Before string     `json:"before"`
	After  string     `json:"after"`
	By     []Source   `json:"by,omitempty"` // objects that decide now; where it is closed, those that decided before
}

// Changes compares the answers of two versions of the objects. A workload that is in one of them alone is compared with nobody
// getting out.
func Changes(before, after []Answer) []Change {
	type ask struct{ from, to, as string }
	was, is := map[ask]Answer{}, map[ask]Answer{}
	var order []ask
	for _, x := range []struct {
		answers []Answer
		into    map[ask]Answer
	}{{before, was}, {after, is}} {
		for _, a := range x.answers {
			for _, w := range a.class.Members {
				k := ask{w.Label(), a.To, a.As}
				if _, have := was[k]; !have {
					if _, have := is[k]; !have {
						order = append(order, k)
					}
				}
				x.into[k] = a
			}
		}
	}
	var out []Change
	for _, k := range order {
		old, had := was[k]
		now, has := is[k]
		c, differs := change(old, had, now, has)
		if !differs {
			continue
		}
		c.To, c.As = k.to, k.as
		i := slices.IndexFunc(out, func(x Change) bool {
			return x.Kind == c.Kind && x.To == c.To && x.As == c.As && x.Before == c.Before && x.After == c.After && slices.Equal(x.By, c.By)
		})
		if i < 0 {
			out = append(out, c)
			i = len(out) - 1
		}
		out[i].From = append(out[i].From, k.from)
	}
	slices.SortStableFunc(out, func(a, b Change) int { return changeRank(a.Kind) - changeRank(b.Kind) })
	return out
}

func changeRank(k ChangeKind) int {
	return slices.Index([]ChangeKind{Opens, Closes, Redirects, Unclear}, k)
}

func change(old Answer, had bool, now Answer, has bool) (Change, bool) {
	c := Change{Before: brief(old, had), After: brief(now, has), By: now.By}
	open, opens := had && old.State == Allowed, has && now.State == Allowed
	switch {
	case had && has && (old.State == Unproven) != (now.State == Unproven):
		c.Kind = Unclear
	case open == opens && c.Before == c.After, !open && !opens:
		return c, false
	case opens && !open:
		c.Kind = Opens
	case open && !opens:
		c.Kind, c.By = Closes, old.By
	default:
		c.Kind = Redirects
	}
	return c, true
}

// brief is an answer in a few words.
func brief(a Answer, there bool) string {
	switch {
	case !there:
		return "no such workload"
	case a.State == Allowed:
		s := "allowed"
		if a.Passthrough {
			s += " (passthrough)"
		} else if !a.Registered {
			s += " (past the sidecar)"
		}
		s += fmt.Sprintf(" %s, %s", way(a.Via), tlsBy(a.Encrypted))
		if a.Landed != "" && a.Landed != a.question.Host {
			s += ", at " + a.Landed
		}
		return s
	case a.State == Led:
		return "led to " + a.As
	}
	return strings.TrimSpace(string(a.State) + " (" + a.Outcome.String() + ")")
}
