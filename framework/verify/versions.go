package verify

import (
	"fmt"
	"slices"
	"strings"
)

// OtherVersion is the name of the surprise that something behaves differently in another version of Istio.
const OtherVersion = "other-version"

// Compare adds to a report what the same questions come to in another version of Istio, whose report is given: calls that come out
// otherwise, as surprises, and what is not as expected there and is here. What was not proven there is a fault here: nothing can be
// said of it.
func (r *Report) Compare(other *Report) {
	r.Others = append(r.Others, other.Istio)
	r.Surprises = append(r.Surprises, differences(r, other)...)
	for _, d := range other.Deviations {
		if slices.ContainsFunc(r.Deviations, func(x Deviation) bool { return x.Kind == d.Kind && x.From == d.From && x.To == d.To && x.As == d.As }) {
			continue
		}
		d.What = "in Istio " + other.Istio + ": " + d.What
		r.Deviations = append(r.Deviations, d)
	}
	for _, m := range other.Mistakes {
		if !slices.Contains(r.Mistakes, m) {
			m.What = "in Istio " + other.Istio + ": " + m.What
			r.Mistakes = append(r.Mistakes, m)
		}
	}
	for _, f := range other.Faults {
		r.Faults = append(r.Faults, "in Istio "+other.Istio+": "+f)
	}
	if n := other.Count(Unproven); n > 0 {
		r.Faults = append(r.Faults, fmt.Sprintf("in Istio %s: %d answers are unproven, and are not compared", other.Istio, n))
	}
}

// NotAsked notes that another version could not be asked.
func (r *Report) NotAsked(version string, why error) {
	r.Faults = append(r.Faults, fmt.Sprintf("Istio %s was not asked: %v", version, why))
}

// differences are the calls that come out otherwise in another version, by the objects that decide about them.
func differences(here, there *Report) []Surprise {
	var out []Surprise
	for _, c := range compared(there.Answers, here.Answers) {
		if c.Kind == Unclear {
			continue
		}
		proof := fmt.Sprintf("%s → %s%s: in Istio %s %s, in Istio %s %s", strings.Join(c.From, ", "), c.To, asText(c.As), there.Istio, c.Before, here.Istio, c.After)
		i := slices.IndexFunc(out, func(s Surprise) bool { return slices.Equal(s.Objects, c.By) })
		if i < 0 {
			out = append(out, Surprise{
				Name: OtherVersion, Title: "it behaves differently in another Istio version", Objects: c.By,
				Why:    fmt.Sprintf("Istio %s and Istio %s make different things of the same objects: an upgrade changes what gets out, and no file shows it", there.Istio, here.Istio),
				Remedy: "write what both versions take alike, or upgrade knowing it; egressctl matrix runs the cases that say what has changed from one version to the next",
			})
			i = len(out) - 1
		}
		out[i].Proof = append(out[i].Proof, proof)
	}
	for i := range out {
		out[i].Proof = few(out[i].Proof)
	}
	return out
}

// compared are the changes between answers to questions that both were asked, with the objects of either side.
func compared(before, after []Answer) []Change {
	out := Changes(askedToo(before, after), askedToo(after, before))
	for i := range out {
		c := &out[i]
		if len(c.By) > 0 {
			continue
		}
		for _, a := range slices.Concat(before, after) { // nobody decides about it: whose question it is
			if a.To == c.To && a.As == c.As && len(a.question.About) > 0 {
				c.By = a.question.About
				break
			}
		}
	}
	return out
}
