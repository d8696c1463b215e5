package pages

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// edit puts text in the place of a part of a page.
type edit struct {
	at   span
	text string
}

// Stamp says what a page was verified on.
type Stamp struct {
	Date  string   // of the run, as 2006-01-02
	On    []string // what it ran on, such as "Istio 1.31.0"
	Place string   // what kind of cluster that was; "" says nothing of it
	Needs string   // a sentence that says what the page's commands need besides; "" for nothing
}

// text is the quote that the page gets.
func (s Stamp) text(p *Page) string {
	out := fmt.Sprintf("> Verified on %s with %s", s.Date, strings.Join(s.On, ", "))
	if s.Place != "" {
		out += " (" + s.Place + ")"
	}
	out += ".\n> `egressctl docs update` has written this, the YAML and the outputs below.\n"
	if s.Needs != "" {
		out += "> " + s.Needs + "\n"
	}
	var names []string
	for _, m := range p.Masks {
		if n := "`" + m.Name + "`"; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) > 0 {
		out += "> What differs each time has a name in its place: " + strings.Join(names, ", ") + ".\n"
	}
	return out
}

// Rewrite is the page with the files as they are now, what its commands have printed, and the stamp; nil leaves that as it
// is. Everything else stays, byte by byte.
func (p *Page) Rewrite(results []Result, stamp *Stamp) []byte {
	var edits []edit
	for _, i := range p.includes {
		if i.text != i.have {
			edits = append(edits, p.put(i.at, fenced("yaml", i.text)))
		}
	}
	for _, r := range results {
		edits = append(edits, p.result(r)...)
	}
	if stamp != nil {
		edits = append(edits, p.put(p.stamp, stamp.text(p)))
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.at.from, b.at.from) })
	var out bytes.Buffer
	last := 0
	for _, e := range edits {
		out.Write(p.source[last:e.at.from])
		out.WriteString(e.text)
		last = e.at.to
	}
	out.Write(p.source[last:])
	return out.Bytes()
}

// put is text in a place, with an empty line before it where there was nothing yet.
func (p *Page) put(at span, text string) edit {
	if at.from == at.to {
		if before := p.source[:at.from]; len(before) > 0 && before[len(before)-1] != '\n' { // the end of the file
			text = "\n" + text
		}
		if after := p.source[at.to:]; len(after) > 0 && after[0] != '\n' {
			text += "\n"
		}
	}
	return edit{at, text}
}

// result is what a step has come to, as far as it is not in the page.
func (p *Page) result(r Result) []edit {
	var out []edit
	s := r.Step
	if r.Exit != s.Exit {
		words := "sh"
		if r.Exit != 0 {
			words += fmt.Sprintf(" exit=%d", r.Exit)
		}
		if s.Retry {
			words += " retry"
		}
		out = append(out, edit{s.command, fenced(words, s.Script)})
	}
	if r.Output == s.Output {
		return out
	}
	switch {
	case r.Output == "":
		out = append(out, edit{s.output, ""})
	case s.Output == "":
		e := p.put(s.output, fenced("output", r.Output))
		e.text = "\n" + e.text
		out = append(out, e)
	default:
		out = append(out, edit{s.output, fenced("output", r.Output)})
	}
	return out
}

// fenced is a block of code whose fence its text cannot close.
func fenced(info, text string) string {
	longest := 2
	for line := range strings.Lines(text) {
		line = strings.TrimLeft(line, " ")
		longest = max(longest, len(line)-len(strings.TrimLeft(line, "`")))
	}
	fence := strings.Repeat("`", longest+1)
	return fence + info + "\n" + text + fence + "\n"
}

// Diff is the unified diff between the page and what its commands have printed, with the page's own line numbers; "" if
// all is as the page says.
func (p *Page) Diff(results ...Result) string {
	d := diff.Diff(p.File, p.Rewrite(nil, nil), p.File+" (as it came out)", p.Rewrite(results, nil))
	_, text, _ := strings.Cut(string(d), "\n") // the first line repeats the names
	return text
}
