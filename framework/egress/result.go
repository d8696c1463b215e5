package egress

import "time"

// ProbeResult is one probe in one phase.
type ProbeResult struct {
	Probe    string  `json:"probe"`
	From     string  `json:"from"`
	Phase    Phase   `json:"phase"`
	Want     Outcome `json:"want"`
	Got      Outcome `json:"got"`
	Server   string  `json:"server,omitempty"` // where it arrived
	Verdict  Verdict `json:"verdict"`
	Why      string  `json:"why,omitempty"`      // for everything but conforms
	Evidence string  `json:"evidence,omitempty"` // the witnesses in one line
	Rounds   int     `json:"rounds"`             // attempts until the results were stable
	// Observations are those of the last equal rounds.
	Observations []Observation `json:"observations,omitempty"`
	Control      *Control      `json:"control,omitempty"`
	// Unexplained are arrivals from the client's pod, at the time of the phase, that belong to no probe.
	Unexplained []Arrival `json:"unexplained,omitempty"`
}

// PhaseResult is one phase of a case.
type PhaseResult struct {
	Phase        Phase         `json:"phase"`
	Took         time.Duration `json:"took"`
	Settle       time.Duration `json:"settle,omitempty"`
	Acknowledged bool          `json:"acknowledged"`
	Notes        []string      `json:"notes,omitempty"`
	Probes       []ProbeResult `json:"probes"`
}

// Result is a case with its verdict and everything that it rests on.
type Result struct {
	Case    Case    `json:"case"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
	// Unfinished says that the run ended before the case did (somebody interrupted it, or the cluster died). The
	// verdict is inconclusive then, and says nothing about the case.
	Unfinished bool          `json:"unfinished,omitempty"`
	Started    time.Time     `json:"started"`
	Took       time.Duration `json:"took"`
	Phases     []PhaseResult `json:"phases,omitempty"`
	Applied    []string      `json:"applied,omitempty"` // YAML of the resources
	Rerun      string        `json:"rerun,omitempty"`   // command that runs the case again
	BundleAt   string        `json:"bundle,omitempty"`  // folder with logs and dumps
}

// NotRun is the result of a case that does not run, or has not run yet.
func NotRun(c Case, v Verdict, why string) Result {
	return Result{Case: c, Verdict: v, Why: why, Started: time.Now().UTC()}
}
