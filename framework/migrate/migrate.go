// Package migrate turns traffic rules of early Istio versions into objects of networking.istio.io/v1: EgressRules,
// RouteRules and DestinationPolicies (config.istio.io/v1alpha2, and the form with "type:" before that), ExternalServices,
// and objects of networking.istio.io/v1alpha3 and v1beta1 with fields that have been renamed or removed since. It reads
// and writes YAML and needs no cluster. Comments and order are kept; objects of other kinds stay as they are.
package migrate

import (
	"bytes"
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/input"
)

// Note is something that a person should know about the migration of an object: what means something else now, or could
// not be carried over.
type Note struct {
	File string
	Line int    // of the file that was read
	Text string // begins with kind and name of the object
}

// String is the note in one line, with its place.
func (n Note) String() string { return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text) }

// Result is what a file became.
type Result struct {
	YAML    []byte // the whole file; documents that nothing was changed in are the same, byte by byte
	Changed int    // objects that were changed
	Left    int    // objects of early versions for which there is no counterpart; they are as they were, and have a note
	Notes   []Note

	hosts map[string]int // namespace and host of a VirtualService made of a RouteRule, to the line of the rule
}

// File migrates the YAML documents of a file; file is its name, for errors and notes, which have the line too. An error
// means that an object cannot be read for what it says it is; nothing is dropped silently. What File returns has nothing
// left that it would change.
func File(file string, in []byte) (*Result, error) {
	docs, err := input.Documents(file, in)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, input.Mistake{File: file, What: "there is no object in it"}
	}
	res := &Result{}
	var out bytes.Buffer
	for _, part := range split(in) {
		raw, err := part.parse(file)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			out.WriteString(part.text)
			continue
		}
		if len(docs) == 0 || docs[0].Line != raw.Content[0].Line {
			return nil, input.Mistake{File: file, Line: part.line, What: "this document does not begin with a line of ---", Remedy: "separate documents by lines of ---, and leave out %YAML"}
		}
		e := &editor{file: file, res: res}
		text, err := e.document(part, raw, docs[0])
		if err != nil {
			return nil, err
		}
		docs = docs[1:]
		out.WriteString(text)
	}
	if len(docs) > 0 {
		return nil, input.Mistake{File: file, Line: docs[0].Line, What: "this document does not begin with a line of ---", Remedy: "separate documents by lines of ---"}
	}
	slices.SortStableFunc(res.Notes, func(a, b Note) int { return a.Line - b.Line })
	res.YAML = out.Bytes()
	return res, nil
}
