package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// runName is the JUnit test case that stands for the run itself.
const runName = "run"

// The elements and attributes are those that the schema of Jenkins' xUnit plugin has (junit-10.xsd), which is the
// strictest reader; GitHub's and GitLab's read a part of them. Ginkgo's types have attributes that it refuses.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     junitSeconds `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       junitSeconds    `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string       `xml:"name,attr"`
	Classname string       `xml:"classname,attr"`
	Time      junitSeconds `xml:"time,attr"`
	Skipped   *junitWhy    `xml:"skipped"`
	Error     *junitWhy    `xml:"error"`
	Failure   *junitWhy    `xml:"failure"`
	SystemOut string       `xml:"system-out,omitempty"`
}

type junitWhy struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junitSeconds is written without exponent.
type junitSeconds float64

func (s junitSeconds) MarshalXMLAttr(name xml.Name) (xml.Attr, error) {
	return xml.Attr{Name: name, Value: strconv.FormatFloat(float64(s), 'f', 3, 64)}, nil
}

// JUnit renders the report as JUnit XML: one test case for each case, with its phases as its output; a violation is a
// failure, an inconclusive case an error, both with their table and the command that runs the case again; a skip has its
// reason. Faults of the run are the error of one more test case. What XML 1.0 cannot carry is escaped.
func (r *Report) JUnit() ([]byte, error) {
	r = printable.Copy(r)
	suite := junitSuite{
		Name: "mesh-egress-conformance", Tests: r.Counts.Total, Skipped: r.Counts.Skipped + r.Counts.NotApplicable,
		Failures: r.Counts.Violates, Errors: r.Counts.Inconclusive,
		Time: junitSeconds(r.Took), Timestamp: r.Started.Format("2006-01-02T15:04:05"), Properties: r.properties(),
	}
	for _, c := range r.Cases {
		suite.Cases = append(suite.Cases, junitCaseOf(c))
	}
	if len(r.Faults) > 0 {
		first, _, _ := strings.Cut(r.Faults[0], "\n")
		suite.Cases = append(suite.Cases, junitCase{
			Name: runName, Classname: "egress." + runName, Time: junitSeconds(r.Took),
			Error: &junitWhy{first, "fault", strings.Join(r.Faults, "\n")},
		})
		suite.Tests++
		suite.Errors++
	}
	b, err := xml.MarshalIndent(junitSuites{
		Name: suite.Name, Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Time: suite.Time, Suites: []junitSuite{suite},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", junitFile, err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// properties are what the run happened in; what is not known has none.
func (r *Report) properties() []junitProperty {
	e := r.Environment
	var out []junitProperty
	shard := ""
	if r.Shard != nil {
		shard = r.Shard.String()
	}
	for _, p := range []junitProperty{
		{"provider", e.Provider},
		{"cluster", e.Cluster},
		{"kubernetes", e.Kubernetes},
		{"istio", e.Istio},
		{"envoy", e.Envoy},
		{"componentSource", e.Source},
		{"internet", e.Internet},
		{"sabotage", e.Sabotage},
		{"shard", shard},
	} {
		if p.Value != "" {
			out = append(out, p)
		}
	}
	return out
}

func junitCaseOf(c egress.Result) junitCase {
	out := junitCase{Name: c.Case.Name, Classname: "egress." + c.Case.Area, Time: junitSeconds(c.Took.Seconds()), SystemOut: phasesOf(c)}
	message, _, _ := strings.Cut(Text{}.reason(c), "\n")
	switch c.Verdict {
	case egress.Violates:
		out.Failure = &junitWhy{message, "violates", tableAndMore(c)}
	case egress.Inconclusive:
		out.Error = &junitWhy{message, "inconclusive", tableAndMore(c)}
	case egress.Skipped, egress.NotApplicable:
		out.Skipped = &junitWhy{Message: fmt.Sprintf("%s: %s", c.Verdict, c.Why), Type: string(c.Verdict)}
	case egress.Conforms:
	}
	return out
}

// tableAndMore is the case's own table, and all else that is to be said of it.
func tableAndMore(c egress.Result) string {
	var b bytes.Buffer
	Text{}.table(&b, &Report{Cases: []egress.Result{c}})
	b.WriteString("\n" + Explain(c))
	return b.String()
}

// phasesOf says what a case claims and what came out in each phase.
func phasesOf(c egress.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "claim:  %s\nsource: %s\n", further(c.Case.Claim), further(c.Case.Source))
	for _, ph := range c.Phases {
		fmt.Fprintf(&b, "%s (%s)\n", ph.Phase, seconds(ph.Took))
		for i, p := range ph.Probes {
			name := p.Probe
			if name == "" && i < len(c.Case.Probes) {
				name = c.Case.Probes[i].String()
			}
			fmt.Fprintf(&b, "  %s %s: %s\n", mark(p.Verdict), printable.Line(name), Text{}.came(p))
			if p.Evidence != "" {
				fmt.Fprintf(&b, "      %s\n", printable.Line(p.Evidence))
			}
		}
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
