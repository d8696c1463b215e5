package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// source is the source of a commit, in a folder of its own.
type source struct {
	dir    string
	commit string
}

// checkout lays the source of HEAD into a folder that does not exist. A release is of a commit, so changes beside it are
// an error.
func checkout(ctx context.Context, dir string) (source, error) {
	top, err := output(ctx, ".", nil, "git", "rev-parse", "--show-toplevel", "HEAD")
	if err != nil {
		return source{}, fmt.Errorf("find the commit to release: %w", err)
	}
	root, commit, _ := strings.Cut(strings.TrimSpace(top), "\n")
	changes, err := output(ctx, root, nil, "git", "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return source{}, err
	}
	if changes != "" {
		return source{}, fmt.Errorf("there are changes that no commit has: commit or stash them, since a release is of a commit\n%s", changes)
	}
	archive, err := output(ctx, root, nil, "git", "archive", "--format=tar", commit)
	if err != nil {
		return source{}, err
	}
	return source{dir, commit}, unpack(strings.NewReader(archive), dir)
}

// copyTo copies the source into another folder.
func (s source) copyTo(dir string) error {
	return os.CopyFS(dir, os.DirFS(s.dir))
}

// unpack writes the folders and regular files of a tar archive; others are an error, since a module cannot have them.
func unpack(archive io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive of the source: %w", err)
		}
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		switch h.Typeflag {
		case tar.TypeXGlobalHeader: // git's comment with the commit
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			var b bytes.Buffer
			if _, err = io.Copy(&b, r); err == nil { //nolint:gosec // our own source
				err = root.WriteFile(name, b.Bytes(), os.FileMode(h.Mode).Perm())
			}
		default:
			err = errors.New("it is neither a file nor a folder")
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

// emptied empties the folder of the results, but only one that a release has made: it has this file in it.
func emptied(out string) error {
	const mark = ".release"
	left, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, mark)); err != nil && len(left) > 0 {
		return fmt.Errorf("%s was not made by a release and is not empty: name another folder", out)
	}
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, mark), []byte("made by scripts/release, which empties this folder\n"), 0o644)
}
