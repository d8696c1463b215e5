package components

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Single files of packages keep their mode; one that the distribution has elsewhere is named.
func TestPick(t *testing.T) {
	root, out := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/tool"), []byte("tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pick(root, []string{"usr/bin/tool"}, out); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(out, "tool")); err != nil || st.Mode().Perm() != 0o755 || st.Size() != 4 {
		t.Errorf("%v %v", st, err)
	}
	if err := pick(root, []string{"usr/sbin/tool"}, out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another place: %v", err)
	}
}
