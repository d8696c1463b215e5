package compare

import (
	"fmt"
	"strings"

	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report/junit"
)

// JUnit renders the comparison as JUnit XML: one suite for each column after the first, one test case for each case of
// it. A regression that nobody has explained is a failure, and when strict any change is that nobody has; what is not
// proven is an error, and so is a column without a run, under the name "run".
func (c *Comparison) JUnit(strict bool) ([]byte, error) {
	var all []junit.Suite
	for i, col := range c.Columns {
		s := junit.Suite{Name: printable.Text(col.Name), Time: junit.Seconds(col.Seconds)}
		if i > 0 {
			for _, name := range c.Cases {
				c.add(&s, col, name, strict)
			}
		}
		if t := col.Troubles(); len(t) > 0 && (col.Failed != "" || len(col.Faults) > 0 || col.unfinished() > 0) {
			s.Cases = append(s.Cases, junit.Case{
				Name: "run", Classname: "compare." + s.Name,
				Error: &junit.Why{Message: line(t[0]), Type: "fault", Text: printable.Text(strings.Join(t, "\n"))},
			})
		}
		if len(s.Cases) > 0 {
			all = append(all, s)
		}
	}
	return junit.Write("comparison", all...)
}

// add adds what a case does otherwise in a column than before.
func (c *Comparison) add(s *junit.Suite, col *Column, name string, strict bool) {
	x := col.find(name)
	if x == nil || x.Unfinished {
		return
	}
	tc := junit.Case{Name: line(name), Classname: "compare." + s.Name}
	for _, ch := range c.Changes {
		if of := ch.Names(); ch.To != col.Name || of[len(of)-1] != name {
			continue
		}
		words := fmt.Sprintf("%s → %s: %s", line(ch.From), line(ch.To), line(ch.words()))
		why := &junit.Why{Message: words, Type: string(ch.Class), Text: printable.Text(ch.What + "\n" + ch.Why)}
		switch {
		case ch.Fails(strict):
			tc.Failure = why
		case ch.open():
			tc.Error = why
		default:
			tc.SystemOut = strings.TrimSpace(fmt.Sprintf("%s %s\n%s", ch.Class, words, line(ch.Source)))
		}
	}
	s.Cases = append(s.Cases, tc)
}
