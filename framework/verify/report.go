package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// ReportVersion is that of the form of verify.json.
const ReportVersion = 1

// Report is what was found out.
type Report struct {
	Version int    `json:"version"`
	Istio   string `json:"istio"`
	// InPlace says how it was asked in a cluster itself; nil where it was in a dry mesh.
	InPlace *InPlace `json:"inPlace,omitempty"`
	// Others are versions of Istio that were asked the same: what comes out otherwise there is among Surprises.
	Others []string `json:"others,omitempty"`
	// Base is the commit that Changes are counted from; "" for none.
	Base    string             `json:"base,omitempty"`
	Took    float64            `json:"took"`              // seconds
	Timings map[string]float64 `json:"timings,omitempty"` // seconds since the start
	// Assumed are what the input does not say; Ignored what of it does not matter; Mistakes what could not be taken over, so that the result is partial.
	Assumed  []string       `json:"assumed"`
	Ignored  []Ignored      `json:"ignored,omitempty"`
	Mistakes input.Mistakes `json:"mistakes,omitempty"`
	Notices  input.Mistakes `json:"notices,omitempty"`
	Classes  []ClassReport  `json:"classes"`
	// Questions is how many were asked of every class.
	Questions int        `json:"questions"`
	Answers   []Answer   `json:"answers"`
	Surprises []Surprise `json:"surprises"`
	// Expected is the file with expectations; "" for none.
	Expected   string      `json:"expected,omitempty"`
	Deviations []Deviation `json:"deviations,omitempty"`
	Changes    []Change    `json:"changes,omitempty"`
	Faults     []string    `json:"faults,omitempty"`
}

// ClassReport is a class of workloads.
type ClassReport struct {
	Workloads []string `json:"workloads"`
	Sidecar   bool     `json:"sidecar"`
}

// Exit codes of a report.
const (
	exitFine   = 0
	exitDiffer = 1
	exitFault  = 2
)

// ExitCode is 1 for a leak, an outage or a detour, and for a change that opens something where nothing says what is expected; 2
// where the result is partial or something is unproven, of the version that changes are counted from too; else 0.
func (r *Report) ExitCode() int {
	switch {
	case len(r.Deviations) > 0, r.Expected == "" && r.Opened() > 0:
		return exitDiffer
	case r.Partial() || r.Count(Unproven)+r.changed(Unclear) > 0:
		return exitFault
	}
	return exitFine
}

// Opened is how many calls a change opens.
func (r *Report) Opened() int { return r.changed(Opens) }

// changed is how many calls come out otherwise in one way.
func (r *Report) changed(kind ChangeKind) int {
	n := 0
	for _, c := range r.Changes {
		if c.Kind == kind {
			n += len(c.From)
		}
	}
	return n
}

// Against compares the answers with what is expected. What the file says and nobody was asked is a mistake of the report's.
func (r *Report) Against(e *Expectations) {
	var idle input.Mistakes
	r.Expected = e.File
	r.Deviations, idle = e.Judge(r.Answers)
	r.Mistakes = append(r.Mistakes, idle...).Sorted()
}

// Since compares the answers with those of a former version of the objects, which a commit names. What could not be taken over of
// that version is a mistake of the report's too: whatever hangs on it is not proven to be a change.
func (r *Report) Since(commit string, was *Model, before []Answer, now *Model) {
	r.Base, r.Changes = commit, changes(version{before, was.unasked}, version{r.Answers, now.unasked})
	for _, x := range was.Mistakes {
		if !slices.Contains(r.Mistakes, x) {
			r.Mistakes = append(r.Mistakes, x)
		}
	}
	r.Mistakes = r.Mistakes.Sorted()
}

// Partial says whether something of the input was not taken over, or not everything was asked.
func (r *Report) Partial() bool { return len(r.Mistakes)+len(r.Faults) > 0 }

// Count is how many answers have a state.
func (r *Report) Count(s State) int {
	n := 0
	for _, a := range r.Answers {
		if a.State == s {
			n++
		}
	}
	return n
}

// JSON is verify.json.
func (r *Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return append(b, '\n'), nil
}

// Row are answers that differ in nothing but who has asked.
type Row struct {
	Answer
	Who []string // classes, by their first workload and how many more there are
	// More are all rows of which this one is made; nil for one that stands for itself.
	More []Row
}

// Rows puts answers together.
func Rows(answers []Answer) []Row {
	var out []Row
	place := map[string]int{}
	for _, a := range answers {
		who := a.From
		if n := len(a.class.Members); n > 1 {
			who = fmt.Sprintf("%s (+%d)", who, n-1)
		}
		key := fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s|%s", a.To, a.As, a.State, a.Outcome, a.Via, a.Encrypted, a.Landed, bySources(a.By))
		i, have := place[key]
		if !have {
			i = len(out)
			place[key] = i
			out = append(out, Row{Answer: a})
		}
		out[i].Who = append(out[i].Who, who)
	}
	return out
}

// crowd is how many rows of what no object names make one.
const crowd = 4

// Crowded puts rows of what no object names into one where they are many, and come out alike by the same objects for the same
// workloads.
func Crowded(rows []Row) []Row {
	key := func(x Row) string {
		if x.Kind == Named || x.State == Unproven {
			return ""
		}
		return fmt.Sprintf("%q %s %s %s %q", x.Who, x.State, x.Outcome, bySources(x.By), x.Via)
	}
	count := map[string]int{}
	for _, x := range rows {
		count[key(x)]++
	}
	var out []Row
	place := map[string]int{}
	for _, x := range rows {
		k := key(x)
		if k == "" || count[k] < crowd {
			out = append(out, x)
			continue
		}
		if _, have := place[k]; !have {
			place[k] = len(out)
			out = append(out, Row{Answer: x.Answer, Who: x.Who})
		}
		out[place[k]].More = append(out[place[k]].More, x)
	}
	return out
}

// bySources are objects in one line, each with its place.
func bySources(by []Source) string {
	var out []string
	for _, s := range by {
		if text := s.String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

// classReports are the classes that were asked.
func classReports(heard []Heard) []ClassReport {
	var out []ClassReport
	for _, h := range heard {
		c := ClassReport{Sidecar: h.Around.Captured}
		for _, w := range h.Class.Members {
			c.Workloads = append(c.Workloads, w.Label())
		}
		out = append(out, c)
	}
	return out
}

// NewReport makes a report of what the classes of a model were told.
func NewReport(m *Model, o *Outside, heard []Heard) *Report {
	r := &Report{
		Version: ReportVersion, Assumed: m.Assumed, Ignored: m.Ignored, Mistakes: slices.Concat(m.Mistakes, o.Lacking).Sorted(), Notices: m.Notices,
		Classes: classReports(heard), Questions: len(o.Questions), Answers: m.Answers(o, heard),
	}
	if r.Assumed == nil {
		r.Assumed = []string{}
	}
	r.Surprises = m.Surprises(o, heard, r.Answers)
	return r
}
