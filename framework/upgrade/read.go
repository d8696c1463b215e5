package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/json"

	"mesh-egress-conformance/framework/input"
)

// schemas is what upgrade.json of any age begins its schema with.
const schemas = "mesh-egress-conformance/upgrade/"

// IsSchema says whether a report that names this schema is one of an upgrade, of any age.
func IsSchema(s string) bool { return strings.HasPrefix(s, schemas) }

// Read reads an upgrade.json, to render it again. The first ones have no moments and no targets through a gateway; what a later
// egressctl has added to the schema is passed over. A file that is cut off, contradicts itself, or is of a schema that this
// egressctl does not know, is an error that names the file.
func Read(path string) (*Report, error) {
	b, err := input.ReadFile(path, input.MaxReport)
	if err != nil {
		return nil, fmt.Errorf("read the report of an upgrade: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read the report of an upgrade %s: %w", path, err)
	}
	return r, nil
}

func parse(b []byte) (*Report, error) {
	var head struct {
		Schema string `json:"schema"`
	}
	err := json.UnmarshalCaseSensitivePreserveInts(b, &head)
	switch bad, at := json.SyntaxErrorOffset(err); {
	case bad && at >= int64(len(bytes.TrimSpace(b))):
		return nil, fmt.Errorf("it is cut off after %d bytes: take the whole file, or upgrade again: %w", len(b), err)
	case err != nil:
		return nil, fmt.Errorf("it is no upgrade.json: %w", err)
	case head.Schema != Schema && IsSchema(head.Schema):
		return nil, fmt.Errorf("its schema %q is of another egressctl, a newer one, which can render it: this one reads %q", head.Schema, Schema)
	case head.Schema != Schema:
		return nil, fmt.Errorf("schema %q is no report of an upgrade: give the upgrade.json that egressctl upgrade has written (%s)", head.Schema, Schema)
	}
	var r Report
	strict, err := json.UnmarshalStrict(b, &r, json.DisallowDuplicateFields)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	return &r, r.check()
}

// counts of attempts, which a report has three times: in all, by phase, and by phase and target.
type counts struct{ Requests, Failures, Leaks, Unknown int }

func (c counts) add(d counts) counts {
	return counts{c.Requests + d.Requests, c.Failures + d.Failures, c.Leaks + d.Leaks, c.Unknown + d.Unknown}
}

// check says where a report contradicts itself.
func (r *Report) check() error {
	var all counts
	for _, p := range r.Phases {
		var sum counts
		for _, t := range p.Targets {
			sum = sum.add(counts{t.Requests, t.Failures, t.Leaks, t.Unknown})
		}
		said := counts{p.Requests, p.Failures, p.Leaks, p.Unknown}
		if said != sum {
			return fmt.Errorf("its counts of phase %q are %+v, and those of the phase's targets are %+v", p.Name, said, sum)
		}
		all = all.add(sum)
	}
	if said := (counts{r.Requests, r.Failures, r.Leaks, r.Unknown}); said != all {
		return fmt.Errorf("its counts are %+v, and those of its phases are %+v", said, all)
	}
	for _, i := range r.Timeline {
		if !slices.Contains([]string{ItemPhase, ItemEvent, ItemDrop, ItemLeak}, i.Kind) {
			return fmt.Errorf("its timeline has the unknown kind %q", i.Kind)
		}
	}
	return nil
}
