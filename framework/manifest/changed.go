package manifest

import (
	"maps"
	"reflect"
	"slices"

	"mesh-egress-conformance/framework/input"
)

// Changed are the files, as messages name them, of which something else was read than before: objects, their lines, mistakes.
func (s *Set) Changed(before *Set) []string {
	was, is := before.byFile(), s.byFile()
	var out []string
	for _, f := range slices.Sorted(maps.Keys(is)) {
		if !reflect.DeepEqual(was[f], is[f]) {
			out = append(out, f)
		}
		delete(was, f)
	}
	out = slices.AppendSeq(out, maps.Keys(was))
	slices.Sort(out)
	return out
}

// content is what was read of one file.
type content struct {
	objects           []Object
	mistakes, notices input.Mistakes
}

func (s *Set) byFile() map[string]content {
	out := map[string]content{}
	for _, o := range s.Objects {
		c := out[o.File]
		o.Node = nil // the document itself, of which the fields are all that matters
		c.objects = append(c.objects, o)
		out[o.File] = c
	}
	for _, m := range s.Mistakes {
		c := out[m.File]
		c.mistakes = append(c.mistakes, m)
		out[m.File] = c
	}
	for _, m := range s.Notices {
		c := out[m.File]
		c.notices = append(c.notices, m)
		out[m.File] = c
	}
	return out
}

// Broken are the mistakes that were not there before, wherever in their file they stand: of a file that is being edited the lines move.
func (s *Set) Broken(before *Set) input.Mistakes {
	var out input.Mistakes
	left := slices.Clone(before.Mistakes)
	for _, m := range s.Mistakes {
		i := slices.IndexFunc(left, func(x input.Mistake) bool { return x.File == m.File && x.What == m.What })
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		out = append(out, m)
	}
	return out
}
