//go:build linux

package embedded

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mesh-egress-conformance/framework/lockfile"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters", "a.lock")
	is := func(what string, want holder) {
		t.Helper()
		if got, err := look(path); got != want || err != nil {
			t.Errorf("%s: %+v %v", what, got, err)
		}
	}
	is("no lock", holder{})
	f, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	is("a lock without reaper", holder{phase: starting})
	if _, err := takeLock(path); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("taken twice: %v", err)
	}
	if err := signLock(f, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	is("signed", holder{living, os.Getpid()})
	if err := markEnding(f, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	is("ending", holder{ending, os.Getpid()})
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if err := signLock(f, dead.Process.Pid); err != nil {
		t.Fatal(err)
	}
	is("a dead reaper whose watchdog has the lock", holder{ending, dead.Process.Pid})
	f.Close()
	is("let go", holder{})
	// The next holder must not be taken for the last one.
	if f, err = takeLock(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	is("taken again", holder{phase: starting})
}

// Clusters of one name below two caches must not share cgroups.
func TestCgroupName(t *testing.T) {
	a, b := &spec{Dir: "/cache/clusters/a"}, &spec{Dir: "/other/clusters/a"}
	if a.cgroup() == b.cgroup() || a.cgroup() != (&spec{Dir: "/cache/clusters/a"}).cgroup() {
		t.Errorf("%s %s", a.cgroup(), b.cgroup())
	}
}
