package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/printable"
)

// Progress is what a proof says and the one before it did not, or the other way round.
type Progress struct {
	Changes    []Change
	Surprises  News[Surprise]
	Deviations News[Deviation]
	Mistakes   News[input.Mistake] // what could not be taken over
	Faults     []string
	Summary    string // of the later proof
}

// News are things that have come, and things that have gone.
type News[T any] struct{ Came, Went []T }

// Since compares two proofs. A call is compared where both were asked for it: unasked are answers to questions that the earlier proof
// has not, about the objects that it was of.
func Since(before, after *Report, unasked []Answer) Progress {
	was := slices.Concat(before.Answers, unasked)
	return Progress{
		Changes: Changes(askedToo(was, after.Answers), askedToo(after.Answers, was)),
		// What an answer or an object comes to is the same surprise, whatever proves it and wherever its file has it.
		Surprises: news(before.Surprises, after.Surprises, func(s Surprise) string {
			key := s.Name
			for _, o := range s.Objects {
				key += "|" + o.Object
			}
			return key
		}),
		Deviations: news(before.Deviations, after.Deviations, func(d Deviation) string { return fmt.Sprintf("%s|%s|%s|%s", d.Kind, d.From, d.To, d.As) }),
		Mistakes:   news(before.Mistakes, after.Mistakes, func(m input.Mistake) string { return m.File + "|" + m.What }),
		Faults:     after.Faults, Summary: after.Summary(),
	}
}

// askedToo are answers to questions that others have answers to.
func askedToo(answers, others []Answer) []Answer {
	have := map[string]bool{}
	for _, a := range others {
		have[a.To+asText(a.As)] = true
	}
	return slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool { return !have[a.To+asText(a.As)] })
}

func news[T any](before, after []T, key func(T) string) News[T] {
	lacks := func(all []T, x T) bool {
		return !slices.ContainsFunc(all, func(y T) bool { return key(x) == key(y) })
	}
	var n News[T]
	for _, x := range after {
		if lacks(before, x) {
			n.Came = append(n.Came, x)
		}
	}
	for _, x := range before {
		if lacks(after, x) {
			n.Went = append(n.Went, x)
		}
	}
	return n
}

// WriteText writes it for a terminal.
func (p Progress) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, m := range p.Mistakes.Came {
		fmt.Fprintln(&b, "not taken over: "+m.Error())
	}
	for _, m := range p.Mistakes.Went {
		fmt.Fprintln(&b, "mended: "+m.Error())
	}
	for _, c := range p.Changes {
		c.write(&b)
	}
	for _, d := range p.Deviations.Came {
		d.write(&b)
	}
	for _, d := range p.Deviations.Went {
		fmt.Fprintf(&b, "no %s any more: %s → %s%s\n", d.Kind, d.From, d.To, asText(d.As))
	}
	for _, s := range p.Surprises.Came {
		s.write(&b)
	}
	for _, s := range p.Surprises.Went {
		fmt.Fprintf(&b, "no surprise any more: %s (%s)\n", s.Title, bySources(s.Objects))
	}
	for _, f := range p.Faults {
		fmt.Fprintln(&b, "fault: "+f)
	}
	if b.Len() == 0 {
		fmt.Fprintln(&b, "every call comes out as before")
	}
	fmt.Fprintln(&b, p.Summary)
	if _, err := io.WriteString(printable.Writer(w), b.String()); err != nil {
		return fmt.Errorf("print what has changed: %w", err)
	}
	return nil
}
