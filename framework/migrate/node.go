package migrate

import (
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// index is where the key of a field stands in a mapping; -1 if it is not there.
func index(m *input.Node, key string) int {
	if m == nil || m.Kind != yamlv3.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// textOf returns the text of a field; "" where there is none.
func textOf(m *input.Node, path ...any) string {
	if v := input.Value(m, path...); v != nil && v.Kind == yamlv3.ScalarNode {
		return v.Value
	}
	return ""
}

// set gives a field a value, at the end of the mapping if it is new.
func (e *editor) set(m *input.Node, key string, value *input.Node) {
	e.rebuilt = true
	if i := index(m, key); i >= 0 {
		m.Content[i+1] = value
		return
	}
	m.Content = append(m.Content, scalar(key), value)
}

// insert puts a new field behind another one, or in front where that does not exist.
func (e *editor) insert(m *input.Node, behind, key string, value *input.Node) {
	e.rebuilt = true
	at := 0
	if i := index(m, behind); i >= 0 {
		at = i + 2
	}
	m.Content = slices.Insert(m.Content, at, scalar(key), value)
}

// remove takes a field out; its comments go with it.
func (e *editor) remove(m *input.Node, key string) {
	if i := index(m, key); i >= 0 {
		e.rebuilt = true
		m.Content = slices.Delete(m.Content, i, i+2)
	}
}

// rename gives a field another name, in its place. Where that name is there too, it is the one that stays.
func (e *editor) rename(m *input.Node, key, name string) {
	i := index(m, key)
	switch {
	case i < 0:
	case index(m, name) >= 0:
		e.note(m.Content[i], "%s is left out: %s, which is there too, says the same", key, name)
		e.remove(m, key)
	default:
		e.replace(m.Content[i], name)
	}
}

// scalar is text as a node; the encoder quotes what would be read as something else.
func scalar(text string) *input.Node {
	n := &input.Node{}
	n.SetString(text)
	return n
}

// literal is a number or a word that is no text, as YAML writes it.
func literal(text string) *input.Node { return &input.Node{Kind: yamlv3.ScalarNode, Value: text} }

func list(items ...*input.Node) *input.Node {
	return &input.Node{Kind: yamlv3.SequenceNode, Tag: "!!seq", Content: items}
}

// mapping is a mapping of keys (string) and values (*Node or string) in turn.
func mapping(pairs ...any) *input.Node {
	m := &input.Node{Kind: yamlv3.MappingNode, Tag: "!!map"}
	for _, p := range pairs {
		if text, ok := p.(string); ok {
			p = scalar(text)
		}
		m.Content = append(m.Content, p.(*input.Node))
	}
	return m
}

// copied is a node with all below it, without comments and styles, for another object.
func copied(n *input.Node) *input.Node {
	out := &input.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style & (yamlv3.DoubleQuotedStyle | yamlv3.SingleQuotedStyle)}
	for _, c := range n.Content {
		out.Content = append(out.Content, copied(c))
	}
	return out
}

// take moves the comments of one node to another.
func take(from, to *input.Node) {
	for _, c := range []struct{ from, to *string }{{&from.HeadComment, &to.HeadComment}, {&from.LineComment, &to.LineComment}, {&from.FootComment, &to.FootComment}} {
		if *c.to == "" {
			*c.to = *c.from
		} else if *c.from != "" {
			*c.to += "\n" + *c.from
		}
		*c.from = ""
	}
}
