package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// rename gives the module of a checkout another path, in every file that git knows: module files, imports, and the
// linter's rules. Names that are no import paths, such as labels and folders of the cache, stay.
func rename(ctx context.Context, dir, to string) error {
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	from := modfile.ModulePath(gomod)
	names, err := output(ctx, dir, nil, "git", "ls-files", "-z")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(names, "\x00"), "\x00") {
		file := filepath.Join(dir, filepath.FromSlash(name))
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read a file that git knows: %w", err)
		}
		moved, err := movePath(name, text, from, to)
		if err != nil {
			return fmt.Errorf("rename the module in %s: %w", name, err)
		}
		if bytes.Equal(moved, text) {
			continue
		}
		if err := os.WriteFile(file, moved, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// movePath is a file with another module path.
func movePath(name string, text []byte, from, to string) ([]byte, error) {
	switch {
	case path.Base(name) == "go.mod":
		return moveModule(text, from, to)
	case path.Base(name) == ".golangci.yml": // which has it as paths alone
		return bytes.ReplaceAll(text, []byte(from), []byte(to)), nil
	case strings.HasSuffix(name, ".go"):
		return moveImports(name, text, from, to)
	}
	return text, nil
}

// moveModule gives a module another path, and those within it: what it requires and replaces of them, too.
func moveModule(text []byte, from, to string) ([]byte, error) {
	f, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, err
	}
	moved := func(p string) (string, bool) {
		rest, ok := strings.CutPrefix(p, from)
		return to + rest, ok && (rest == "" || rest[0] == '/')
	}
	if p, ok := moved(f.Module.Mod.Path); ok {
		if err := f.AddModuleStmt(p); err != nil {
			return nil, err
		}
	}
	for _, r := range f.Require {
		if p, ok := moved(r.Mod.Path); ok {
			f.AddNewRequire(p, r.Mod.Version, r.Indirect)
			if err := f.DropRequire(r.Mod.Path); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range f.Replace {
		if p, ok := moved(r.Old.Path); ok {
			if err := f.AddReplace(p, r.Old.Version, r.New.Path, r.New.Version); err != nil {
				return nil, err
			}
			if err := f.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return nil, err
			}
		}
	}
	f.Cleanup()
	return f.Format()
}
