package compare

import (
	"fmt"
	"io"
	"strings"

	"mesh-egress-conformance/framework/printable"
)

// WriteMarkdown writes everything: the columns, the changes by class, known changes that were not seen, and every case
// with its verdict in each column.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	var s strings.Builder
	var names []string
	for _, col := range c.Columns {
		names = append(names, md(col.Name))
	}
	fmt.Fprintf(&s, "# Comparison of %s\n\n%s.\n\n", strings.Join(names, ", "), c.Summary())
	s.WriteString("| | Istio | Envoy | provider | cases | conform | violate | inconclusive | skipped | not applicable | seconds |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, col := range c.Columns {
		e, n := col.Environment, col.Counts
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %d | %d | %d | %d | %d | %d | %.0f |\n",
			md(col.Name), md(e.Istio), md(e.Envoy), md(e.Provider), n.Total, n.Conforms, n.Violates, n.Inconclusive, n.Skipped, n.NotApplicable, col.Seconds)
	}
	s.WriteString("\n")
	for _, col := range c.Columns {
		for _, f := range col.Troubles() {
			fmt.Fprintf(&s, "- **%s**: %s\n", md(col.Name), md(f))
		}
	}
	for _, class := range Classes() {
		all := c.Of(class)
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&s, "\n## %s\n\n| case | from → to | what | source |\n|---|---|---|---|\n", class)
		for _, x := range all {
			kind := ""
			if x.Kind != "" {
				kind = string(x.Kind) + ": "
			}
			fmt.Fprintf(&s, "| %s | %s → %s | %s%s | %s |\n", md(x.Case), md(x.From), md(x.To), kind, md(x.words()), md(x.Source))
		}
	}
	if len(c.Unseen) > 0 {
		s.WriteString("\n## Known changes that no case has shown\n\n")
		for _, k := range c.Unseen {
			fmt.Fprintf(&s, "- since %s: %s (%s); cases %s\n", md(k.Since), md(k.What), md(k.By()), md(strings.Join(k.Cases, ", ")))
		}
	}
	fmt.Fprintf(&s, "\n## All cases\n\n| case | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(c.Columns)))
	for _, name := range c.Cases {
		fmt.Fprintf(&s, "| %s |", md(name))
		for _, col := range c.Columns {
			fmt.Fprintf(&s, " %s |", cell(col, name))
		}
		s.WriteString("\n")
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// md is a text in a table of Markdown.
func md(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'").Replace(printable.Line(s))
}
