package report

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// runName is the JUnit test case that stands for the run itself.
const runName = "run"

// JUnit renders the report as JUnit XML, with Ginkgo's own types for it: one test case for each
// case, a violation as a failure, an inconclusive case as an error, a skip with its reason. Faults of the run are the
// error of one more test case. What XML 1.0 cannot carry is escaped.
func (r *Report) JUnit() ([]byte, error) {
	r = printable.Copy(r)
	suite := reporters.JUnitTestSuite{
		Name: "mesh-egress-conformance", Package: "suites", Tests: r.Counts.Total,
		Disabled: 0, Skipped: r.Counts.Skipped + r.Counts.NotApplicable,
		Failures: r.Counts.Violates, Errors: r.Counts.Inconclusive,
		Time: r.Took, Timestamp: r.Started.Format("2006-01-02T15:04:05"),
		Properties: reporters.JUnitProperties{Properties: []reporters.JUnitProperty{
			{Name: "provider", Value: r.Environment.Provider},
			{Name: "kubernetes", Value: r.Environment.Kubernetes},
			{Name: "istio", Value: r.Environment.Istio},
			{Name: "envoy", Value: r.Environment.Envoy},
			{Name: "componentSource", Value: r.Environment.Source},
			{Name: "sabotage", Value: r.Environment.Sabotage},
		}},
	}
	for _, c := range r.Cases {
		tc := reporters.JUnitTestCase{Name: c.Case.Name, Classname: "egress." + c.Case.Area, Status: string(c.Verdict), Time: c.Took.Seconds()}
		switch c.Verdict {
		case egress.Violates:
			tc.Failure = &reporters.JUnitFailure{Type: "violates", Message: Text{}.reason(c), Description: Explain(c)}
		case egress.Inconclusive:
			tc.Error = &reporters.JUnitError{Type: "inconclusive", Message: Text{}.reason(c), Description: Explain(c)}
		case egress.Skipped, egress.NotApplicable:
			tc.Skipped = &reporters.JUnitSkipped{Message: fmt.Sprintf("%s: %s", c.Verdict, c.Why)}
		case egress.Conforms:
			tc.SystemOut = c.Case.Claim
		}
		suite.TestCases = append(suite.TestCases, tc)
	}
	if len(r.Faults) > 0 {
		first, _, _ := strings.Cut(r.Faults[0], "\n")
		suite.TestCases = append(suite.TestCases, reporters.JUnitTestCase{
			Name: runName, Classname: "egress." + runName, Status: "fault", Time: r.Took,
			Error: &reporters.JUnitError{Type: "fault", Message: first, Description: strings.Join(r.Faults, "\n")},
		})
		suite.Tests++
		suite.Errors++
	}
	all := reporters.JUnitTestSuites{
		Tests: suite.Tests, Disabled: suite.Disabled + suite.Skipped, Failures: suite.Failures,
		Errors: suite.Errors, Time: suite.Time, TestSuites: []reporters.JUnitTestSuite{suite},
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode junit.xml: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
