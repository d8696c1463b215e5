package report

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Folder is where a run leaves its report and bundles. Nothing is ever written through a symbolic link, and nothing
// outside the folder, whatever somebody has put into it; every file appears whole or not at all.
type Folder struct {
	path string
	root *os.Root
}

// trial is how many bytes must fit before a run begins: more than the reports of all built-in cases have.
const trial = 48 << 20

// OpenFolder makes the folder if it is not there, and makes sure that reports can be written into it. What an earlier
// run has left there goes: it would be taken for this run's.
func OpenFolder(dir string) (*Folder, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("the reports cannot be written: %w", err)
	}
	for _, old := range []string{JSONFile, junitFile, summaryFile, HTMLFile, bundles} {
		err = errors.Join(err, f.root.RemoveAll(old))
	}
	if err = errors.Join(err, f.try()); err != nil {
		f.Close()
		return nil, fmt.Errorf("the reports cannot be written into %s: %w", dir, err)
	}
	return f, nil
}

func openFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is no folder (a symbolic link to one is not followed: name the folder itself)", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	now, err := root.Stat(".")
	if err == nil && !os.SameFile(st, now) {
		err = fmt.Errorf("%s was replaced while it was opened", dir)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Folder{dir, root}, nil
}

// try writes a file of sensible size and removes it.
func (f *Folder) try() error {
	tmp, err := f.fill("trial", make([]byte, trial))
	return errors.Join(err, f.discard(tmp))
}

// Path is the folder's name, as it was given.
func (f *Folder) Path() string { return f.path }

// Join is the path of a file in it.
func (f *Folder) Join(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

// Write writes a file; name has slashes and its folders are made. A file or link of that name is replaced.
func (f *Folder) Write(name string, b []byte) error {
	if d := path.Dir(name); d != "." {
		if err := f.root.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("write %s: %w", f.Join(name), err)
		}
	}
	tmp, err := f.fill(name, b)
	if err == nil {
		err = f.root.Rename(tmp, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Join(name), errors.Join(err, f.discard(tmp)))
	}
	return nil
}

// fill makes a new file beside name. It returns the name of what is there, also with an error.
func (f *Folder) fill(name string, b []byte) (tmp string, err error) {
	tmp = path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()) // nobody can have put a link there
	file, err := f.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = file.Write(b)
	return tmp, errors.Join(err, file.Sync(), file.Close()) // some file systems say only then that they are full
}

func (f *Folder) discard(tmp string) error {
	if tmp == "" {
		return nil
	}
	return f.root.Remove(tmp)
}

// RemoveAll removes a file or a folder with all that is in it. What is not there is no error.
func (f *Folder) RemoveAll(name string) error { return f.root.RemoveAll(name) }

// Close lets go of the folder.
func (f *Folder) Close() { f.root.Close() }

// File is one file that a command is going to write, such as of --write.
type File struct {
	folder *Folder
	name   string
}

// OpenFile makes sure, before the work whose result it is for begins, that a file can be written.
func OpenFile(name string) (*File, error) {
	st, err := os.Lstat(name)
	switch {
	case err == nil && !st.Mode().IsRegular():
		err = fmt.Errorf("%s is there and is no regular file", name)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("the result cannot be written: %w", err)
	}
	f, err := openFolder(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("the result cannot be written: %w", err)
	}
	if err := f.try(); err != nil {
		f.Close()
		return nil, fmt.Errorf("the result cannot be written to %s: %w", name, err)
	}
	return &File{f, filepath.Base(name)}, nil
}

// Write writes the file and closes it.
func (f *File) Write(b []byte) error {
	defer f.folder.Close()
	return f.folder.Write(f.name, b)
}
