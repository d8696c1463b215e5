package pages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/printable"
)

// parser reads one page.
type parser struct {
	page  *Page
	root  fs.FS
	found input.Mistakes
	// waiting is the directive whose block has to follow.
	waiting *directive
	// open says that the output of the last step may follow.
	open bool
	// told is up to where the text has been given to steps, and shown are the parts of it that a reader is not shown.
	told   int
	hidden []span
	stamps int
}

// Parse reads a page. root is where the files lie that it includes and names. A page with mistakes has no meaning.
func Parse(file string, src []byte, root fs.FS) (*Page, input.Mistakes) {
	p := &parser{page: &Page{Name: name(file), File: file, source: src}, root: root}
	if !utf8.Valid(src) || printable.Text(string(src)) != string(src) {
		p.mistake(0, "there are bytes that are not UTF-8, carriage returns or other control characters", "write plain text with line feeds")
		return p.page, p.found
	}
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(src))
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		p.node(n)
	}
	p.lonely()
	p.whole()
	return p.page, p.found.Sorted()
}

func (p *parser) mistake(offset int, what, remedy string) {
	p.found = append(p.found, input.Mistake{File: p.page.File, Line: p.line(offset), What: what, Remedy: remedy})
}

func (p *parser) line(offset int) int { return 1 + bytes.Count(p.page.source[:offset], []byte("\n")) }

// begin and end are those of the line that an offset is in; the end is behind the line feed.
func (p *parser) begin(offset int) int {
	return 1 + bytes.LastIndexByte(p.page.source[:offset], '\n')
}

func (p *parser) end(offset int) int {
	if i := bytes.IndexByte(p.page.source[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(p.page.source)
}

// node reads a block of the page itself, and looks for what must not stand in a list or a quote.
func (p *parser) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.FencedCodeBlock:
		p.fence(n)
		return
	case *ast.HTMLBlock:
		p.lonely()
		p.html(n)
		return
	case *ast.Blockquote:
		if p.quote(n) {
			return
		}
	case *ast.Heading:
		if n.Level == 1 && p.page.Title == "" {
			p.page.Title = strings.TrimSpace(string(n.Lines().Value(p.page.source)))
		}
	}
	p.lonely()
	p.open = false
	p.inner(n)
}

// inner finds what nobody would check, or a reader would not see, within a block.
func (p *parser) inner(n ast.Node) {
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the callback has no errors
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			p.mistake(n.Pos(), "a block of code that is indented, or within a list or a quote, is checked by nobody", "write it as a fenced block that begins in the first column")
		case *ast.HTMLBlock:
			p.mistake(n.Pos(), "HTML within a list or a quote", "write a directive at the begin of a line of its own, and Markdown otherwise")
		case *ast.RawHTML:
			p.mistake(n.Segments.At(0).Start, fmt.Sprintf("%s is HTML, of which a reader sees nothing", n.Segments.Value(p.page.source)), "write it in backquotes")
		}
		return ast.WalkContinue, nil
	})
}

// block is a fenced block of code.
type block struct {
	at       span // with its fences
	language string
	words    []string // that follow the language
	content  string
}

// read finds the ends of a block, which the parser of Markdown does not tell.
func (p *parser) read(n *ast.FencedCodeBlock) (b block, ok bool) {
	if n.Info == nil {
		p.mistake(n.Pos(), "a block of code without a language is checked by nobody", "write sh, output or yaml behind its fence")
		return b, false
	}
	info := n.Info.Segment
	b.at.from = p.begin(n.Pos())
	last := p.end(n.Pos())
	if l := n.Lines().Len(); l > 0 {
		last = n.Lines().At(l - 1).Stop
	}
	if last >= len(p.page.source) {
		p.mistake(b.at.from, "the block of code does not end", "close it with a fence like the one that opens it")
		return b, false
	}
	b.at.to, b.content = p.end(last), string(n.Lines().Value(p.page.source))
	words := strings.Fields(string(info.Value(p.page.source)))
	b.language, b.words = words[0], words[1:]
	return b, true
}

func (p *parser) fence(n *ast.FencedCodeBlock) {
	b, ok := p.read(n)
	if !ok {
		p.waiting, p.open = nil, false
		return
	}
	if p.waiting != nil && (b.language != "yaml" || p.waiting.word != "include") {
		p.lonely()
	}
	if b.language != "sh" && len(b.words) > 0 {
		p.mistake(b.at.from, fmt.Sprintf("nothing can follow %s", b.language), "exit=N and retry are for sh")
	}
	switch b.language {
	case "sh":
		p.command(b)
		return
	case "output":
		p.output(b)
	case "yaml":
		p.included(b)
	default:
		remedy := "sh is run, output is what it prints, yaml is included from a file"
		p.mistake(b.at.from, fmt.Sprintf("a block of %s is checked by nobody", b.language), remedy)
	}
	p.open = false
}

var (
	exitRE = regexp.MustCompile(`^exit=([1-9][0-9]{0,2})$`)
	fileRE = regexp.MustCompile(`\b(?:fixtures|samples)/[\w./-]*\w`)
)

