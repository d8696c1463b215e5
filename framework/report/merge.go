package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Part is one report of several that belong together.
type Part struct {
	File   string // that it was read from, for messages and to find its bundles
	Report *Report
}

// name is what messages call the part.
func (p Part) name() string {
	if p.Report.Shard == nil {
		return p.File
	}
	return fmt.Sprintf("%s (shard %s)", p.File, p.Report.Shard)
}

// Merge makes one report of the reports of several machines. They must be of the same versions, provider and internet.
// Either all are shards of one selection, or none is a shard and no case is in two of them; what does not fit is an error
// that names the files. A missing shard is a fault of the merged report, which is no success then.
//
// The cases of shards come back into the order of the selection. The merged report began when the first of the runs
// did, and took until the last of them had ended.
func Merge(parts []Part) (*Report, error) {
	if len(parts) == 0 {
		return nil, errors.New("there is no report to merge")
	}
	parts = slices.Clone(parts)
	if !slices.ContainsFunc(parts, func(p Part) bool { return p.Report.Shard == nil }) {
		slices.SortStableFunc(parts, func(a, b Part) int { return a.Report.Shard.Number - b.Report.Shard.Number })
	}
	err := errors.Join(alike(parts), shards(parts))
	if err == nil {
		err = apart(parts)
	}
	if err != nil {
		return nil, fmt.Errorf("these reports do not belong together: %w", err)
	}
	out := &Report{Schema: Schema, Started: parts[0].Report.Started}
	for _, p := range parts {
		if p.Report.Started.Before(out.Started) {
			out.Started = p.Report.Started
		}
		for _, f := range p.Report.Faults {
			out.Faults = append(out.Faults, p.name()+": "+f)
		}
	}
	for _, p := range parts {
		out.Took = max(out.Took, offset(p, out.Started)+p.Report.Took)
	}
	out.Environment = together(parts, out.Started)
	out.Faults = append(out.Faults, missing(parts)...)
	out.Cases = dealtBack(parts)
	out.Counts = count(out.Cases)
	return out, nil
}

// offset is how many seconds after a moment the part's run began.
func offset(p Part, since time.Time) float64 { return p.Report.Started.Sub(since).Seconds() }

// alike says where the parts were not run on the same. What a report does not know, as that of a run that could not begin,
// contradicts nothing.
func alike(parts []Part) error {
	var errs error
	for _, field := range []struct {
		name string
		of   func(Environment) string
	}{
		{"provider", func(e Environment) string { return e.Provider }},
		{"Kubernetes version", func(e Environment) string { return e.Kubernetes }},
		{"Istio version", func(e Environment) string { return e.Istio }},
		{"Envoy version", func(e Environment) string { return e.Envoy }},
		{"component source", func(e Environment) string { return e.Source }},
		{"internet", internetOf},
		{"sabotage", func(e Environment) string { return e.Sabotage }},
	} {
		var first *Part
		for i, p := range parts {
			value := field.of(p.Report.Environment)
			switch {
			case value == "" && field.name != "sabotage":
			case first == nil:
				first = &parts[i]
			case field.of(first.Report.Environment) != value:
				errs = errors.Join(errs, fmt.Errorf("the %s of %s is %q, and that of %s is %q", field.name, first.name(), field.of(first.Report.Environment), p.name(), value))
			}
		}
	}
	return errs
}

// internetOf is which internet it was, without what of it was reached.
func internetOf(e Environment) string {
	kind, _, _ := strings.Cut(e.Internet, " ")
	return strings.Trim(kind, ",:;")
}

// apart says which cases are in two parts.
func apart(parts []Part) error {
	var errs error
	where := map[string]Part{}
	for _, p := range parts {
		both := map[string][]string{} // by the other part's name
		for _, c := range p.Report.Cases {
			if other, twice := where[c.Case.Name]; twice {
				both[other.name()] = append(both[other.name()], c.Case.Name)
				continue
			}
			where[c.Case.Name] = p
		}
		for _, other := range slices.Sorted(maps.Keys(both)) {
			errs = errors.Join(errs, fmt.Errorf("%s and %s both have %s", other, p.name(), several(both[other])))
		}
	}
	return errs
}

// several names some of many cases.
func several(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d cases more", strings.Join(names[:most], ", "), len(names)-most)
}

