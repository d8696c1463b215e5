// Package manifest reads Kubernetes objects as teams keep them: files and folders of YAML, standard input, kustomize
// folders, Helm charts, and any of these as they were at a commit. Every object knows the file and line that it comes
// from. What cannot be read is a mistake with its place, and everything else is read all the same.
//
// It runs nothing that it reads: kustomize's and Helm's own libraries render, without plugins and without a cluster.
package manifest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/input"
)

// Object is one object as somebody has written it.
type Object struct {
	File   string         // as messages name it
	Line   int            // of the document in the file; 0 where a template has made it
	Node   *input.Node    // the document
	Fields map[string]any // the same as data
}

// Kind is the object's kind.
func (o Object) Kind() string { return o.text("kind") }

// APIVersion is group and version.
func (o Object) APIVersion() string { return o.text("apiVersion") }

// Group is the API group; "" is that of Kubernetes itself.
func (o Object) Group() string {
	group, _, versioned := strings.Cut(o.APIVersion(), "/")
	if !versioned {
		return ""
	}
	return group
}

// Name is metadata.name.
func (o Object) Name() string { return o.text("metadata", "name") }

// Namespace is metadata.namespace; "" where the object names none.
func (o Object) Namespace() string { return o.text("metadata", "namespace") }

func (o Object) text(path ...string) string {
	s, _ := o.At(path...).(string)
	return s
}

// At follows keys to a value; nil where there is none.
func (o Object) At(path ...string) any {
	var now any = o.Fields
	for _, key := range path {
		m, ok := now.(map[string]any)
		if !ok {
			return nil
		}
		now = m[key]
	}
	return now
}

// LineAt is the line of a field, given by keys and indices, or of the last part of the path that is there; 0 where a
// template has made the object.
func (o Object) LineAt(path ...any) int {
	if o.Line == 0 {
		return 0
	}
	return input.At(o.Node, path...).Line
}

// Where is file:line.
func (o Object) Where() string { return input.Mistake{File: o.File, Line: o.Line}.Where() }

// In is the namespace that the object is in where namespace is that of objects that name none; "" is default.
func (o Object) In(namespace string) string {
	return cmp.Or(o.Namespace(), namespace, defaultNamespace)
}

// Key tells the object from all others of a cluster; namespace is that of In.
func (o Object) Key(namespace string) string {
	return o.Group() + "|" + o.Kind() + "|" + o.In(namespace) + "|" + o.Name()
}

// String names the object for messages.
func (o Object) String() string {
	if ns := o.Namespace(); ns != "" {
		return o.Kind() + " " + ns + "/" + o.Name()
	}
	return o.Kind() + " " + o.Name()
}

// Set is all that was read.
type Set struct {
	Objects  []Object
	Mistakes input.Mistakes // what could not be read
	Notices  input.Mistakes // what was left out on purpose, with the reason
	// Folders are those in which a change of some file may change what is read; paths of this machine, sorted.
	Folders []string
}

// Options say how to read.
type Options struct {
	// Stdin is read for the path "-".
	Stdin io.Reader
	// Values are files with values for Helm charts, Set single ones (name=value).
	Values []string
	Set    []string
	// File reads one of Values; nil reads the file of that name.
	File func(path string) ([]byte, error)
	// Release and Namespace are what Helm charts are rendered for. Objects that name no namespace are in that one, too; "" is
	// default.
	Release, Namespace string
}

// defaultNamespace is that of objects that name none.
const defaultNamespace = "default"

// stdin is the path that stands for standard input.
const stdin = "-"

// source is a path to read, and what messages call it.
type source struct{ path, name string }

// Read reads paths: files, folders, kustomize folders, charts, and "-".
func Read(ctx context.Context, paths []string, o Options) *Set {
	var from []source
	for _, p := range paths {
		from = append(from, source{p, p})
	}
	return read(ctx, from, o, nil)
}

// read reads sources; lost says of paths what was there and is not now, with the reason.
func read(ctx context.Context, from []source, o Options, lost map[string]string) *Set {
	r := &reader{ctx: ctx, o: o, lost: lost, seen: map[string]Object{}, folders: map[string]bool{}, set: &Set{}}
	for _, s := range from {
		r.path(s)
	}
	for _, f := range o.Values {
		r.depends(filepath.Dir(f))
	}
	r.set.Mistakes, r.set.Notices, r.set.Folders = r.set.Mistakes.Sorted(), r.set.Notices.Sorted(), slices.Sorted(maps.Keys(r.folders))
	return r.set
}

// reader reads into a set.
type reader struct {
	ctx  context.Context //nolint:containedctx // of one call of Read
	o    Options
	lost map[string]string
	set  *Set
	seen map[string]Object // by what an API server tells objects apart
	// folders are those of Set.Folders.
	folders map[string]bool
	bytes   int64
}

// depends notes a folder on whose files the result depends.
func (r *reader) depends(dir string) { r.folders[filepath.Clean(dir)] = true }

