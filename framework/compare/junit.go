package compare

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2/reporters"

	"mesh-egress-conformance/framework/printable"
)

// JUnit renders the comparison as JUnit XML: one suite for each column after the first, one test case for each case of
// it. A regression that nobody has explained is a failure, and when strict any change is that nobody has; what is not
// proven is an error, and so is a column without a run, under the name "run".
func (c *Comparison) JUnit(strict bool) ([]byte, error) {
	var all reporters.JUnitTestSuites
	for i, col := range c.Columns {
		s := reporters.JUnitTestSuite{Name: printable.Text(col.Name), Package: "compare", Time: col.Seconds}
		if i > 0 {
			for _, name := range c.Cases {
				c.add(&s, col, name, strict)
			}
		}
		if t := col.troubles(); len(t) > 0 && (col.Failed != "" || len(col.Faults) > 0 || col.unfinished() > 0) {
			s.TestCases = append(s.TestCases, reporters.JUnitTestCase{
				Name: "run", Classname: "compare." + s.Name, Status: "fault",
				Error: &reporters.JUnitError{Type: "fault", Message: line(t[0]), Description: printable.Text(strings.Join(t, "\n"))},
			})
			s.Errors++
		}
		s.Tests = len(s.TestCases)
		if s.Tests == 0 {
			continue
		}
		all.TestSuites = append(all.TestSuites, s)
		all.Tests, all.Failures, all.Errors, all.Disabled = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Disabled+s.Skipped
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the comparison as JUnit XML: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// add adds what a case does otherwise in a column than before.
func (c *Comparison) add(s *reporters.JUnitTestSuite, col *Column, name string, strict bool) {
	x := col.find(name)
	if x == nil || x.Unfinished {
		return
	}
	tc := reporters.JUnitTestCase{Name: line(name), Classname: "compare." + s.Name, Status: string(x.Verdict)}
	for _, ch := range c.Changes {
		if ch.To != col.Name || ch.Case != name && !strings.HasSuffix(ch.Case, ", then "+name) {
			continue
		}
		tc.Status = string(ch.Class)
		words := fmt.Sprintf("%s → %s: %s", line(ch.From), line(ch.To), line(ch.words()))
		full := printable.Text(ch.What + "\n" + ch.Why)
		switch {
		case ch.fails(strict):
			tc.Failure = &reporters.JUnitFailure{Type: string(ch.Class), Message: words, Description: full}
			s.Failures++
		case ch.open():
			tc.Error = &reporters.JUnitError{Type: string(ch.Class), Message: words, Description: full}
			s.Errors++
		default:
			tc.SystemOut = strings.TrimSpace(words + "\n" + line(ch.Source))
		}
	}
	s.TestCases = append(s.TestCases, tc)
}