// shards says where parts are not shards of one selection. None of them need be one.
func shards(parts []Part) error {
	var errs error
	first := parts[0]
	for i, p := range parts {
		s, f := p.Report.Shard, first.Report.Shard
		if (s == nil) != (f == nil) {
			return fmt.Errorf("%s and %s: one is a shard, and the other is not", first.name(), p.name())
		}
		if s == nil {
			continue
		}
		if err := s.check(len(p.Report.Cases)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", p.File, err))
			continue
		}
		switch {
		case s.Of != f.Of:
			errs = errors.Join(errs, fmt.Errorf("%s and %s: the cases were divided in different ways", first.name(), p.name()))
		case s.Selection != f.Selection || s.Cases != f.Cases:
			errs = errors.Join(errs, fmt.Errorf("%s and %s: they are of different selections of cases, or of different versions of them", first.name(), p.name()))
		case i > 0 && parts[i-1].Report.Shard != nil && parts[i-1].Report.Shard.Number == s.Number:
			errs = errors.Join(errs, fmt.Errorf("%s and %s: the same shard twice", parts[i-1].name(), p.name()))
		}
	}
	return errs
}

// missing is a fault for every shard that is not there.
func missing(parts []Part) []string {
	first := parts[0].Report.Shard
	if first == nil {
		return nil
	}
	var out []string
	for n := 1; n <= first.Of; n++ {
		if slices.ContainsFunc(parts, func(p Part) bool { return p.Report.Shard.Number == n }) {
			continue
		}
		s := *first
		s.Number = n
		out = append(out, fmt.Sprintf("shard %s is missing: %d of %d cases have no verdict", s, s.Size(), s.Cases))
	}
	return out
}

// dealtBack are all results. Shards took their cases one by one from one list, and are put back in the same way.
func dealtBack(parts []Part) []egress.Result {
	out := []egress.Result{}
	if parts[0].Report.Shard == nil {
		for _, p := range parts {
			for _, c := range p.Report.Cases {
				out = append(out, found(c, p.File))
			}
		}
		return out
	}
	for i := 0; ; i++ {
		before := len(out)
		for _, p := range parts {
			if i < len(p.Report.Cases) {
				out = append(out, found(p.Report.Cases[i], p.File))
			}
		}
		if len(out) == before {
			return out
		}
	}
}

// found is a result whose bundle is named where it is now: beside the report, which was brought here from another machine.
func found(r egress.Result, file string) egress.Result {
	if r.BundleAt == "" {
		return r
	}
	here := filepath.Join(filepath.Dir(file), bundles, filepath.Base(r.BundleAt))
	if st, err := os.Stat(here); err == nil && st.IsDir() {
		r.BundleAt = here
	}
	return r
}

// together is the environment of all parts. Moments are seconds from the start of the first.
func together(parts []Part, started time.Time) Environment {
	var out Environment
	var clusters, internets []string
	timings := map[string]float64{}
	for _, p := range parts {
		e := p.Report.Environment
		out.Provider, out.Kubernetes, out.Istio = cmp.Or(out.Provider, e.Provider), cmp.Or(out.Kubernetes, e.Kubernetes), cmp.Or(out.Istio, e.Istio)
		out.Envoy, out.Source, out.Sabotage = cmp.Or(out.Envoy, e.Envoy), cmp.Or(out.Source, e.Source), cmp.Or(out.Sabotage, e.Sabotage)
		clusters, internets = add(clusters, e.Cluster), add(internets, e.Internet)
		out.Deviations, out.Foreign, out.Components = add(out.Deviations, e.Deviations...), add(out.Foreign, e.Foreign...), add(out.Components, e.Components...)
		name := filepath.Base(filepath.Dir(p.File))
		if p.Report.Shard != nil {
			name = p.Report.Shard.String()
		}
		for step, at := range e.Timings {
			timings[name+" "+step] = at + offset(p, started)
		}
	}
	out.Cluster, out.Internet = strings.Join(clusters, ", "), strings.Join(internets, "; ")
	if len(timings) > 0 {
		out.Timings = timings
	}
	return out
}

// add appends what is not there yet and not empty.
func add[T comparable](to []T, values ...T) []T {
	var none T
	for _, v := range values {
		if v != none && !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	return to
}
