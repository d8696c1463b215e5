package egress

import (
	"errors"
	"fmt"
	"slices"
)

// Variant is what a probe demands on some Istio versions in place of its own demands: where Istio has changed, one case
// says what it did before and what it does now. A field that is left out stays the probe's.
type Variant struct {
	Since string `json:"since,omitempty"` // first Istio minor version
	Until string `json:"until,omitempty"` // last one
	Wants *Wants `json:"want,omitempty"`

	ArrivesAt ByPhase[string]            `json:"arrivesAt,omitempty"`
	Output    ByPhase[string]            `json:"output,omitempty"`
	Arrival   ByPhase[map[string]string] `json:"arrival,omitempty"`
	AccessLog ByPhase[map[string]string] `json:"accessLog,omitempty"`
	Arrivals  ByPhase[int]               `json:"arrivals,omitempty"`
}

// Versioned are the fields of a probe that a variant may replace.
func Versioned() []string {
	return []string{"want", "arrivesAt", "output", "arrival", "accessLog", "arrivals"}
}

// about says whether a version is one of the variant's.
func (v Variant) about(version string) bool {
	_, err := parseMinor(version)
	return err == nil && !Older(version, v.Since) && !Older(v.Until, version)
}

// onto is the probe with the variant's demands.
func (v Variant) onto(p Probe) Probe {
	p.Versions = nil
	if v.Wants != nil {
		p.Wants = *v.Wants
	}
	if v.ArrivesAt != nil {
		p.ArrivesAt = v.ArrivesAt
	}
	if v.Output != nil {
		p.Output = v.Output
	}
	if v.Arrival != nil {
		p.Arrival = v.Arrival
	}
	if v.AccessLog != nil {
		p.AccessLog = v.AccessLog
	}
	if v.Arrivals != nil {
		p.Arrivals = v.Arrivals
	}
	return p
}

// On is the case as it is to be run on an Istio version such as "1.31": its probes demand what they demand there.
func (c Case) On(version string) Case {
	c.Probes = slices.Clone(c.Probes)
	for i, p := range c.Probes {
		c.Probes[i].Versions = nil
		for _, v := range p.Versions {
			if v.about(version) {
				c.Probes[i] = v.onto(p)
				break
			}
		}
	}
	return c
}

// checkVariants finds mistakes in the variants of a probe; each must make a sound probe for versions that no other has.
func (c Case) checkVariants(p Probe) error {
	for i, v := range p.Versions {
		for _, x := range []string{v.Since, v.Until} {
			if _, err := parseMinor(x); x != "" && err != nil {
				return fmt.Errorf("versions: %w", err)
			}
		}
		switch {
		case v.Since == "" && v.Until == "":
			return errors.New("versions: say since, until or both: the first and the last Istio version that it is about")
		case Older(v.Until, v.Since):
			return fmt.Errorf("versions: until %s comes before since %s", v.Until, v.Since)
		case v.Wants == nil && v.ArrivesAt == nil && v.Output == nil && v.Arrival == nil && v.AccessLog == nil && v.Arrivals == nil:
			return fmt.Errorf("versions: nothing is demanded; give one of %v", Versioned())
		}
		for _, w := range p.Versions[:i] {
			if !Older(v.Until, w.Since) && !Older(w.Until, v.Since) {
				return fmt.Errorf("versions: two of them are about the same version: %s and %s", w, v)
			}
		}
		if err := c.checkProbe(v.onto(p)); err != nil {
			return fmt.Errorf("versions (%s): %w", v, err)
		}
	}
	return nil
}

func (v Variant) String() string {
	switch {
	case v.Since == "":
		return "until " + v.Until
	case v.Until == "":
		return "since " + v.Since
	}
	return v.Since + " to " + v.Until
}
