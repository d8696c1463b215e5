//go:build linux

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mesh-egress-conformance/framework/lockfile"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters", "a.lock")
	if pid, err := holder(path); pid != 0 || err != nil {
		t.Errorf("no lock: %d %v", pid, err)
	}
	f, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(path); pid != starting || err != nil {
		t.Errorf("a lock without reaper: %d %v", pid, err)
	}
	if _, err := takeLock(path); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("taken twice: %v", err)
	}
	if err := writePID(f, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(path); pid != os.Getpid() || err != nil {
		t.Errorf("signed: %d %v", pid, err)
	}
	f.Close()
	if pid, err := holder(path); pid != 0 || err != nil {
		t.Errorf("let go: %d %v", pid, err)
	}
	// The next holder must not be taken for the last one.
	if f, err = takeLock(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pid, err := holder(path); pid != starting || err != nil {
		t.Errorf("taken again: %d %v", pid, err)
	}
}

func TestClusterName(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "my-cluster-2": true, "": false, "-a": false, "A": false, "a/b": false, "..": false, "a.b": false, "abcdefghijklmnopqrstuvwxyz0123456789": false} {
		if clusterName.MatchString(name) != want {
			t.Errorf("%q: want %t", name, want)
		}
	}
}
