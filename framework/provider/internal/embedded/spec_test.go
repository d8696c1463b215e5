//go:build linux

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

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
