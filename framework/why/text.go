package why

import (
	"fmt"
	"strings"

	"mesh-egress-conformance/framework/printable"
)

// Text is the answer for people.
func (a Answer) Text() string {
	var b strings.Builder
	line := printable.Line
	fmt.Fprintf(&b, "%s: %s", line(a.Probe), a.Words)
	if code := a.Outcome.String(); a.Outcome != 0 && code != a.Words {
		fmt.Fprintf(&b, " [%s]", code)
	}
	b.WriteString("\n")
	list := func(title string, reasons []Reason) {
		if len(reasons) > 0 {
			fmt.Fprintln(&b, title)
		}
		for _, r := range reasons {
			fmt.Fprintf(&b, "  %s %s\n", line(r.Object), line(r.What))
		}
	}
	list("because", a.Because)
	if a.But != "" {
		fmt.Fprintf(&b, "but\n  %s\n", line(a.But))
	}
	if a.Missing != "" {
		fmt.Fprintf(&b, "missing\n  %s\n", line(a.Missing))
	}
	list("nearly", a.Nearly)
	if a.Remedy != "" {
		fmt.Fprintf(&b, "this would let it out\n  %s\n", strings.ReplaceAll(strings.TrimSpace(printable.Text(a.Remedy)), "\n", "\n  "))
	}
	return b.String()
}
