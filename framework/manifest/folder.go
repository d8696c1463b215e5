package manifest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suffixes of files that are read in a folder.
var suffixes = []string{".yaml", ".yml", ".json"}

// walker reads a folder, with what its links lead to.
type walker struct {
	*reader
	root  string          // without links
	seen  map[string]bool // folders
	links []source        // of folders, which are read after what is there itself
}

// folder reads all YAML and JSON files below a folder, in the order of their names, and then those below folders that links lead
// to, each once. Charts among them are rendered; kustomize folders are overlays or their bases, of which nobody can tell which is
// meant.
func (r *reader) folder(s source) {
	found := len(r.set.Objects) + len(r.set.Mistakes)
	t := &walker{reader: r, root: s.path, seen: map[string]bool{}}
	t.walk(s)
	for len(t.links) > 0 {
		next := t.links[0]
		t.links = t.links[1:]
		t.linked(next)
	}
	if len(r.set.Objects)+len(r.set.Mistakes) == found {
		r.notice(s.name, "no object is in it: files whose names end in %s are read", strings.Join(suffixes, ", "))
	}
}

func (t *walker) walk(s source) {
	err := filepath.WalkDir(s.path, func(p string, d fs.DirEntry, err error) error {
		below, bad := filepath.Rel(s.path, p)
		if bad != nil {
			return bad
		}
		at := source{p, filepath.ToSlash(filepath.Join(s.name, below))}
		switch {
		case err != nil:
			t.mistake(at.name, 0, "read it: %v", err)
			return nil
		case p == s.path:
			t.seen[p] = true
			t.depends(p)
			return nil
		case d.IsDir() && t.seen[p]:
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case t.isLost(at):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			t.seen[p] = true
			if t.rendered(at) {
				return fs.SkipDir
			}
			t.depends(p)
		case slices.Contains(suffixes, filepath.Ext(p)):
			t.file(at)
		case d.Type()&fs.ModeSymlink != 0:
			t.link(at)
		}
		return t.ctx.Err()
	})
	if err != nil {
		t.mistake(s.name, 0, "read it: %v", err)
	}
}

// rendered takes a folder below the one that is read whose files are no objects by themselves.
func (t *walker) rendered(s source) bool {
	switch {
	case isChart(s.path):
		t.chart(s)
	case isKustomization(s.path):
		t.notice(s.name, "it is a kustomize folder, and is not read as a part of another one: name it, or the overlay that is meant, as a path of its own")
	default:
		return false
	}
	return true
}

// link notes a link whose name is not that of a file which is read: it may lead to a folder.
func (t *walker) link(s source) {
	to, err := filepath.EvalSymlinks(s.path)
	var st os.FileInfo
	if err == nil {
		st, err = os.Stat(to)
	}
	switch {
	case err != nil:
		t.mistake(s.name, 0, "it is a link, and what it leads to cannot be read: %v", err)
	case st.IsDir():
		t.links = append(t.links, source{to, s.name})
	}
}

// linked reads the folder that a link leads to, unless it was read already.
func (t *walker) linked(s source) {
	up, err := filepath.Rel(s.path, t.root)
	switch {
	case t.seen[s.path] || t.isLost(s):
	case err == nil && filepath.IsLocal(up): // which would read all that is beside it, too
		t.mistake(s.name, 0, "it is a link to a folder that it is in itself, of which nothing else is read: name what is meant as a path of its own")
	case t.rendered(s):
		t.seen[s.path] = true
	default:
		t.walk(s)
	}
}

// isLost notes what was there at a commit and cannot be read now.
func (r *reader) isLost(s source) bool {
	for p := s.path; ; p = filepath.Dir(p) {
		if why, lost := r.lost[p]; lost {
			r.mistake(s.name, 0, "%s", why)
			return true
		}
		if filepath.Dir(p) == p {
			return false
		}
	}
}
