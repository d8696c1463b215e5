//go:build linux

package embedded

import (
	"testing"
)

func TestClusterName(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "my-cluster-2": true, "": false, "-a": false, "A": false, "a/b": false, "..": false, "a.b": false, "abcdefghijklmnopqrstuvwxyz0123456789": false} {
		if clusterName.MatchString(name) != want {
			t.Errorf("%q: want %t", name, want)
		}
	}
}
