package pods

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/procgroup"
)

func TestOverlay(t *testing.T) {
	under := egress.Object{"global": egress.Object{"hub": "h", "proxy": egress.Object{"image": "proxyv2"}}, "revision": ""}
	got := overlay(under, egress.Object{"global": egress.Object{"nativeNftables": true, "proxy": egress.Object{"image": "other"}}, "new": egress.Object{"a": 1}})
	want := egress.Object{
		"global":   egress.Object{"hub": "h", "nativeNftables": true, "proxy": egress.Object{"image": "other"}},
		"revision": "", "new": egress.Object{"a": 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if !reflect.DeepEqual(under["global"], egress.Object{"hub": "h", "proxy": egress.Object{"image": "proxyv2"}}) {
		t.Errorf("the values below have changed: %v", under)
	}
}

// Files larger than a pipe reach a command whole, in order, and without a file on the disk.
func TestHandOver(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	a, b := bytes.Repeat([]byte("a"), 300_000), bytes.Repeat([]byte("b"), 200_000)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `cat "$4" "$2"`, "sh")
	stop, err := handOver(cmd, []option{{"-a", a}, {"-b", b}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := procgroup.Run(cmd); err != nil || !bytes.Equal(out.Bytes(), append(b, a...)) {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	// A command that reads nothing ends, and so does what writes.
	cmd = exec.CommandContext(t.Context(), "true")
	stop, err = handOver(cmd, []option{{"-a", a}})
	if err != nil {
		t.Fatal(err)
	}
	if err := procgroup.Run(cmd); err != nil {
		t.Error(err)
	}
	stop()
}
