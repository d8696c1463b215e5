package html

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"slices"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// detail is what the page shows of a case when somebody opens it.
type detail struct {
	Name     string         `json:"name"`
	Area     string         `json:"area"`
	Claim    string         `json:"claim"`
	Source   string         `json:"source"`
	Observed string         `json:"observed,omitempty"`
	Verdict  egress.Verdict `json:"verdict"`
	Why      string         `json:"why,omitempty"`
	Labels   []string       `json:"labels,omitempty"`
	Needs    []string       `json:"needs,omitempty"` // with their meaning
	Seconds  float64        `json:"seconds"`
	Applied  []string       `json:"applied,omitempty"`
	Rerun    string         `json:"rerun,omitempty"`
	Bundle   string         `json:"bundle,omitempty"`
	Probes   []string       `json:"probes"`
	Phases   []phase        `json:"phases"`
}

type phase struct {
	Phase        egress.Phase `json:"phase"`
	Seconds      float64      `json:"seconds"`
	Acknowledged bool         `json:"acknowledged"`
	Notes        []string     `json:"notes,omitempty"`
	Probes       []probe      `json:"probes"`
}

// probe is a ProbeResult with what its codes mean.
type probe struct {
	egress.ProbeResult
	GotWords     string        `json:"gotWords"`
	GotMeaning   string        `json:"gotMeaning,omitempty"`
	WantWords    string        `json:"wantWords"`
	Came         string        `json:"came"`
	Observations []observation `json:"observations"` // in place of the embedded ones
}

// observation is an Observation with the path that it proves. Of its arrivals it has those of the probe itself.
type observation struct {
	egress.Observation
	Path   []node `json:"path"`
	Others int    `json:"others,omitempty"` // arrivals of other probes over the same connection of a gateway
}

// others is how many arrivals were left out, by phase, probe and observation.
type others map[[3]int]int

// trim leaves out what the page does not show: arrivals of other probes, which a gateway's pooled connection brings into
// an observation by the hundred. The report itself is not changed.
func trim(c egress.Result) (egress.Result, others) {
	left := others{}
	c.Phases = slices.Clone(c.Phases)
	for i := range c.Phases {
		ph := &c.Phases[i]
		ph.Probes = slices.Clone(ph.Probes)
		for j := range ph.Probes {
			p := &ph.Probes[j]
			p.Observations = slices.Clone(p.Observations)
			for k := range p.Observations {
				o := &p.Observations[k]
				all := len(o.Arrivals)
				o.Arrivals = own(*o)
				if n := all - len(o.Arrivals); n > 0 {
					left[[3]int{i, j, k}] = n
				}
			}
		}
	}
	return c, left
}

// own are the arrivals of the attempt itself: those that carry its id, or none because their protocol has no place for one.
func own(o egress.Observation) []egress.Arrival {
	out := []egress.Arrival{}
	for _, a := range o.Arrivals {
		if a.ProbeID == o.ID || a.ProbeID == "" {
			out = append(out, a)
		}
	}
	return out
}

func detailOf(c egress.Result, left others) detail {
	d := detail{
		Name: c.Case.Name, Area: c.Case.Area, Claim: c.Case.Claim, Source: c.Case.Source, Observed: c.Case.Observed,
		Verdict: c.Verdict, Labels: c.Case.Labels, Seconds: c.Took.Seconds(), Applied: c.Applied, Rerun: c.Rerun, Bundle: c.BundleAt,
		Probes: []string{}, Phases: []phase{},
	}
	if c.Verdict != egress.Conforms {
		d.Why = report.Reason(c)
	}
	for _, n := range c.Case.Needs {
		d.Needs = append(d.Needs, string(n)+": "+n.Meaning())
	}
	for _, p := range c.Case.Probes {
		d.Probes = append(d.Probes, p.String())
	}
	for i, ph := range c.Phases {
		out := phase{ph.Phase, ph.Took.Seconds(), ph.Acknowledged, ph.Notes, []probe{}}
		for j, p := range ph.Probes {
			x := probe{
				ProbeResult: p, GotWords: p.Got.Words(), GotMeaning: p.Got.Meaning(), WantWords: p.Want.Words(), Came: report.Came(p),
				Observations: []observation{},
			}
			for k, o := range p.Observations {
				x.Observations = append(x.Observations, observation{o, path(p.From, o), left[[3]int{i, j, k}]})
			}
			out.Probes = append(out.Probes, x)
		}
		d.Phases = append(d.Phases, out)
	}
	return d
}

// pack is a detail as the page carries it.
func pack(d detail) (string, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(z.Bytes()), nil
}
