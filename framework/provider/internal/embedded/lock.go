//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/lockfile"
)

// A cluster's lock file is held by its reaper and the reaper's watchdog, and carries the reaper's PID. The
// kernel drops the lock when both have ended, however they end, so a held lock is the proof of life.

// phase is where in its life a cluster is.
type phase int

const (
	absent   phase = iota // nobody holds the lock: there is no cluster, or only remains of one
	starting              // a command holds the lock and prepares the cluster
	living                // the reaper runs; the parts may still be starting
	ending                // the cluster has ended, and its remains are being removed
)

// holder is who has a cluster's lock.
type holder struct {
	phase  phase
	reaper int // PID; 0 unless living or ending
}

// endingMark follows the PID in the lock of a cluster that has ended.
const endingMark = " ending"

// takeLock returns the locked file, emptied: an earlier holder's PID may be anybody's by now.
func takeLock(path string) (*os.File, error) {
	f, err := lockfile.Take(path)
	if err != nil {
		return nil, err
	}
	if err := lockfile.Write(f, ""); err != nil {
		f.Close()
		return nil, fmt.Errorf("empty the cluster's lock: %w", err)
	}
	return f, nil
}

// look finds out who holds a lock.
func look(path string) (holder, error) {
	text, held, err := lockfile.Look(path)
	if err != nil || !held {
		return holder{}, err
	}
	if text == "" {
		return holder{phase: starting}, nil
	}
	number, ended := strings.CutSuffix(strings.TrimSpace(text), endingMark)
	pid, err := strconv.Atoi(number)
	if err != nil {
		return holder{}, fmt.Errorf("the lock %s names no process: %w", path, err)
	}
	if ended || errors.Is(unix.Kill(pid, 0), unix.ESRCH) { // a reaper that was killed leaves the lock to its watchdog
		return holder{ending, pid}, nil
	}
	return holder{living, pid}, nil
}

// signLock says in a held lock which process the reaper is.
func signLock(f *os.File, reaper int) error { return lockfile.Write(f, strconv.Itoa(reaper)+"\n") }

// markEnding says in a held lock that the cluster has ended.
func markEnding(f *os.File, reaper int) error {
	return lockfile.Write(f, strconv.Itoa(reaper)+endingMark+"\n")
}
