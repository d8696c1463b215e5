package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// kept is one file of a commit (git ls-tree).
type kept struct {
	mode, kind, object, name string
	size                     int64
}

// Modes and kinds of git ls-tree.
const (
	linkMode  = "120000"
	blobKind  = "blob"
	submodule = "commit"
)

// tracked reads the list of git ls-tree -r -l -z.
func tracked(listed string) ([]kept, error) {
	var out []kept
	for _, l := range strings.Split(strings.TrimSuffix(listed, "\x00"), "\x00") {
		about, name, ok := strings.Cut(l, "\t")
		f := strings.Fields(about)
		switch {
		case l == "": // a commit without files
			continue
		case !ok || len(f) != 4:
			return nil, fmt.Errorf("git ls-tree says %q, which is not understood", l)
		}
		k := kept{mode: f[0], kind: f[1], object: f[2], name: name}
		if f[3] != "-" { // of what has a size
			n, err := strconv.ParseInt(f[3], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("git ls-tree says %q: %w", l, err)
			}
			k.size = n
		}
		out = append(out, k)
	}
	return out, nil
}

// read says whether the content of a file is needed: a longer one is refused wherever it is read.
func (k kept) read() bool { return k.kind == blobKind && k.size <= input.MaxFile }

// wanted are the objects whose content is needed, as git cat-file --batch wants them.
func wanted(files []kept) string {
	var b strings.Builder
	for _, k := range files {
		if k.read() {
			b.WriteString(k.object + "\n")
		}
	}
	return b.String()
}

// unpack writes files with their content, as git cat-file --batch gives it, into a folder; links after all others, and only those
// that stay in the folder.
func unpack(files []kept, content []byte, dir string, lost map[string]string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	links := map[string]string{}
	for _, k := range files {
		name := filepath.FromSlash(k.name)
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		var text []byte
		if k.read() {
			if text, content, err = next(k, content); err != nil {
				return err
			}
		}
		switch {
		case k.kind == submodule:
			err = root.MkdirAll(name, 0o700)
			lost[filepath.Join(dir, name)] = "it is a Git submodule, whose files at the commit are in another repository: name it as a path of its own"
		case k.mode == linkMode:
			links[name] = string(text)
		case k.read():
			err = write(root, name, text, k.size)
		default: // a hole of its size, which is refused as the file itself is
			err = write(root, name, nil, k.size)
		}
		if err != nil {
			return err
		}
	}
	return link(root, dir, links, lost)
}

// next cuts the content of a file off the front of what git cat-file --batch has written.
func next(k kept, content []byte) (text, rest []byte, err error) {
	head, rest, _ := bytes.Cut(content, []byte("\n"))
	if want := fmt.Sprintf("%s %s %d", k.object, k.kind, k.size); string(head) != want || int64(len(rest)) <= k.size {
		return nil, nil, fmt.Errorf("git cat-file says %.100q of %s, and not %q", head, k.name, want)
	}
	return rest[:k.size], rest[k.size+1:], nil
}

func write(root *os.Root, name string, text []byte, size int64) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = io.Copy(f, bytes.NewReader(text)); err == nil {
		err = f.Truncate(size)
	}
	return err
}

// link makes links. Those that lead out of the folder lead to themselves then.
func link(root *os.Root, dir string, links, lost map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if err := root.Symlink(links[name], name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		full := filepath.Join(dir, name)
		to, err := filepath.EvalSymlinks(full)
		if err != nil { // it led nowhere at the commit either, or leads to one that led out
			to = filepath.Join(filepath.Dir(full), links[name])
			if filepath.IsAbs(links[name]) {
				to = links[name]
			}
		}
		if below(dir, to) {
			continue
		}
		if err := errors.Join(root.Remove(name), root.Symlink(filepath.Base(name), name)); err != nil {
			return err
		}
		lost[full] = fmt.Sprintf("at the commit it is a link to %s, out of the repository, and what was there then cannot be known", links[name])
	}
	return nil
}

// below says whether a path is that of a folder, or below it.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
