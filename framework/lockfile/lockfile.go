// Package lockfile holds files that only one process may have. The kernel drops a lock when its process
// ends, however it ends.
package lockfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another process holds the lock.
var ErrHeld = errors.New("held by a running process")

// glance is more than Look holds a lock for where it must take one to see it (not on Linux): whoever still has it after
// that time is no onlooker.
const glance = 20 * time.Millisecond

// Take locks a file, made with its folder where it is missing, and leaves its content as it is. Closing
// the file lets go; the caller must keep it, since the garbage collector closes what nobody does. It does
// not wait: ErrHeld when another process has it, or shares it.
func Take(path string) (*os.File, error) { return take(path, false, 0) }

// TakeAppend is Take for a file to which the caller only ever appends.
func TakeAppend(path string) (*os.File, error) { return take(path, false, os.O_APPEND) }

// Share locks a file like Take, but any number of processes may share it. ErrHeld when one has taken it.
func Share(path string) (*os.File, error) { return take(path, true, 0) }

func take(path string, shared bool, flags int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	for end := time.Now().Add(glance); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|flags, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the lock: %w", err)
		}
		err = lock(f, shared)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		switch {
		case err == nil: // its holder removed it between our open and our lock: the lock is another file by now
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Now().After(end):
			return nil, fmt.Errorf("lock %s: %w", path, ErrHeld)
		default:
			<-time.After(time.Millisecond)
		}
	}
}

// isAt says whether an open file still is the one with that path.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Look says whether a process has taken the lock, and what the file says. A lock that is shared, or that
// nobody has made, is free. The answer may be old by the time that it is read.
func Look(path string) (text string, held bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look at the lock: %w", err)
	}
	defer f.Close()
	if held, err = taken(f); err != nil {
		return "", false, fmt.Errorf("look at the lock %s: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return "", held, fmt.Errorf("read the lock: %w", err)
	}
	return string(b), held, nil
}

// Write replaces the content of a held file.
func Write(f *os.File, text string) error {
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// Remove removes a held lock's file and lets go of it. Who waits for the lock makes a new file.
func Remove(f *os.File) error {
	return errors.Join(os.Remove(f.Name()), f.Close())
}
