package upgrade

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"mesh-egress-conformance/framework/printable"
)

// summary is one sentence about all of it.
func (r *Report) summary() string {
	out := fmt.Sprintf("Istio %s to %s, strategy %s: %d requests in %.1fs, %d failed (%.2f drop-seconds), %d leaked (%.2f leak-seconds)", r.From, r.To, r.Strategy, r.Requests, r.Took, r.Failures, r.DropSeconds, r.Leaks, r.LeakSeconds)
	if r.Unknown > 0 {
		out += fmt.Sprintf(", %d without an outcome", r.Unknown)
	}
	if r.Sabotage != "" {
		out += "; sabotage: " + r.Sabotage
	}
	return out
}

var phaseHeader = table.Row{"phase", "s", "requests", "failed", "drop-s", "leaked", "leak-s", "unknown", "versions at its end"}

func (r *Report) phaseTable() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(phaseHeader)
	for _, p := range r.Phases {
		t.AppendRow(table.Row{p.Name, fmt.Sprintf("%.1f", p.To-p.From), p.Requests, p.Failures, fmt.Sprintf("%.2f", p.DropSeconds), p.Leaks, fmt.Sprintf("%.2f", p.LeakSeconds), p.Unknown, versionsIn(p.Versions)})
	}
	return t
}

// line is an item of the timeline in words.
func (i TimelineItem) line() string {
	switch i.Kind {
	case ItemDrop, ItemLeak:
		return fmt.Sprintf("%s at %s for %.2fs, %d attempts of %s: %s", strings.ToUpper(i.Kind), i.Target, i.Seconds, i.Count, strings.Join(i.Pods, ", "), i.What)
	case ItemPhase:
		return "phase " + i.What
	}
	return i.What
}

// WriteText writes the summary for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, r.phaseTable().Render())
	for _, i := range r.Timeline {
		fmt.Fprintf(&b, "%8.2fs  %s\n", i.At, i.line())
	}
	fmt.Fprintln(&b, r.summary())
	for _, f := range r.Faults {
		fmt.Fprintln(&b, "fault: "+f)
	}
	_, err := io.WriteString(printable.Writer(w), b.String())
	return err
}

// Markdown is upgrade.md.
func (r *Report) Markdown() []byte {
	var b strings.Builder
	verdict := "No blocked traffic got out"
	if r.Leaked() {
		verdict = "Blocked traffic got out"
	} else if len(r.Faults) > 0 {
		verdict = "Not proven"
	}
	fmt.Fprintf(&b, "# Upgrade: %s\n\n%s\n\n%s\n\n", verdict, cell(r.summary()), r.phaseTable().RenderMarkdown())
	fmt.Fprintf(&b, "## Targets\n\n%s\n\n", r.targetTable().RenderMarkdown())
	fmt.Fprint(&b, "## Timeline\n\n| s | what |\n|---:|---|\n")
	for _, i := range r.Timeline {
		fmt.Fprintf(&b, "| %.2f | %s |\n", i.At, cell(i.line()))
	}
	if len(r.Faults) > 0 {
		fmt.Fprint(&b, "\n## Faults\n\n")
		for _, f := range r.Faults {
			fmt.Fprintf(&b, "* %s\n", cell(f))
		}
	}
	return []byte(b.String())
}

func (r *Report) targetTable() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"phase", "target", "requests", "failed", "drop-s", "leaked", "leak-s", "unknown"})
	for _, p := range r.Phases {
		for _, x := range p.Targets {
			t.AppendRow(table.Row{p.Name, x.Target, x.Requests, x.Failures, fmt.Sprintf("%.2f", x.DropSeconds), x.Leaks, fmt.Sprintf("%.2f", x.LeakSeconds), x.Unknown})
		}
	}
	return t
}

// cell is text that Markdown takes for nothing else.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ", "`", "'").Replace(printable.Line(s))
}
