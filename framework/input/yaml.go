package input

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Node is a part of a YAML document, with its line.
type Node = yamlv3.Node

// maxNodes bounds the keys and values of one document, each counted as often as aliases stand for it: a few lines of
// aliases of aliases can stand for any number.
const maxNodes = 200_000

// Documents parses a YAML file; those of its documents that are empty are left out. Anchors and merge keys (<<) are
// resolved. A key that is given twice in one mapping is an error. Errors name the file and the line.
func Documents(file string, b []byte) ([]*Node, error) { return DocumentsUpTo(file, b, MaxFile) }

// DocumentsUpTo is Documents for a text of at most limit bytes, such as what a program has rendered.
func DocumentsUpTo(file string, b []byte, limit int64) ([]*Node, error) {
	if int64(len(b)) > limit {
		return nil, Mistake{File: file, What: tooLong("the text", limit).Error()}
	}
	dec := yamlv3.NewDecoder(bytes.NewReader(b))
	var out []*Node
	for count := 0; ; count++ {
		var n Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, syntax(file, err)
		}
		if count == MaxDocuments {
			return nil, Mistake{File: file, Line: n.Line, What: fmt.Sprintf("more than %d documents", MaxDocuments)}
		}
		if len(n.Content) == 0 || n.Content[0].ShortTag() == "!!null" {
			continue
		}
		r := resolver{file: file, inside: map[*Node]bool{}}
		root, err := r.resolve(n.Content[0])
		if err != nil {
			return nil, err
		}
		out = append(out, root)
	}
}

// Decode turns a node into a value by its JSON field names, whose case counts. A field that the type does not have is
// an error. Scalars mean what they mean to Kubernetes.
func Decode(n *Node, into any) error {
	b, err := yamlv3.Marshal(n)
	if err != nil {
		return err
	}
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(j, into)
	return errors.Join(append(strict, err)...)
}

// Unmarshal reads a file of one document.
func Unmarshal(file string, b []byte, into any) error {
	docs, err := Documents(file, b)
	if err != nil {
		return err
	}
	if len(docs) != 1 {
		return fmt.Errorf("%s: one document is expected, there are %d", file, len(docs))
	}
	if err := Decode(docs[0], into); err != nil {
		return fmt.Errorf("%s:%d: %w", file, docs[0].Line, err)
	}
	return nil
}

// resolver copies a document with every alias replaced by what it stands for.
type resolver struct {
	file   string
	inside map[*Node]bool // anchors that are being resolved
	nodes  int
}

func (r *resolver) errorf(n *Node, format string, a ...any) error {
	return Mistake{File: r.file, Line: n.Line, What: fmt.Sprintf(format, a...)}
}

func (r *resolver) resolve(n *Node) (*Node, error) {
	if n.Kind == yamlv3.AliasNode {
		if r.inside[n.Alias] {
			return nil, r.errorf(n, "anchor %q contains itself", n.Value)
		}
		return r.resolve(n.Alias)
	}
	if r.nodes++; r.nodes > maxNodes {
		return nil, r.errorf(n, "more than %d keys and values in one document, with what its aliases stand for", maxNodes)
	}
	out := *n
	out.Anchor, out.Content, out.HeadComment, out.LineComment, out.FootComment = "", nil, "", "", ""
	if n.Anchor != "" {
		r.inside[n] = true
		defer delete(r.inside, n)
	}
	var err error
	switch n.Kind {
	default: // a scalar
	case yamlv3.MappingNode:
		out.Content, err = r.mapping(n)
	case yamlv3.SequenceNode:
		for _, c := range n.Content {
			var x *Node
			if x, err = r.resolve(c); err != nil {
				break
			}
			out.Content = append(out.Content, x)
		}
	}
	return &out, err
}

// mapping resolves keys and values. What a merge key brings stands behind the mapping's own keys, which win.
func (r *resolver) mapping(n *Node) ([]*Node, error) {
	var own, merged []*Node
	have := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := r.resolve(n.Content[i])
		if err != nil {
			return nil, err
		}
		value, err := r.resolve(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		switch {
		case key.ShortTag() == "!!merge":
			from := []*Node{value}
			if value.Kind == yamlv3.SequenceNode {
				from = value.Content
			}
			merged = append(merged, from...)
		case key.Kind != yamlv3.ScalarNode:
			return nil, r.errorf(key, "a key must be one word or text, not a list or a mapping")
		case have[key.Value] > 0:
			return nil, r.errorf(n.Content[i], "key %q is given twice, first in line %d", key.Value, have[key.Value])
		default:
			have[key.Value] = n.Content[i].Line
			own = append(own, text(key), value)
		}
	}
	for _, m := range merged {
		if m.Kind != yamlv3.MappingNode {
			return nil, r.errorf(m, "<< takes a mapping, or a list of mappings")
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if key := m.Content[i]; have[key.Value] == 0 {
				have[key.Value] = key.Line
				own = append(own, key, m.Content[i+1])
			}
		}
	}
	return own, nil
}

// text makes a key what it says, letter by letter: to YAML 1.1, which Kubernetes reads, a bare yes is true, and 0x10 is 16.
func text(key *Node) *Node {
	key.Tag, key.Style = "!!str", yamlv3.DoubleQuotedStyle
	return key
}
