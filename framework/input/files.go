// Package input reads what people hand in: regular files of bounded size, as strict YAML. A wrong file is an error
// that names it, and never a tool that hangs, fills the memory or runs for minutes.
package input

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Bounds of what is read. docs/cases.md names them.
const (
	MaxFile      = 4 << 20  // bytes of one YAML file
	MaxFolder    = 16 << 20 // bytes of all YAML files below one folder
	MaxDocuments = 10_000   // YAML documents in one file, and below one folder
	MaxReport    = 512 << 20
)

// Dir is the folder as a file system whose files are regular (symbolic links to regular files among them) and at most
// MaxFile bytes long; to open another one is an error. Opening does not wait, as os.DirFS does for a named pipe.
func Dir(path string) fs.FS { return dir(path) }

type dir string

// Tree is Dir for files that name others: a name may lead out of the folder (../deploy/rules.yaml), or be absolute.
func Tree(path string) fs.FS { return tree(path) }

type tree string

func (t tree) Open(name string) (fs.File, error) {
	file := filepath.FromSlash(name)
	if !filepath.IsAbs(file) {
		file = filepath.Join(string(t), file)
	}
	f, err := open(file, MaxFile, true)
	if err != nil {
		return nil, err // names the path already
	}
	return f, nil
}

// Name is the folder's own name, also where the path is relative.
func (t tree) Name() string {
	full, err := filepath.Abs(string(t))
	if err != nil {
		full = string(t)
	}
	return filepath.Base(full)
}

func (d dir) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := open(filepath.Join(string(d), filepath.FromSlash(name)), MaxFile, true)
	if err != nil {
		return nil, err // names the path already
	}
	return f, nil
}

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := open(path, limit, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadAll(f.File, path, limit)
}

// ReadAll reads at most limit bytes, such as of standard input. A longer input is an error; name is for its text.
func ReadAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, tooLong(name, limit)
	}
	return b, nil
}

func tooLong(name string, limit int64) error {
	return fmt.Errorf("%s is too long: at most %d MiB are read", name, limit>>20)
}

// open opens a file without waiting for whoever may be at its other end, and refuses what is not regular.
func open(path string, limit int64, folders bool) (*bounded, error) {
	check := func(st fs.FileInfo) error {
		switch {
		case folders && st.IsDir():
			return nil
		case !st.Mode().IsRegular():
			return fmt.Errorf("%s is a %s; only regular files are read", path, kind(st.Mode()))
		case st.Size() > limit:
			return tooLong(path, limit)
		}
		return nil
	}
	st, err := os.Stat(path) // first, because opening a device may already do something
	if err != nil {
		return nil, err
	}
	if err := check(st); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil { // again: another file may have its name by now
		err = check(st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &bounded{f, path, limit, limit}, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// bounded is a file that ends in an error after limit bytes: a file of /proc says that it is empty, and one may grow.
type bounded struct {
	*os.File
	path        string
	limit, left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.File.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLong(b.path, b.limit)
	}
	return n, err
}
