package reporttest

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// Elements are those of a tag and a class below a node of a page, in order; "" is any class.
func Elements(root *html.Node, tag, class string) []*html.Node {
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag && (class == "" || slices.Contains(strings.Fields(Attr(n, "class")), class)) {
			out = append(out, n)
		}
	}
	return out
}

// Attr is an attribute of an element; "" where it has none of that name.
func Attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Text is all text below a node.
func Text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}
