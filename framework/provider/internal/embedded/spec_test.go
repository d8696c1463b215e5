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

func TestCopyRoot(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), filepath.Join(t.TempDir(), "dst")
	if err := errors.Join(os.MkdirAll(filepath.Join(src, "sub"), 0o700), os.Chmod(filepath.Join(src, "sub"), 0o777|os.ModeSticky),
		os.WriteFile(filepath.Join(src, "sub", "file"), []byte("x"), 0o644), os.WriteFile(filepath.Join(src, "meta.db"), []byte("db"), 0o600),
		os.Symlink("nowhere", filepath.Join(src, "link"))); err != nil {
		t.Fatal(err)
	}
	if err := copyRoot(src, dst); err != nil {
		t.Fatal(err)
	}
	same := func(name string) bool {
		a, err1 := os.Lstat(filepath.Join(src, name))
		b, err2 := os.Lstat(filepath.Join(dst, name))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return os.SameFile(a, b)
	}
	if !same("sub/file") || !same("link") || same("meta.db") {
		t.Error("files must be hard links, databases copies")
	}
	if st, err := os.Stat(filepath.Join(dst, "sub")); err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}
