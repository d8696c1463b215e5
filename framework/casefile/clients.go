package casefile

import (
	"fmt"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

func (r *reader) clients(p string, docs []*input.Node) {
	if docs[0].Kind != yamlv3.SequenceNode || len(docs) > 1 {
		r.fault(input.Mistake{File: p, Line: docs[0].Line, What: "one list of clients is expected", Remedy: "- {name: billing}"})
		return
	}
	for _, n := range docs[0].Content {
		c := Client{File: p, Node: n}
		dec := decoderOf(p)
		dec.Value(n, &c.Client)
		c.Default()
		if err := c.Check(); err != nil && len(dec.Found) == 0 {
			dec.Mistake(n, err.Error(), "")
		}
		r.folder.Mistakes = append(r.folder.Mistakes, dec.Found...)
		r.folder.Clients = append(r.folder.Clients, c)
	}
}

// Revision is a description of an istiod with its place.
type Revision struct {
	egress.Revision
	File string
	Node *input.Node
}

// revisions reads a revisions.yaml.
func (r *reader) revisions(p string, docs []*input.Node) {
	if len(docs) > 1 {
		r.fault(input.Mistake{File: p, Line: docs[1].Line, What: "one list of revisions is expected"})
		return
	}
	r.addRevisions(p, docs[0])
}

// addRevisions reads a list of revisions.
func (r *reader) addRevisions(p string, list *input.Node) {
	if list.Kind != yamlv3.SequenceNode {
		r.fault(input.Mistake{File: p, Line: list.Line, What: "a list of revisions is expected", Remedy: "- {name: canary}"})
		return
	}
	for _, n := range list.Content {
		v := Revision{File: p, Node: n}
		dec := decoderOf(p)
		dec.Value(n, &v.Revision)
		if err := v.Check(); err != nil && len(dec.Found) == 0 {
			dec.Mistake(n, err.Error(), "")
		}
		same := func(o Revision) bool { return o.Name == v.Name }
		if i := slices.IndexFunc(r.folder.Revisions, same); i >= 0 && len(dec.Found) == 0 {
			other := r.folder.Revisions[i]
			dec.Mistake(n, fmt.Sprintf("revision %q is described twice, also in %s:%d", v.Name, other.File, other.Node.Line), "give one of them another name")
		}
		r.folder.Mistakes = append(r.folder.Mistakes, dec.Found...)
		r.folder.Revisions = append(r.folder.Revisions, v)
	}
}

// bind gives clients the revisions that they name.
func (r *reader) bind() {
	for i, c := range r.folder.Clients {
		if c.Revision == "" {
			continue
		}
		n := slices.IndexFunc(r.folder.Revisions, func(v Revision) bool { return v.Name == c.Revision })
		if n >= 0 {
			r.folder.Clients[i].Istiod = &r.folder.Revisions[n].Revision
			continue
		}
		m := input.Mistake{File: c.File, Line: input.At(c.Node, "revision").Line, What: fmt.Sprintf("client %q: nobody describes revision %q", c.Name, c.Revision)}
		m.Remedy = fmt.Sprintf("describe it in a file revisions.yaml: - {name: %s}", c.Revision)
		var known []string
		for _, v := range r.folder.Revisions {
			known = append(known, v.Name)
		}
		if near := input.Near(c.Revision, known); near != "" {
			m.Remedy = fmt.Sprintf("did you mean %s? Or %s", near, m.Remedy)
		} else if len(known) > 0 {
			m.Remedy += "; described are: " + strings.Join(known, ", ")
		}
		r.fault(m)
	}
}
