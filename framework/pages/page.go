// Package pages reads pages of documentation whose commands can be run, runs them, and says where a page differs from
// what its commands print. docs/pages.md says how a page is written.
//
// It knows neither Kubernetes nor Istio: the shell that runs the commands, and the inventory that a page must leave as it
// has found it, are handed in.
package pages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// Dir is the folder with the pages, below the root of the repository.
const Dir = "docs/pages"

// Page is a Markdown file with commands and what they print.
type Page struct {
	Name  string // the file's name without .md
	File  string // path below the root, with slashes
	Title string // the first heading
	// Verified is what the page says of its last update: when, and on which versions. "" if there was none.
	Verified string
	Steps    []Step
	Masks    []Mask
	// Stale is what a run with Rewrite is likely to mend: text that is not that of the included file, a page that does not
	// say what it was verified on, and masks that no output has.
	Stale input.Mistakes

	source   []byte
	includes []include
	named    []string // files and folders that commands name
	stamp    span
}

// Step is one block of commands with what it must print.
type Step struct {
	File   string // of the page
	Line   int    // where the block begins
	Before string // the text between the step before and this one, without directives
	Script string // as it is handed to a shell
	Output string // stdout and stderr together, masked; "" where nothing may be printed
	Exit   int    // status of the last command
	// Retry repeats the step until it prints this, since a change reaches the proxies a moment after the API server.
	Retry bool

	command, output span // of the blocks with their fences; an output that is not there is empty and lies where it belongs
}

// Where is the file with the line.
func (s Step) Where() string { return fmt.Sprintf("%s:%d", s.File, s.Line) }

// Mask is a part of the outputs that differs each time. The page has its name, such as <pod>, in its place.
type Mask struct {
	Name string // with its angle brackets
	Line int
	re   *regexp.Regexp
}

var stampRE = regexp.MustCompile(`^Verified on (.*?)\. `)

// VerifiedOn is what the page was verified on, in one line: the date and the versions. "" if it never was.
func (p *Page) VerifiedOn() string {
	if m := stampRE.FindStringSubmatch(strings.Join(strings.Fields(p.Verified), " ")); m != nil {
		return m[1]
	}
	return ""
}

// StampLine is the line of the place that says what the page was verified on.
func (p *Page) StampLine() int { return 1 + bytes.Count(p.source[:p.stamp.from], []byte("\n")) }

// Files are the files that the page includes or its commands name, sorted; of a folder all that lie in it. root is where they lie.
func (p *Page) Files(root fs.FS) ([]string, error) {
	var out []string
	for _, i := range p.includes {
		out = append(out, i.file)
	}
	for _, n := range p.named {
		err := fs.WalkDir(root, n, func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, file)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list what the commands of %s name: %w", p.File, err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// include is a block with the text of a file.
type include struct {
	file string
	text string // of the file
	have string // in the page
	at   span   // of the block with its fences; empty where it is missing
}

// span is a part of a page, in bytes.
type span struct{ from, to int }

func (s span) of(src []byte) string { return string(src[s.from:s.to]) }

// Masked is an output with the masks of a page in place of what they match, in the page's order.
func (p *Page) Masked(output string) string {
	for _, m := range p.Masks {
		output = m.apply(output)
	}
	return output
}

// apply replaces what the expression matches: its group if it has one, else all of it.
func (m Mask) apply(text string) string {
	var b strings.Builder
	last := 0
	for _, at := range m.re.FindAllStringSubmatchIndex(text, -1) {
		from, to := at[0], at[1]
		if len(at) > 2 {
			from, to = at[2], at[3]
		}
		if from < 0 { // the group took no part in the match
			continue
		}
		b.WriteString(text[last:from])
		b.WriteString(m.Name)
		last = to
	}
	return b.String() + text[last:]
}

// Load reads the named pages, or all of them, from the root of the repository or a copy of it. The mistakes of all pages are
// returned together, each with file, line and remedy; the pages have no meaning then.
func Load(root fs.FS, names ...string) ([]*Page, error) {
	files, err := find(root, names)
	if err != nil {
		return nil, err
	}
	var out []*Page
	var found input.Mistakes
	for _, f := range files {
		src, err := fs.ReadFile(root, f)
		if err != nil {
			return nil, fmt.Errorf("read the page: %w", err)
		}
		p, mistakes := Parse(f, src, root)
		out, found = append(out, p), append(found, mistakes...)
	}
	return out, found.Sorted().Err()
}

// Names are those of all pages of a tree, in order. An error says that there is none.
func Names(root fs.FS) ([]string, error) {
	files, err := fs.Glob(root, Dir+"/*.md")
	if err != nil {
		return nil, fmt.Errorf("list the pages: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no page is in %s", Dir)
	}
	for i, f := range files {
		files[i] = name(f)
	}
	return files, nil
}

// find lists the files of pages. A page is named with or without its folder and .md.
func find(root fs.FS, names []string) ([]string, error) {
	known, err := Names(root)
	if err != nil {
		return nil, err
	}
	var all, out []string
	for _, n := range known {
		all = append(all, path.Join(Dir, n+".md"))
	}
	for _, n := range names {
		f := path.Join(Dir, name(n)+".md")
		if !slices.Contains(all, f) {
			text := fmt.Sprintf("no page is named %q", n)
			if near := input.Near(name(n), known); near != "" {
				text += "; did you mean " + near + "?"
			}
			return nil, errors.New(text + " (egressctl docs list shows them all)")
		}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	if len(names) == 0 {
		out = all
	}
	return out, nil
}

// name is that of a page, by its file.
func name(file string) string {
	return strings.TrimSuffix(path.Base(strings.ReplaceAll(file, `\`, "/")), ".md")
}