func (r *reader) mistake(file string, line int, format string, a ...any) {
	r.set.Mistakes = append(r.set.Mistakes, input.Mistake{File: file, Line: line, What: fmt.Sprintf(format, a...)})
}

func (r *reader) notice(file, format string, a ...any) {
	r.set.Notices = append(r.set.Notices, input.Mistake{File: file, What: fmt.Sprintf(format, a...)})
}

// path reads one of the paths that the user has named.
func (r *reader) path(s source) {
	if s.path == stdin {
		if r.o.Stdin == nil {
			r.mistake("standard input", 0, "there is none to read")
			return
		}
		b, err := input.ReadAll(r.o.Stdin, "standard input", input.MaxFolder)
		if err != nil {
			r.mistake("standard input", 0, "%v", err)
			return
		}
		r.text("standard input", b, input.MaxFolder)
		return
	}
	if r.isLost(s) {
		return
	}
	r.depends(filepath.Dir(s.path)) // a folder that goes and comes again is seen there
	full, err := filepath.Abs(s.path)
	if err == nil {
		full, err = filepath.EvalSymlinks(full) // of a link to a folder, nothing below would be found
	}
	if err != nil {
		r.mistake(s.name, 0, "read it: %v", err)
		return
	}
	s.path = full
	r.depends(filepath.Dir(s.path))
	if r.isLost(s) {
		return
	}
	st, err := os.Stat(s.path)
	switch {
	case err != nil:
		r.mistake(s.name, 0, "read it: %v", err)
	case !st.IsDir():
		r.file(s)
	case isChart(s.path):
		r.chart(s)
	case isKustomization(s.path):
		r.kustomize(s)
	default:
		r.folder(s)
	}
}

// file reads one file.
func (r *reader) file(s source) {
	b, err := input.ReadFile(s.path, input.MaxFile)
	if err != nil {
		r.mistake(s.name, 0, "read it: %v", err)
		return
	}
	if r.bytes += int64(len(b)); r.bytes > maxBytes {
		r.mistake(s.name, 0, "it and what comes after it is not read: at most %d MiB are", maxBytes>>20)
		return
	}
	if bytes.HasPrefix(b, []byte(lfsPointer)) {
		r.mistake(s.name, 0, "Git LFS has its content, and this is a pointer to it: git lfs pull")
		return
	}
	r.text(s.name, b, input.MaxFile)
}

// lfsPointer is how a file begins that stands for one that Git LFS keeps.
const lfsPointer = "version https://git-lfs.github.com/spec/"

// Bounds of what is read, in bytes: ten thousand objects of the usual length are a few MiB.
const (
	maxBytes    = 64 << 20        // of all files
	maxRendered = input.MaxFolder // of what kustomize, or one template of a chart, makes
)

// text reads documents, of at most limit bytes.
func (r *reader) text(file string, b []byte, limit int64) {
	docs, err := input.DocumentsUpTo(file, b, limit)
	if err != nil {
		r.set.Mistakes = append(r.set.Mistakes, input.AsMistake(file, 0, err))
		return
	}
	for _, d := range docs {
		r.document(file, d, d.Line)
	}
}

// document takes one document; line 0 says that a template has made it.
func (r *reader) document(file string, d *input.Node, line int) {
	o := Object{File: file, Line: line, Node: d}
	if d.Kind != yamlv3.MappingNode {
		r.mistake(file, line, "this is no Kubernetes object")
		return
	}
	if err := input.Decode(d, &o.Fields); err != nil {
		r.set.Mistakes = append(r.set.Mistakes, input.AsMistake(file, line, err))
		return
	}
	if items := input.Value(d, "items"); items != nil && strings.HasSuffix(o.Kind(), "List") {
		for _, x := range items.Content {
			at := x.Line
			if line == 0 {
				at = 0
			}
			r.document(file, x, at)
		}
		return
	}
	switch {
	case o.Kind() == "" || o.APIVersion() == "":
		if foreign(o) {
			r.notice(file, "it has no apiVersion or no kind, and so is no Kubernetes object")
			return
		}
		r.mistake(file, line, "this is no Kubernetes object: it has no apiVersion or no kind")
	case o.Group() == "kustomize.config.k8s.io":
		r.notice(file, "a Kustomization is no object of a cluster: name its folder as a path to have it rendered")
	case o.Name() == "" && o.Kind() != "IstioOperator": // which istioctl reads without
		r.mistake(file, line, "this %s has no name", o.Kind())
	default:
		r.add(o)
	}
}

// foreign says whether a document is of some other program: it has nothing of an object.
func foreign(o Object) bool {
	return o.Fields["kind"] == nil && o.Fields["apiVersion"] == nil && o.Fields["metadata"] == nil
}

func (r *reader) add(o Object) {
	key := o.Key(r.o.Namespace)
	if other, twice := r.seen[key]; twice {
		r.mistake(o.File, o.Line, "%s is there twice, first in %s: the first one is taken", o, other.Where())
		return
	}
	r.seen[key] = o
	r.set.Objects = append(r.set.Objects, o)
}