func (p *parser) command(b block) {
	s := Step{File: p.page.File, Line: p.line(b.at.from), Script: b.content, command: b.at, output: span{b.at.to, b.at.to}}
	for _, w := range b.words {
		switch exit := exitRE.FindStringSubmatch(w); {
		case w == "retry":
			s.Retry = true
		case exit != nil:
			s.Exit, _ = strconv.Atoi(exit[1]) // digits
		default:
			p.mistake(b.at.from, fmt.Sprintf("%q is unknown behind sh", w), "exit=N is the status of the last command, if not 0; retry repeats the commands until they print what is wanted")
		}
	}
	if strings.TrimSpace(b.content) == "" {
		p.mistake(b.at.from, "a block of commands is empty", "remove it")
	}
	if strings.Contains(b.content, "<<") {
		p.mistake(b.at.from, "what is typed into a command is checked by nobody", "put it into a file of fixtures/ or samples/, include it, and name the file")
	}
	for _, f := range fileRE.FindAllString(b.content, -1) {
		if _, err := fs.Stat(p.root, f); err != nil {
			p.mistake(b.at.from, fmt.Sprintf("the commands name %s: %s", f, reason(err)), "name a file or a folder of the repository")
			continue
		}
		p.page.named = append(p.page.named, f)
	}
	s.Before = p.shown(b.at.from)
	p.told = b.at.to
	p.page.Steps, p.open = append(p.page.Steps, s), true
}

// shown is the text before a step that readers see.
func (p *parser) shown(to int) string {
	var out strings.Builder
	from := p.told
	for _, h := range p.hidden {
		if h.from >= from {
			out.Write(p.page.source[from:h.from])
			from = h.to
		}
	}
	out.Write(p.page.source[from:to])
	return strings.TrimSpace(out.String())
}

func (p *parser) output(b block) {
	if !p.open {
		p.mistake(b.at.from, "an output has to follow its commands at once", "move the text between them, or remove a second output")
		return
	}
	if b.content == "" {
		p.mistake(b.at.from, "the output is empty", "remove the block: commands without one must print nothing")
	}
	s := &p.page.Steps[len(p.page.Steps)-1]
	s.Output, s.output = b.content, b.at
	p.told = b.at.to
}

func (p *parser) included(b block) {
	if p.waiting == nil {
		p.mistake(b.at.from, "YAML that is typed into a page is checked by nobody", "put it into a file of fixtures/ or samples/, and write <!-- include: FILE --> before the block")
		return
	}
	d := *p.waiting
	p.waiting = nil
	p.include(d, include{have: b.content, at: b.at})
}

// include adds what a directive means to the page.
func (p *parser) include(d directive, i include) {
	if !fs.ValidPath(d.rest) || !strings.HasPrefix(d.rest, "fixtures/") && !strings.HasPrefix(d.rest, "samples/") {
		p.mistake(d.at.from, fmt.Sprintf("include: %q is no file of fixtures/ or samples/", d.rest), "write its path from the root of the repository")
		return
	}
	text, err := fs.ReadFile(p.root, d.rest)
	if err != nil {
		p.mistake(d.at.from, fmt.Sprintf("include: %s: %s", d.rest, reason(err)), "name a file of the repository")
		return
	}
	i.file, i.text = d.rest, ended(string(text))
	p.page.includes = append(p.page.includes, i)
	if i.text != i.have {
		p.stale(d.at.from, fmt.Sprintf("the block is not %s as it is now", d.rest))
	}
}

func (p *parser) stale(offset int, what string) {
	p.page.Stale = append(p.page.Stale, input.Mistake{File: p.page.File, Line: p.line(offset), What: what, Remedy: "egressctl docs update " + p.page.Name + " writes it"})
}

// reason is an error about a file without its path, which the text around it has.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// ended is a text that ends with a line feed, if there is one at all.
func ended(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

// whole finds what the page as a whole lacks.
func (p *parser) whole() {
	if p.page.Title == "" {
		p.mistake(0, "the page has no title", "begin it with # and its title")
	}
	if len(p.page.Steps) == 0 {
		p.mistake(0, "the page has no commands", "write them into fenced blocks of sh")
	}
	if p.stamps != 1 {
		p.mistake(0, fmt.Sprintf("the page has %d places that say what it was verified on", p.stamps), "write <!-- verified --> below its title, once")
	} else if p.page.Verified == "" {
		p.stale(p.page.stamp.from-1, "the page does not say what it was verified on")
	}
	for _, m := range p.page.Masks {
		if !p.uses(m) {
			p.page.Stale = append(p.page.Stale, input.Mistake{File: p.page.File, Line: m.Line, What: "no output has " + m.Name, Remedy: "remove the mask, or let egressctl docs update write the outputs"})
		}
	}
}

func (p *parser) uses(m Mask) bool {
	for _, s := range p.page.Steps {
		if strings.Contains(s.Output, m.Name) {
			return true
		}
	}
	return false
}
