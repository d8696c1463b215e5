package compare

import (
	"errors"
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// Known is a change that somebody has explained: what it is, between which Istio versions, and who says so.
type Known struct {
	// Since is the first Istio minor version that behaves in the new way. "" is for what Istio does not decide alike from
	// one run to the next: it explains outcomes of which the case accepts either, between any two runs.
	Since string `json:"since,omitempty"`
	// Cases are those that show the change.
	Cases []string `json:"cases"`
	What  string   `json:"what"`
	// Source is a release note of Istio's repository (releasenotes/notes), a page or another text that announces it; an
	// entry without one stands for a change that nobody has announced, and Evidence says where it is written down.
	Source   string `json:"source,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Issue    string `json:"issue,omitempty"` // number in istio/istio, or owner/repository#number
	// From and To are verdicts or outcomes, older version first. Without them, the entry explains what the case itself
	// states by version (versions, since and until), and nothing that the case does not expect.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// ReadKnown reads a file of known changes, checked for its form.
func ReadKnown(name string, b []byte) ([]Known, error) {
	var all []Known
	if err := input.Unmarshal(name, b, &all); err != nil {
		return nil, fmt.Errorf("read the known changes: %w", err)
	}
	var errs error
	for i, k := range all {
		if err := k.check(); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: change %d (%s): %w", name, i+1, k.What, err))
		}
	}
	return all, errs
}

// verdicts are all; From and To may be one.
var verdicts = []egress.Verdict{egress.Conforms, egress.Violates, egress.Inconclusive, egress.Skipped, egress.NotApplicable}

func (k Known) check() error {
	if k.What == "" {
		return errors.New("what is missing: say in one sentence what is another now")
	}
	if len(k.Cases) == 0 {
		return errors.New("cases is missing: name the cases that show it")
	}
	if k.Source == "" && k.Evidence == "" {
		return errors.New("source is missing: name the release note, issue or page; where nobody has announced it, say under evidence where it is written down")
	}
	if k.Since != "" && !egress.Older("0.0", k.Since) {
		return fmt.Errorf("since %q is no Istio minor version such as 1.30", k.Since)
	}
	if (k.From == "") != (k.To == "") {
		return errors.New("give both from and to, or neither")
	}
	for _, side := range []string{k.From, k.To} {
		if _, err := egress.ParseOutcome(side); side != "" && err != nil && !slices.Contains(verdicts, egress.Verdict(side)) {
			return fmt.Errorf("%q is neither a verdict nor an outcome: %w", side, err)
		}
	}
	return nil
}

// between says whether the change lies between two versions, and whether they are in the wrong order: an older version
// after a newer one loses what the change has brought.
func (k Known) between(from, to string) (lies, backwards bool) {
	switch {
	case k.Since == "":
		return true, false
	case egress.Older(from, k.Since) && !egress.Older(to, k.Since):
		return true, false
	case egress.Older(to, k.Since) && !egress.Older(from, k.Since):
		return true, true
	}
	return false, false
}

// explains says whether the entry explains a difference of one of its cases between two versions.
func (k Known) explains(name string, d Difference, from, to string) bool {
	lies, backwards := k.between(from, to)
	if !lies || !slices.Contains(k.Cases, name) {
		return false
	}
	if k.Since == "" {
		return d.Either
	}
	if k.From == "" {
		return d.Stated
	}
	was, is := k.From, k.To
	if backwards {
		was, is = is, was
	}
	return says(was, d.From, d.from) && says(is, d.To, d.to)
}

// says says whether one side of an entry is what came out: the same verdict, or an outcome of the set.
func says(side, text string, got egress.Outcome) bool {
	if set, err := egress.ParseOutcome(side); err == nil && got != 0 {
		return set.Has(got)
	}
	return side == text
}

// By is who explains it.
func (k Known) By() string {
	s := k.Source
	if s == "" {
		s = "not announced, see " + k.Evidence
	}
	if k.Issue != "" {
		s += ", issue " + k.Issue
	}
	return s
}
