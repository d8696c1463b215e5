//go:build !linux

package lockfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock locks an open file, or says unix.EWOULDBLOCK.
func lock(f *os.File, shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	return unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
}

// taken says whether somebody has locked a file and does not share it. It shares the lock for a moment, see glance.
func taken(f *os.File) (bool, error) {
	err := lock(f, true)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
