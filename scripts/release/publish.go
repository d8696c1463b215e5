package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// publish lays the source into a module proxy of files, under the path that the version has. The path that the source has
// itself is replaced in go.mod and in imports, which is all that a publisher has to change.
func publish(s source, as module.Version, proxy string) error {
	gomod, err := os.ReadFile(filepath.Join(s.dir, "go.mod"))
	if err != nil {
		return err
	}
	own := modfile.ModulePath(gomod)
	if own == "" {
		return fmt.Errorf("%s/go.mod names no module", s.dir)
	}
	files, err := renamed(os.DirFS(s.dir), own, as.Path)
	if err != nil {
		return err
	}
	escaped, err := module.EscapePath(as.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := zip.Create(&archive, as, files); err != nil {
		return fmt.Errorf("pack the module %s: %w", as, err)
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{as.Version, time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(files, func(f zip.File) bool { return f.Path() == "go.mod" })
	text := files[i].(memory).text // renamed has found go.mod
	return errors.Join(
		os.WriteFile(filepath.Join(dir, as.Version+".zip"), archive.Bytes(), 0o644),
		os.WriteFile(filepath.Join(dir, as.Version+".mod"), text, 0o644),
		os.WriteFile(filepath.Join(dir, as.Version+".info"), info, 0o644),
		os.WriteFile(filepath.Join(dir, "list"), []byte(as.Version+"\n"), 0o644),
	)
}

// memory is a file of the module in memory, by its path in the module.
type memory struct {
	path string
	text []byte
}

func (m memory) Path() string                 { return m.path }
func (m memory) Lstat() (os.FileInfo, error)  { return plain{m}, nil }
func (m memory) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.text)), nil }

type plain struct{ m memory }

func (p plain) Name() string     { return filepath.Base(p.m.path) }
func (p plain) Size() int64      { return int64(len(p.m.text)) }
func (plain) Mode() fs.FileMode  { return 0o644 }
func (plain) ModTime() time.Time { return time.Time{} }
func (plain) IsDir() bool        { return false }
func (plain) Sys() any           { return nil }

// renamed reads the files of a module, with another module path in go.mod and in the imports of each Go file.
func renamed(tree fs.FS, from, to string) ([]zip.File, error) {
	var files []zip.File
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if name == "go.mod" {
			if err := installable(text); err != nil {
				return err
			}
		}
		text, err = movePath(name, text, from, to)
		files = append(files, memory{name, text})
		return err
	})
	return files, err
}

// installable says why the go command would not install a program of the module.
func installable(text []byte) error {
	f, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return err
	}
	if len(f.Replace) > 0 {
		return fmt.Errorf("go.mod:%d: the go command installs no module with replacements", f.Replace[0].Syntax.Start.Line)
	}
	return nil
}

// moveImports replaces the import paths alone: a text that happens to have the module's name in it, such as a label,
// keeps it.
func moveImports(name string, text []byte, from, to string) ([]byte, error) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, i := range slices.Backward(f.Imports) {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		rest, ok := strings.CutPrefix(path, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		at := set.Position(i.Path.Pos()).Offset
		text = slices.Concat(text[:at], []byte(strconv.Quote(to+rest)), text[at+len(i.Path.Value):])
	}
	return text, nil
}
