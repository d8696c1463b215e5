package suites_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/suites"
)

// The baselines are of the cases of today, and what differs between them is explained. `make update-baselines` makes
// them anew.
func TestBaselines(t *testing.T) {
	files, err := filepath.Glob("../reports/baselines/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("baselines: %v %v", files, err)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Dir(a), filepath.Dir(b)) })
	columns, err := compare.ReadAll(files...)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]*compare.Column{}
	for i, c := range columns {
		if e := c.Environment; filepath.Join(e.Istio, e.Provider+".json") != strings.TrimPrefix(files[i], "../reports/baselines/") || e.Sabotage != "" || len(c.Faults) > 0 || c.Counts.Inconclusive > 0 {
			t.Errorf("%s is of Istio %s on %s (sabotage %q, faults %v, %+v)", files[i], e.Istio, e.Provider, e.Sabotage, c.Faults, c.Counts)
		}
		old, err := c.Outdated(cases)
		if err != nil {
			t.Fatal(err)
		}
		if len(old) > 0 {
			t.Errorf("%s is of other cases; make update-baselines:\n%s", files[i], strings.Join(old, "\n"))
		}
		places[c.Environment.Provider] = append(places[c.Environment.Provider], c)
	}
	known, err := suites.KnownChanges()
	if err != nil {
		t.Fatal(err)
	}
	for place, columns := range places {
		if len(columns) < 2 {
			continue
		}
		c, err := compare.Run(columns, known)
		if err != nil {
			t.Fatal(err)
		}
		if c.ExitCode(true) != 0 || len(c.Unseen) > 0 {
			var text strings.Builder
			if err := c.WriteText(&text, compare.Text{Unseen: true}); err != nil {
				t.Fatal(err)
			}
			t.Errorf("on %s something has changed that nobody has explained, or a known change is not seen:\n%s", place, text.String())
		}
	}
}
