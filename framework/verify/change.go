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

// version is what was heard of the objects at a time.
type version struct {
	answers []Answer
	unasked []Workload // those that could not be asked
}

// Changes compares the answers of two versions of the objects. A workload that is in one of them alone is compared with nobody
// getting out.
func Changes(before, after []Answer) []Change {
	return changes(version{answers: before}, version{answers: after})
}

// changes is Changes, without workloads that could not be asked in one of the versions: nothing is known of what they did.
func changes(before, after version) []Change {
	type ask struct{ from, to, as string }
	who := callers(before, after)
	was, is := map[ask]Answer{}, map[ask]Answer{}
	names := map[ask]string{}
	unknown := map[string]bool{}
	var order []ask
	for _, x := range []struct {
		of   version
		into map[ask]Answer
	}{{before, was}, {after, is}} {
		for _, w := range x.of.unasked {
			unknown[who(w)] = true
		}
		for _, a := range x.of.answers {
			for _, w := range a.class.Members {
				k := ask{who(w), a.To, a.As}
				if names[k] == "" {
					order = append(order, k)
				}
				names[k] = w.Label()
				x.into[k] = a
			}
		}
	}
	var out []Change
	for _, k := range order {
		if unknown[k.from] {
			continue
		}
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
		out[i].From = append(out[i].From, names[k])
	}
	slices.SortStableFunc(out, func(a, b Change) int { return changeRank(a.Kind) - changeRank(b.Kind) })
	return out
}

// callers tells the workloads of versions apart: by namespace and name, so that one whose kind changes stays who it is; by kind,
// too, where one version has several of a name.
func callers(versions ...version) func(Workload) string {
	several := map[string]bool{}
	for _, v := range versions {
		kinds := map[string]string{}
		note := func(w Workload) {
			if kind, have := kinds[w.path()]; have && kind != w.Kind {
				several[w.path()] = true
			}
			kinds[w.path()] = w.Kind
		}
		for _, w := range v.unasked {
			note(w)
		}
		for _, a := range v.answers {
			for _, w := range a.class.Members {
				note(w)
			}
		}
	}
	return func(w Workload) string {
		if several[w.path()] {
			return w.Kind + " " + w.path()
		}
		return w.path()
	}
}

func changeRank(k ChangeKind) int {
	return slices.Index([]ChangeKind{Opens, Closes, Redirects, Unclear}, k)
}

func change(old Answer, had bool, now Answer, has bool) (Change, bool) {
	c := Change{Before: brief(old, had), After: brief(now, has), By: now.By}
	open, opens := openness(old, had), openness(now, has)
	switch {
	case had && has && (old.State == Unproven) != (now.State == Unproven):
		c.Kind = Unclear
	case open == opens && (c.Before == c.After || open == 0):
		return c, false
	case opens > open:
		c.Kind = Opens
	case open > opens:
		c.Kind, c.By = Closes, old.By
	default:
		c.Kind = Redirects
	}
	return c, true
}

// openness is how far an answer is open: not at all, it gets out and fails, or it is answered.
func openness(a Answer, there bool) int {
	switch {
	case !there || !a.out():
		return 0
	case a.Arrived:
		return 1
	}
	return 2
}

// brief is an answer in a few words.
func brief(a Answer, there bool) string {
	switch {
	case !there:
		return "no such workload"
	case a.out():
		s := "allowed"
		switch {
		case a.Arrived:
			s = "failing (" + a.Outcome.String() + "), gets out"
		case a.Passthrough:
			s += " (passthrough)"
		case !a.Registered:
			s += " (past the sidecar)"
		}
		s += fmt.Sprintf(" %s, %s", way(a.Via), tlsBy(a.Encrypted))
		if a.Landed != "" && a.Landed != a.question.Host {
			s += ", at " + a.Landed
		}
		return s
	case a.State == Led:
		return "led to " + a.As
	case a.State == Fails:
		return "failing (" + a.Outcome.String() + ")"
	}
	return strings.TrimSpace(string(a.State) + " (" + a.Outcome.String() + ")")
}
