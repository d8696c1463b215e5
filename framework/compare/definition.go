package compare

import (
	"bytes"
	encjson "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// words are the fields of a case that say what it is about and change nothing of what it does; conditions those that
// decide whether it runs.
var (
	words      = []string{"name", "area", "claim", "source", "observed", "row", "labels"}
	conditions = []string{"since", "until", "needs"}
)

// changed names the fields in which two results have another definition of their case; there what came out may differ
// because of that. Where a case did not run, what its fixtures are is not known.
func changed(x, y *Case) []string {
	return differing(x, y, func(field string) bool { return !slices.Contains(words, field) && !slices.Contains(conditions, field) })
}

// conditionsChanged is changed for what decides whether the case runs.
func conditionsChanged(x, y *Case) []string {
	return differing(x, y, func(field string) bool { return slices.Contains(conditions, field) })
}

func differing(x, y *Case, counts func(field string) bool) []string {
	var out []string
	if !bytes.Equal(x.raw, y.raw) {
		a, b := x.definition(), y.definition()
		all := maps.Clone(a)
		maps.Copy(all, b)
		for _, f := range slices.Sorted(maps.Keys(all)) {
			if counts(f) && !reflect.DeepEqual(a[f], b[f]) {
				out = append(out, f)
			}
		}
	}
	if counts("fixtures") && !slices.Contains(out, "fixtures") && x.fixtures() != y.fixtures() && x.fixtures() != "" && y.fixtures() != "" {
		out = append(out, "fixtures")
	}
	return out
}

// definition is the case by field, in the form of today.
func (c *Case) definition() map[string]any {
	var fields map[string]any
	if err := encjson.Unmarshal(c.raw, &fields); err != nil {
		return map[string]any{"case": string(c.raw)} // comparable all the same
	}
	modernize(fields)
	var today egress.Case
	b, err := encjson.Marshal(fields)
	if err == nil {
		err = encjson.Unmarshal(b, &today)
	}
	if err == nil {
		b, err = encjson.Marshal(today)
	}
	var out map[string]any
	if err != nil || encjson.Unmarshal(b, &out) != nil {
		return fields // of an age that nothing of today says
	}
	return out
}

// modernize gives the fields of a case of schema v1 their names of today.
func modernize(fields map[string]any) {
	if needs, old := fields["needs"].(map[string]any); old {
		fields["needs"] = needs["features"]
	}
	probes, _ := fields["probes"].([]any)
	for _, p := range probes {
		probe, _ := p.(map[string]any)
		wants, old := probe["wants"].([]any)
		if !old {
			continue
		}
		var each []string
		for _, w := range wants {
			each = append(each, fmt.Sprint(w))
		}
		probe["want"] = strings.Join(each, " ")
		delete(probe, "wants")
	}
}

// fixtures is what the case's fixtures have made; "" where it has none, or has not run. Fixtures are named in a case and
// lie elsewhere, so only what was applied shows that they have changed.
func (c *Case) fixtures() string {
	var has struct {
		Fixtures []string `json:"fixtures"`
	}
	if len(c.applied) == 0 || encjson.Unmarshal(c.raw, &has) != nil || len(has.Fixtures) == 0 {
		return ""
	}
	return report.WithoutRun(strings.Join(c.applied, "---\n"))
}

// Outdated says in what a report is of other cases than these: cases that it lacks, that are no more, or that have
// changed. What their fixtures are is not compared.
func (c *Column) Outdated(cases []egress.Case) ([]string, error) {
	var out []string
	today := map[string]bool{}
	for _, k := range cases {
		today[k.Name] = true
		raw, err := encjson.Marshal(k)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", k.Name, err)
		}
		have := c.find(k.Name)
		if have == nil {
			out = append(out, k.Name+" is not in it")
			continue
		}
		now := &Case{raw: raw}
		if fields := slices.Concat(changed(have, now), conditionsChanged(have, now)); len(fields) > 0 {
			out = append(out, fmt.Sprintf("%s has changed since (%s)", k.Name, strings.Join(fields, ", ")))
		}
	}
	for _, x := range c.Cases {
		if !today[x.Name] {
			out = append(out, x.Name+" is no case any more")
		}
	}
	return out, nil
}
