package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
)

// Limits of the summary, which is for one screen of a CI job's page; GitHub shows at most 1 MiB of all of them.
const (
	explainedMax = 20   // cases that are explained in full
	explainMax   = 6000 // characters of one explanation
	listedMax    = 200  // cases in the list of what does not conform
)

// Markdown is the summary for the page of a CI job: the verdict, the counts, what does not conform and how to run it
// again, faults, and what was not run.
func (r *Report) Markdown() ([]byte, error) {
	r = printable.Copy(r)
	var b strings.Builder
	fmt.Fprintf(&b, "## %s Egress conformance: %s\n\n", r.sign(), r.verdict())
	fmt.Fprintf(&b, "%s\n\n", plain(r.place()))
	if r.Shard != nil {
		fmt.Fprintf(&b, "This is %s.\n\n", plain(r.Shard.words()))
	}
	c := r.Counts
	b.WriteString("| | conform | violate | inconclusive | skipped | not applicable | all |\n|---|---:|---:|---:|---:|---:|---:|\n")
	fmt.Fprintf(&b, "| cases | %d | %d | %d | %d | %d | %d |\n", c.Conforms, c.Violates, c.Inconclusive, c.Skipped, c.NotApplicable, c.Total)
	for _, f := range r.Faults {
		first, rest, _ := strings.Cut(f, "\n")
		fmt.Fprintf(&b, "\n**Fault of the run:** %s\n", plain(first))
		if rest != "" {
			b.WriteString("\n" + fence(cut(rest, explainMax)))
		}
	}
	r.failures(&b)
	r.notRun(&b)
	return []byte(b.String()), nil
}

// sign is the run in one character; other than a colour, everybody can tell them apart.
func (r *Report) sign() string {
	switch r.ExitCode() {
	case 0:
		return "✅"
	case 1:
		return "❌"
	}
	return "⚠️"
}

func (r *Report) verdict() string {
	c := r.Counts
	ran := c.Conforms + c.Violates + c.Inconclusive
	switch {
	case c.Violates > 0:
		return fmt.Sprintf("%d of %d cases violate", c.Violates, ran)
	case c.Inconclusive > 0:
		return fmt.Sprintf("%d of %d cases are inconclusive", c.Inconclusive, ran)
	case len(r.Faults) > 0:
		return "the run had faults"
	case ran == 0:
		return "no case was run"
	}
	return fmt.Sprintf("all %d cases that were run conform", ran)
}

func (r *Report) place() string {
	e := r.Environment
	s := fmt.Sprintf("Istio %s, Envoy %s, Kubernetes %s, %s, components from source %s, in %.0f s.", e.Istio, e.Envoy, e.Kubernetes, e.Provider, e.Source, r.Took)
	if e.Sabotage != "" {
		s += " SABOTAGED on purpose: " + e.Sabotage + "."
	}
	return s
}

func (r *Report) failures(b *strings.Builder) {
	var bad []egress.Result
	for _, v := range []egress.Verdict{egress.Violates, egress.Inconclusive} {
		for _, c := range r.Cases {
			if c.Verdict == v {
				bad = append(bad, c)
			}
		}
	}
	if len(bad) == 0 {
		return
	}
	b.WriteString("\n### What does not conform\n\n| case | verdict | why |\n|---|---|---|\n")
	for _, c := range bad[:min(len(bad), listedMax)] {
		fmt.Fprintf(b, "| %s | %s %s | %s |\n", code(c.Case.Name), mark(c.Verdict), c.Verdict, plain(firstLine(Text{}.reason(c))))
	}
	more(b, len(bad)-listedMax)
	shown := slices.DeleteFunc(bad, func(c egress.Result) bool { return !failed(c) })
	for _, c := range shown[:min(len(shown), explainedMax)] {
		fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n%s\n</details>\n", plain(c.Case.Name+": "+c.Case.Claim), fence(cut(Explain(c), explainMax)))
	}
	if n := len(shown) - explainedMax; n > 0 {
		b.WriteString("\nThe others are explained in report.html.\n")
	}
}

// notRun lists reasons, with how many cases were not run for each.
func (r *Report) notRun(b *strings.Builder) {
	n := map[string]int{}
	for _, c := range r.Cases {
		if c.Verdict == egress.Skipped || c.Verdict == egress.NotApplicable {
			n[string(c.Verdict)+": "+c.Why]++
		}
	}
	if len(n) == 0 {
		return
	}
	b.WriteString("\n### Not run\n\n| cases | reason |\n|---:|---|\n")
	for _, why := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(b, "| %d | %s |\n", n[why], plain(why))
	}
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "\n%d more are in report.html.\n", n)
	}
}

// plain is text within a line, without the meaning that Markdown or HTML gives to its characters.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '\n' || r == '\t':
			b.WriteRune(' ') // a line of its own might begin a heading or a list
		case strings.ContainsRune("\\`*_[]|~@$", r):
			fmt.Fprintf(&b, "&#%d;", r) // also in a table and in HTML, where a backslash does not escape
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code is text in a fixed width. Names of cases have no character that ends it; others are shown as plain text.
func code(s string) string {
	if strings.ContainsAny(s, "`|\n<&") {
		return plain(s)
	}
	return "`" + s + "`"
}

// fence is a code block that its text cannot end.
func fence(s string) string {
	ticks := "```"
	for strings.Contains(s, ticks) {
		ticks += "`"
	}
	return ticks + "\n" + strings.TrimRight(s, "\n") + "\n" + ticks + "\n"
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "\n... (the rest is in report.html)"
	}
	return s
}
