package suites

import (
	_ "embed"
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/input"
)

// Sabotage is a mesh that is broken on purpose and the verdicts that must come of it.
type Sabotage struct {
	Name string `json:"name"`
	What string `json:"what"`
	Do   string `json:"do,omitempty"` // an action of the harness
	// Names of cases by the verdict that they must get.
	Conforms     []string `json:"conforms,omitempty"`
	Violates     []string `json:"violates,omitempty"`
	Inconclusive []string `json:"inconclusive,omitempty"`
}

//go:embed sabotages.yaml
var sabotagesYAML []byte

// Sabotages returns the list, checked against the built-in cases.
func Sabotages() ([]Sabotage, error) {
	var all []Sabotage
	if err := input.Unmarshal("sabotages.yaml", sabotagesYAML, &all); err != nil {
		return nil, fmt.Errorf("read the list of sabotages: %w", err)
	}
	cases, _, err := Load()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, c := range cases {
		known[c.Name] = true
	}
	for _, s := range all {
		if s.Do != "" && len(s.Conforms) > 0 {
			return nil, fmt.Errorf("sabotage %s: no case may conform on a broken mesh", s.Name)
		}
		for _, n := range s.Cases() {
			if !known[n] {
				return nil, fmt.Errorf("sabotage %s names the unknown case %q", s.Name, n)
			}
		}
	}
	return all, nil
}

// Cases names all cases that the sabotage is tried on.
func (s Sabotage) Cases() []string { return slices.Concat(s.Conforms, s.Violates, s.Inconclusive) }
