package casefile

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// passedOver says why a file is not read; "" if it is.
func passedOver(p string) string {
	for _, part := range strings.Split(p, "/") {
		if strings.HasPrefix(part, ".") {
			return fmt.Sprintf("%s begins with a dot", part)
		}
	}
	if ext := path.Ext(p); ext != ".yaml" && ext != ".yml" {
		return "its name does not end in .yaml or .yml"
	}
	return ""
}

// Bounds of a look at files that are not read: the files, their length and the part that is looked at, in bytes.
const (
	maxLooks  = 2000
	maxLooked = 64 << 10
	lookedAt  = 4 << 10
)

// passOver tells of a file that is not read though it looks like a case.
func (r *reader) passOver(p string, d fs.DirEntry, why string) {
	info, err := d.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxLooked || r.looked >= maxLooks {
		return
	}
	r.looked++
	f, err := r.fsys.Open(p)
	if err != nil {
		return // nobody has asked for it
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := bufio.NewScanner(io.LimitReader(f, lookedAt))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "claim:") {
			r.notice(p, "it looks like a case and is not read, because %s", why)
			return
		}
	}
}

// file is a fixture that was read.
type file struct {
	docs []*input.Node
	err  error
}

// fixtures finds the files that a case names, beside itself, in the folders above it up to DIR, and among the built-in ones; names may be
// patterns, such as ../../deploy/*.yaml. The case has the names of all files then, as the folder's file system has them.
func (r *reader) fixtures(l *Loaded) {
	named := l.Case.Fixtures
	l.Case.Fixtures = nil
	for i, name := range named {
		files, fsys, m := r.find(l, i, name)
		if m != nil {
			r.fault(*m)
			l.Broken = true
			continue
		}
		for _, p := range files {
			if slices.Contains(l.Case.Fixtures, p) {
				continue
			}
			if r.fixture(l, i, fsys, p) {
				l.Case.Fixtures = append(l.Case.Fixtures, p)
			}
		}
	}
}

// find names the files that an entry of fixtures means, and the file system that has them.
func (r *reader) find(l *Loaded, i int, name string) ([]string, fs.FS, *input.Mistake) {
	bad := func(what, remedy string) *input.Mistake {
		m := l.At("fixtures: "+what, "fixtures", i)
		m.Remedy = remedy
		return &m
	}
	if name == "" {
		return nil, nil, bad("a name is empty", "")
	}
	places := []string{path.Clean(name)}
	if !path.IsAbs(name) {
		places = nil
		for dir := path.Dir(l.Case.File); dir != "."; dir = path.Dir(dir) {
			places = append(places, path.Join(dir, name))
		}
		places = append(places, path.Clean(name))
	}
	for at, fsys := range append([]fs.FS{r.fsys}, r.more...) {
		tries := places
		if at > 0 {
			tries = places[len(places)-1:]
		}
		for _, pattern := range tries {
			found, err := fs.Glob(fsys, pattern)
			if err != nil {
				return nil, nil, bad(fmt.Sprintf("%q is no pattern: %v", name, err), "")
			}
			var files []string
			for _, p := range found {
				if st, err := fs.Stat(fsys, p); err == nil && st.IsDir() {
					if p == pattern {
						return nil, nil, bad(fmt.Sprintf("%s is a folder", name), fmt.Sprintf("name its files: %s/*.yaml", strings.TrimSuffix(name, "/")))
					}
					continue
				}
				files = append(files, p)
			}
			if len(files) > 0 {
				return files, fsys, nil
			}
		}
	}
	return nil, nil, bad(fmt.Sprintf("no file is called %s", name), "it is looked for beside the case, in the folders above it up to DIR, and among the built-in fixtures; patterns such as ../../deploy/*.yaml are allowed")
}

// fixture reads one file for a case; false means that it has no objects for it.
func (r *reader) fixture(l *Loaded, i int, fsys fs.FS, p string) bool {
	f, known := r.files[p]
	if docs, here := r.manifests[p]; here && !known {
		f, known = file{docs: docs}, true
	}
	if !known {
		f.docs, f.err = r.read(fsys, p)
	}
	if _, seen := r.files[p]; !seen {
		r.files[p] = f
		if f.err != nil {
			m := input.AsMistake(p, 0, f.err)
			if m.Line == 0 { // the file as a whole: where it is named is of more use
				what := fmt.Sprintf("fixtures: %s: %s", p, m.What)
				m = l.At(what, "fixtures", i)
			}
			r.fault(m)
		}
	}
	if f.err != nil {
		l.Broken = true
		return false
	}
	if len(f.docs) == 0 {
		r.fault(l.At(fmt.Sprintf("fixtures: %s has no objects", p), "fixtures", i))
		return false
	}
	var objs []Document
	for _, d := range f.docs {
		switch {
		case kustomization(d):
			r.notice(p, "a Kustomization is no object of a cluster, and is left out")
			return false
		case isCase(d):
			r.fault(l.At(fmt.Sprintf("fixtures: %s is a case file", p), "fixtures", i))
			return false
		case !r.isObject(p, d, "every document of a fixture"):
			l.Broken = true
			return false
		}
		objs = append(objs, Document{p, d, "fixtures"})
	}
	l.Objects = append(l.Objects, objs...)
	return true
}

func kustomization(d *input.Node) bool {
	v := input.Value(d, "apiVersion")
	return v != nil && strings.HasPrefix(v.Value, "kustomize.config.k8s.io/")
}

// maxNamed is how many files without a claim are named one by one.
const maxNamed = 8

// unused tells of manifests that no case names.
func (r *reader) unused() {
	var left []string
	for p := range r.manifests {
		if _, used := r.files[p]; !used {
			left = append(left, p)
		}
	}
	slices.Sort(left)
	for i, p := range left {
		if i == maxNamed {
			r.notice(p, "it and %d more YAML files have no claim, and no case names them under fixtures: they are ignored", len(left)-i-1)
			return
		}
		r.notice(p, "it has no claim, so it is no case, and no case names it under fixtures: it is ignored")
	}
}
