// Package lockfile holds files that only one process may have. The kernel drops a lock when its process
// ends, however it ends.
package lockfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another process holds the lock.
var ErrHeld = errors.New("held by a running process")

// Take locks a file, made with its folder where it is missing, and leaves its content as it is. Closing
// the file lets go; the caller must keep it, since the garbage collector closes what nobody does. It does
// not wait: ErrHeld when another process has it.
func Take(path string) (*os.File, error) { return take(path, 0) }

// TakeAppend is Take for a file to which the caller only ever appends.
func TakeAppend(path string) (*os.File, error) { return take(path, os.O_APPEND) }

func take(path string, flags int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Write replaces the content of a held file.
func Write(f *os.File, text string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(text), 0)
	return err
}
