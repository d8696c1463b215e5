package report

import (
	"bytes"
	"errors"
	"fmt"

	"sigs.k8s.io/json"

	"mesh-egress-conformance/framework/input"
)

// Read reads a whole report.json of today's schema, to render it again, and refuses one that contradicts itself. What
// compares reports reads them in its own way, of any age and without their evidence (framework/compare).
func Read(path string) (*Report, error) {
	b, err := input.ReadFile(path, input.MaxReport)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	return r, nil
}

func parse(b []byte) (*Report, error) {
	var r Report
	strict, err := json.UnmarshalStrict(b, &r, json.DisallowDuplicateFields)
	if bad, at := json.SyntaxErrorOffset(err); bad && at >= int64(len(bytes.TrimSpace(b))) {
		return nil, fmt.Errorf("it is cut off after %d bytes: take the whole file, or run the cases again: %w", len(b), err)
	}
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("schema %q is not %q", r.Schema, Schema)
	}
	var have Counts
	seen := map[string]bool{}
	for _, c := range r.Cases {
		if !have.Add(c.Verdict) {
			return nil, fmt.Errorf("case %q has the unknown verdict %q", c.Case.Name, c.Verdict)
		}
		if seen[c.Case.Name] {
			return nil, fmt.Errorf("case %q is in it twice", c.Case.Name)
		}
		seen[c.Case.Name] = true
	}
	if have != r.Counts {
		return nil, fmt.Errorf("its counts are %+v, and its cases are %+v", r.Counts, have)
	}
	return &r, nil
}
