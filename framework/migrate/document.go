package migrate

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// part is a piece of a file that has one document at most: from a line of --- up to the next one.
type part struct {
	text string
	line int // of its first line in the file, from 1
}

// split cuts a file before each line of ---, which YAML allows nowhere else, not even in a block of text.
func split(in []byte) []part {
	parts := []part{{line: 1}}
	line := 1
	for text := range strings.Lines(string(in)) {
		rest, ok := strings.CutPrefix(text, "---")
		if ok && line > 1 && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			parts = append(parts, part{line: line})
		}
		parts[len(parts)-1].text += text
		line++
	}
	return parts
}

// parse returns the document with its comments, and lines of the file; nil if there is none.
func (p part) parse(file string) (*input.Node, error) {
	var doc input.Node
	if err := yamlv3.Unmarshal([]byte(p.text), &doc); err != nil {
		return nil, input.Mistake{File: file, Line: p.line, What: "this part cannot be read by itself: " + err.Error(), Remedy: "leave out %YAML and %TAG"}
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	down(&doc, p.line-1)
	return &doc, nil
}

func down(n *input.Node, lines int) {
	n.Line += lines
	for _, c := range n.Content {
		down(c, lines)
	}
}

// editor changes one document. Words are replaced in the text as it is, so that nothing else changes; only where fields
// come and go, the document is written anew from its nodes, which keep their comments.
type editor struct {
	file  string
	res   *Result
	label string // of the object that is being changed: kind and name

	words   []word
	rebuilt bool
	wrong   error // the first value of an object that has not the shape that its field has
}

// word is a scalar of the text that was replaced.
type word struct {
	line, column int // from 1, in characters
	old, text    string
}

func (e *editor) note(n *input.Node, format string, a ...any) {
	e.res.Notes = append(e.res.Notes, Note{e.file, n.Line, e.label + ": " + fmt.Sprintf(format, a...)})
}

func (e *editor) mistake(n *input.Node, format string, a ...any) error {
	return input.Mistake{File: e.file, Line: n.Line, What: e.label + ": " + fmt.Sprintf(format, a...)}
}

// replace gives a scalar another value.
func (e *editor) replace(n *input.Node, text string) {
	if n.Value == text {
		return
	}
	e.words = append(e.words, word{n.Line, n.Column, n.Value, text})
	n.Value = text
}

// document migrates one document and returns its text. resolved is the same document with its aliases resolved.
func (e *editor) document(p part, doc, resolved *input.Node) (string, error) {
	root := doc.Content[0]
	if aliased(root) {
		root = plainKeys(resolved)
		doc.Content[0] = root
	}
	notes, changed := len(e.res.Notes), e.res.Changed
	more, err := e.any(root, resolved)
	if err != nil {
		return "", err
	}
	if e.res.Changed == changed {
		return p.text, nil
	}
	if !e.rebuilt {
		if text, ok := p.withWords(e.words); ok {
			return text, nil
		}
	}
	if root == resolved {
		e.res.Notes = slices.Insert(e.res.Notes, notes, Note{e.file, root.Line, "anchors were replaced by what they stand for, and comments of this document are lost"})
	}
	return p.encode(append([]*input.Node{doc}, more...))
}

// withWords is the text with words replaced; not ok where a word does not stand where it should.
func (p part) withWords(words []word) (string, bool) {
	lines := slices.Collect(strings.Lines(p.text))
	slices.SortFunc(words, func(a, b word) int { return cmp.Or(b.line-a.line, b.column-a.column, strings.Compare(a.text, b.text)) })
	for i, w := range words {
		if i > 0 && w.line == words[i-1].line && w.column == words[i-1].column {
			if w.text != words[i-1].text {
				return "", false // an anchor that must become different things
			}
			continue
		}
		at := w.line - p.line
		if at < 0 || at >= len(lines) {
			return "", false
		}
		line := []rune(lines[at])
		from := w.column - 1
		if from < len(line) && (line[from] == '"' || line[from] == '\'') {
			from++
		}
		to := from + len([]rune(w.old))
		if from < 0 || to > len(line) || string(line[from:to]) != w.old {
			return "", false
		}
		lines[at] = string(line[:from]) + w.text + string(line[to:])
	}
	return strings.Join(lines, ""), true
}

// encode writes documents in the place of a part, the first behind its own --- line.
func (p part) encode(docs []*input.Node) (string, error) {
	var out bytes.Buffer
	if first, _, _ := strings.Cut(p.text, "\n"); strings.HasPrefix(first, "---") {
		rest := strings.TrimSpace(first[3:])
		if rest != "" && rest[0] != '#' { // the document begins on this line
			first = "---"
		}
		out.WriteString(strings.TrimRight(first, "\r") + "\n")
	}
	for i, d := range docs {
		if i > 0 {
			out.WriteString("---\n")
		}
		enc := yamlv3.NewEncoder(&out)
		enc.SetIndent(2)
		if err := enc.Encode(d); err != nil {
			return "", err
		}
		if err := enc.Close(); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// aliased says whether a document has anchors, aliases or merge keys, whose parts cannot be changed where they stand.
func aliased(n *input.Node) bool {
	return n.Kind == yamlv3.AliasNode || n.Anchor != "" || slices.ContainsFunc(n.Content, aliased)
}

// plainKeys leaves it to the encoder which keys need quotes.
func plainKeys(n *input.Node) *input.Node {
	for i, c := range n.Content {
		if n.Kind == yamlv3.MappingNode && i%2 == 0 {
			c.Style = 0
		}
		plainKeys(c)
	}
	return n
}
