package verify

import (
	"fmt"
	"strings"

	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report/junit"
)

// Markdown is verify.md: what a pull request changes, what is not as expected, what is surprising, what gets out.
func (r *Report) Markdown() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Egress: %s\n\n%s\n\n", r.headline(), cell(r.Summary()))
	for _, l := range r.InPlace.lines() {
		fmt.Fprintf(&b, "* %s\n", cell(l))
	}
	if r.InPlace != nil {
		fmt.Fprintln(&b)
	}
	if r.Base != "" {
		fmt.Fprintf(&b, "## Since %s: %s\n\n", cell(r.Base), r.changeSummary())
		if len(r.Changes) > 0 {
			fmt.Fprint(&b, "| | from | to | was | is | by |\n|---|---|---|---|---|---|\n")
		}
		for _, c := range r.Changes {
			fmt.Fprintf(&b, "| **%s** | %s | %s | %s | %s | %s |\n", c.Kind, cell(strings.Join(c.From, ", ")), cell(c.To+asText(c.As)), cell(c.Before), cell(c.After), cell(bySources(c.By)))
		}
		fmt.Fprintln(&b)
	}
	if len(r.Deviations) > 0 {
		fmt.Fprintf(&b, "## Not as %s expects\n\n| | from | to | what | by |\n|---|---|---|---|---|\n", cell(r.Expected))
		for _, d := range r.Deviations {
			fmt.Fprintf(&b, "| **%s** | %s | %s | %s | %s |\n", d.Kind, cell(d.From), cell(d.To+asText(d.As)), cell(d.What), cell(bySources(d.By)))
		}
		fmt.Fprintln(&b)
	}
	if len(r.Surprises) > 0 {
		fmt.Fprint(&b, "## Surprises\n\n")
		for _, s := range r.Surprises {
			fmt.Fprintf(&b, "* **%s**: %s\n  * %s\n  * proof: %s\n  * remedy: %s\n", cell(s.Title), cell(s.Why), cell(bySources(s.Objects)), cell(strings.Join(s.Proof, "; ")), cell(s.Remedy))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprint(&b, "## What gets out\n\n| from | to | comes out | way | encrypted by | lands at | by |\n|---|---|---|---|---|---|---|\n")
	for _, x := range Crowded(Rows(r.Answers)) {
		if !x.uneventful() {
			to := x.To + asText(x.As)
			if len(x.More) > 0 {
				to = x.called()
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", cell(strings.Join(x.Who, ", ")), cell(to), cell(x.Words), cell(x.Via), cell(x.Encrypted), cell(x.Landed), cell(bySources(x.By)))
		}
	}
	for _, x := range []struct {
		title string
		lines []string
	}{{"Assumed", r.Assumed}, {capitalized(r.untaken()), lines(r.Mistakes)}, {"Notes", lines(r.Notices)}, {"Ignored", r.ignoredLines()}, {"Faults", r.Faults}} {
		if len(x.lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", x.title)
		for _, l := range x.lines {
			fmt.Fprintf(&b, "* %s\n", cell(l))
		}
	}
	return []byte(b.String())
}

func capitalized(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (r *Report) headline() string {
	switch {
	case len(r.Deviations) > 0:
		return fmt.Sprintf("%d answers are not as expected", len(r.Deviations))
	case r.Opened() > 0:
		return fmt.Sprintf("the change opens %d calls", r.Opened())
	case r.Partial():
		return "the result is partial"
	}
	return fmt.Sprintf("%d calls get out", r.Count(Allowed))
}

func (r *Report) ignoredLines() []string {
	var out []string
	for _, i := range r.Ignored {
		out = append(out, fmt.Sprintf("%d %s: %s", i.Count, i.Kind, i.Why))
	}
	return out
}

func lines[T error](of []T) []string {
	var out []string
	for _, x := range of {
		out = append(out, x.Error())
	}
	return out
}

// cell is text that Markdown takes for nothing else.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ", "`", "'", "*", `\*`, "_", `\_`).Replace(printable.Line(s))
}

// JUnit is verify.xml: one test case for each question of each workload. A deviation is a failure, what is unproven an error; where
// nothing is expected, what a change opens is a failure. What could not be taken over is the error of one more.
func (r *Report) JUnit() ([]byte, error) {
	r = printable.Copy(r)
	failed := map[string]junit.Why{}
	for _, d := range r.Deviations {
		failed[d.From+" "+d.To+asText(d.As)] = junit.Why{Message: fmt.Sprintf("%s: %s", d.Kind, d.What), Type: string(d.Kind), Text: bySources(d.By)}
	}
	for _, c := range r.Changes {
		if r.Expected != "" || c.Kind != Opens {
			continue
		}
		for _, from := range c.From {
			failed[from+" "+c.To+asText(c.As)] = junit.Why{Message: fmt.Sprintf("opens: was %s, is %s", c.Before, c.After), Type: string(c.Kind), Text: bySources(c.By)}
		}
	}
	s := junit.Suite{Name: r.suite(), Time: junit.Seconds(r.Took)}
	for _, a := range r.Answers {
		for _, w := range r.workloadsOf(a.From) {
			c := junit.Case{Name: a.To + asText(a.As), Classname: "egress." + w}
			if f, is := failed[w+" "+c.Name]; is {
				c.Failure = &f
			} else if a.State == Unproven {
				c.Error = &junit.Why{Message: a.Unproven, Type: string(Unproven), Text: a.Evidence}
			}
			s.Cases = append(s.Cases, c)
		}
	}
	if all := append(lines(r.Mistakes), r.Faults...); len(all) > 0 {
		s.Cases = append(s.Cases, junit.Case{Name: "input", Classname: "egress.verify", Error: &junit.Why{Message: all[0], Type: "partial", Text: strings.Join(all, "\n")}})
	}
	return junit.Write(s.Name, s)
}

// suite is the name of all test cases.
func (r *Report) suite() string {
	if r.InPlace != nil {
		return "egress, asked in place of " + r.InPlace.Cluster
	}
	return "egress"
}

// workloadsOf are all of the class whose first one is named.
func (r *Report) workloadsOf(first string) []string {
	for _, c := range r.Classes {
		if len(c.Workloads) > 0 && c.Workloads[0] == first {
			return c.Workloads
		}
	}
	return []string{first}
}
