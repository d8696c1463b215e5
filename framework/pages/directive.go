package pages

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"

	"mesh-egress-conformance/framework/input"
)

// directive is an HTML comment that says something to this program.
type directive struct {
	at         span // the lines that it stands on
	word, rest string
}

// forms are the directives as they are written, by their words.
var forms = map[string]string{
	"include":  "<!-- include: FILE -->, before a block of yaml",
	"mask":     "<!-- mask: <name> REGEX -->",
	"verified": "<!-- verified -->, below the title",
}

var directiveRE = regexp.MustCompile(`(?s)^<!--\s*([a-z]+)\s*(?::\s*(.*?))?\s*-->$`)

// html reads a block of HTML, which has to be a directive.
func (p *parser) html(n *ast.HTMLBlock) {
	lines := n.Lines()
	at := span{p.begin(lines.At(0).Start), lines.At(lines.Len() - 1).Stop}
	if n.HasClosure() {
		at.to = n.ClosureLine.Stop
	}
	p.hidden = append(p.hidden, at)
	text := strings.TrimSpace(at.of(p.page.source))
	m := directiveRE.FindStringSubmatch(text)
	if m == nil {
		p.mistake(at.from, fmt.Sprintf("%.40q is no directive", text), "a directive is a comment of its own: "+strings.Join(slices.Sorted(maps.Values(forms)), "; "))
		return
	}
	switch d := (directive{at: at, word: m[1], rest: m[2]}); d.word {
	case "include":
		p.waiting = &d
	case "mask":
		p.mask(d)
	case "verified":
		p.verified(d)
	default:
		known := slices.Sorted(maps.Keys(forms))
		remedy := "there are " + strings.Join(known, ", ")
		if near := input.Near(d.word, known); near != "" {
			remedy = "did you mean " + forms[near] + "?"
		}
		p.mistake(at.from, fmt.Sprintf("the directive %q is unknown", d.word), remedy)
	}
}

// lonely is called where something else than the block that a directive needs follows it.
func (p *parser) lonely() {
	d := p.waiting
	p.waiting = nil
	if d != nil && d.word == "include" { // Rewrite makes the block
		p.include(*d, include{at: span{d.at.to, d.at.to}})
	}
}

var maskRE = regexp.MustCompile(`(?s)^(<[a-z][a-z0-9-]*>)\s+(.+)$`)

func (p *parser) mask(d directive) {
	m := maskRE.FindStringSubmatch(d.rest)
	if m == nil {
		p.mistake(d.at.from, fmt.Sprintf("mask: %q is no name with an expression", d.rest), "write "+forms["mask"]+", such as <pod> and what its names look like")
		return
	}
	re, err := regexp.Compile(m[2])
	switch {
	case err != nil:
		p.mistake(d.at.from, "mask: "+err.Error(), "write an expression of Go's regexp package")
		return
	case re.NumSubexp() > 1:
		p.mistake(d.at.from, "mask: the expression has several groups", "one group says what is masked; write (?:...) for the others")
		return
	case re.MatchString(""):
		p.mistake(d.at.from, "mask: the expression matches nothing at all, so it is everywhere", "demand at least one character")
		return
	}
	p.page.Masks = append(p.page.Masks, Mask{Name: m[1], Line: p.line(d.at.from), re: re})
}

func (p *parser) verified(d directive) {
	p.stamps++
	p.page.stamp = span{d.at.to, d.at.to}
	p.waiting = &d
}

// quote reads the quote that says what the page was verified on, and says whether it was that.
func (p *parser) quote(n *ast.Blockquote) bool {
	first := n.FirstChild()
	if p.waiting == nil || p.waiting.word != "verified" || first == nil || first.NextSibling() != nil || first.Kind() != ast.KindParagraph {
		return false
	}
	p.waiting, p.open = nil, false
	lines := first.Lines()
	p.page.stamp = span{p.page.stamp.from, p.end(lines.At(lines.Len()-1).Stop - 1)}
	p.page.Verified = strings.TrimSpace(string(lines.Value(p.page.source)))
	return true
}
