package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"mesh-egress-conformance/framework/input"
)

// isKustomization says whether a folder is one of kustomize's.
func isKustomization(dir string) bool {
	return slices.ContainsFunc(konfig.RecognizedKustomizationFileNames(), func(n string) bool {
		st, err := os.Stat(filepath.Join(dir, n))
		return err == nil && st.Mode().IsRegular()
	})
}

// kustomize renders a folder. An object has the place of the document that it was made of, where one of that kind and name was
// read.
func (r *reader) kustomize(s source) {
	r.depends(s.path)
	if found, err := remote(s.path, map[string]bool{}); err != nil {
		r.mistake(s.name, 0, "kustomize does not render it: %v", err)
		return
	} else if found != "" {
		r.mistake(s.name, 0, "it is built on %q, which is not there, and nothing is fetched: render it and hand the result in (kustomize build | egressctl verify -)", found)
		return
	}
	disk := &recorded{FileSystem: filesys.MakeFsOnDisk()}
	opts := krusty.MakeDefaultOptions() // no plugins, no Helm
	built, err := krusty.MakeKustomizer(opts).Run(disk, s.path)
	for _, f := range disk.files {
		r.depends(filepath.Dir(f))
	}
	if err != nil {
		r.mistake(s.name, 0, "kustomize does not render it: %s", strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	text, err := built.AsYaml()
	if err != nil {
		r.mistake(s.name, 0, "kustomize does not render it: %v", err)
		return
	}
	docs, err := input.Documents(s.name, text)
	if err != nil {
		r.set.Mistakes = append(r.set.Mistakes, input.AsMistake(s.name, 0, err))
		return
	}
	places := disk.places(s)
	for _, d := range docs {
		before := len(r.set.Objects)
		file, line := places.of(d)
		r.document(file, d, 0)
		if line > 0 && len(r.set.Objects) > before {
			r.set.Objects[before].Line = line
			// The lines of the rendered document are not those of the file.
			r.set.Objects[before].Node = atLine(d, line)
		}
	}
}

// atLine is a document all of whose parts are at one line.
func atLine(n *input.Node, line int) *input.Node {
	out := *n
	out.Line, out.Content = line, nil
	for _, c := range n.Content {
		out.Content = append(out.Content, atLine(c, line))
	}
	return &out
}

// recorded is a file system that remembers which files were read.
type recorded struct {
	filesys.FileSystem
	files []string
	texts map[string][]byte
}

func (f *recorded) ReadFile(name string) ([]byte, error) {
	b, err := f.FileSystem.ReadFile(name)
	if err == nil && len(b) <= input.MaxFile {
		if f.texts == nil {
			f.texts = map[string][]byte{}
		}
		if _, have := f.texts[name]; !have {
			f.files = append(f.files, name)
			f.texts[name] = b
		}
	}
	return b, err
}

// place is where a document stands.
type place struct {
	kind, name, file string
	line             int
}

// placesIn are those of all documents that were read for a folder.
type placesIn struct {
	folder string
	all    []place
}

func (f *recorded) places(s source) placesIn {
	out := placesIn{folder: s.name}
	root, err := filepath.Abs(s.path)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	for _, name := range f.files {
		docs, bad := input.Documents(name, f.texts[name])
		if bad != nil {
			continue // a patch in JSON, a part of a generated ConfigMap
		}
		called := name
		if err == nil {
			if rel, err := filepath.Rel(root, name); err == nil {
				called = filepath.ToSlash(filepath.Join(s.name, rel))
			}
		}
		for _, d := range docs {
			kind, named := input.Value(d, "kind"), input.Value(d, "metadata", "name")
			if kind != nil && named != nil {
				out.all = append(out.all, place{kind.Value, named.Value, called, d.Line})
			}
		}
	}
	return out
}

// of is the place of the document that a rendered one was made of: of its kind, and with its name, or with one to which a prefix
// or suffix was added. Without one it is the folder.
func (p placesIn) of(d *input.Node) (file string, line int) {
	kind, name := input.Value(d, "kind"), input.Value(d, "metadata", "name")
	if kind == nil || name == nil {
		return p.folder, 0
	}
	best := -1
	for i, x := range p.all {
		if x.kind != kind.Value || !strings.Contains(name.Value, x.name) {
			continue
		}
		if best < 0 || len(x.name) > len(p.all[best].name) {
			best = i
		}
	}
	if best < 0 {
		return p.folder, 0
	}
	return p.all[best].file, p.all[best].line
}
