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
	dir, err := filepath.Abs(s.path) // a path that is not may look like a repository to kustomize
	if err != nil {
		r.mistake(s.name, 0, "kustomize does not render it: %v", err)
		return
	}
	r.depends(dir)
	found, patches, err := remote(dir)
	if err != nil {
		r.mistake(s.name, 0, "kustomize does not render it: %s", strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	if found != "" {
		r.mistake(s.name, 0, "it is built on %q, which is not there or which kustomize would fetch, and nothing is fetched: render it and hand the result in (kustomize build | egressctl verify -)", found)
		return
	}
	disk := &recorded{FileSystem: filesys.MakeFsOnDisk()}
	opts := krusty.MakeDefaultOptions() // no plugins, no Helm
	built, err := krusty.MakeKustomizer(opts).Run(disk, dir)
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
	docs, err := input.DocumentsUpTo(s.name, text, maxRendered)
	if err != nil {
		r.set.Mistakes = append(r.set.Mistakes, input.AsMistake(s.name, 0, err))
		return
	}
	places := disk.places(s, patches)
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
	group, kind, namespace, name, file string
	line                               int
}

// placeOf is a document by what tells objects apart; false where it is no object.
func placeOf(d *input.Node) (place, bool) {
	at := func(path ...any) string {
		if n := input.Value(d, path...); n != nil {
			return n.Value
		}
		return ""
	}
	group, _, versioned := strings.Cut(at("apiVersion"), "/")
	if !versioned {
		group = ""
	}
	p := place{group: group, kind: at("kind"), namespace: at("metadata", "namespace"), name: at("metadata", "name")}
	return p, p.kind != "" && p.name != ""
}

// placesIn are those of all documents that were read for a folder.
type placesIn struct {
	folder string
	all    []place
}

func (f *recorded) places(s source, patches map[string]bool) placesIn {
	out := placesIn{folder: s.name}
	root, err := filepath.Abs(s.path)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	for _, name := range f.files {
		docs, bad := input.Documents(name, f.texts[name])
		if bad != nil || patches[name] {
			continue // a part of a generated ConfigMap; what changes an object, and has its kind and name
		}
		called := name
		if err == nil {
			if rel, err := filepath.Rel(root, name); err == nil {
				called = filepath.ToSlash(filepath.Join(s.name, rel))
			}
		}
		for _, d := range docs {
			if p, ok := placeOf(d); ok {
				p.file, p.line = called, d.Line
				out.all = append(out.all, p)
			}
		}
	}
	return out
}

// of is the place of the document that a rendered one was made of: of its kind, and with its name, or with one to which a prefix
// or suffix was added. Of several, the one with more of the name is meant, and then the one of the namespace, which kustomize may
// have changed. Where that leaves none, or more than one, it is the folder.
func (p placesIn) of(d *input.Node) (file string, line int) {
	made, ok := placeOf(d)
	if !ok {
		return p.folder, 0
	}
	var best []place
	fits := -1
	for _, x := range p.all {
		if x.group != made.group || x.kind != made.kind || !strings.Contains(made.name, x.name) {
			continue
		}
		n := 2 * len(x.name)
		if x.namespace == made.namespace {
			n++
		}
		if n > fits {
			best, fits = nil, n
		}
		if n == fits {
			best = append(best, x)
		}
	}
	if len(best) != 1 {
		return p.folder, 0
	}
	return best[0].file, best[0].line
}
