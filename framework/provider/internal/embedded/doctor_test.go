//go:build linux

package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The machine's limit of inotify instances is told, and warned of where it is below what Linux has by default; it keeps nobody
// from having a cluster.
func TestInotifyInstances(t *testing.T) {
	for name, x := range map[string]struct {
		text    string // of the file; "" for none
		warning bool
		detail  string
	}{
		"Linux's default":   {"128\n", false, "each cluster by itself may have 128; a run of all cases uses 100 to 130"},
		"more":              {"8192\n", false, "may have 8192"},
		"fewer":             {"127\n", true, "may have 127"},
		"none":              {"0\n", true, "may have 0"},
		"no number":         {"many\n", true, "is not known"},
		"it cannot be read": {"", true, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			dir := filepath.Join(proc, "sys/fs/inotify")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if x.text != "" {
				if err := os.WriteFile(filepath.Join(dir, "max_user_instances"), []byte(x.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := inotifyInstances(proc)
			if !c.OK || c.Warning != x.warning || !strings.Contains(c.Detail, x.detail) || strings.Contains(c.Remedy, "sysctl -w fs.inotify.max_user_instances=512") != x.warning {
				t.Errorf("%+v", c)
			}
		})
	}
}
