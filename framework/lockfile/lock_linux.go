package lockfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Locks belong to the open file and not to the process (fcntl(2), "Open file description locks"): like those of flock they
// go with its last descriptor, and other than those they can be asked for without being taken, so that an onlooker, however
// long it is kept from the processor, never stands in anybody's way.

// lock locks an open file, or says unix.EWOULDBLOCK.
func lock(f *os.File, shared bool) error {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if shared {
		l.Type = unix.F_RDLCK
	}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	if errors.Is(err, unix.EACCES) {
		return unix.EWOULDBLOCK
	}
	return err
}

// taken says whether somebody has locked a file and does not share it.
func taken(f *os.File) (bool, error) {
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, err
	}
	return l.Type != unix.F_UNLCK, nil
}
