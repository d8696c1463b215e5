//go:build linux

package embedded

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// podNetwork is a network namespace with listeners on its loopback address and on an abstract socket, which answer with the address
// of who calls.
func podNetwork(t *testing.T, socket string) (netns, port string) {
	t.Helper()
	ready, end := make(chan error, 1), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		runtime.LockOSThread() // the namespace is the thread's, which ends with the goroutine
		ready <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			netns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return err
			}
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			abstract, err := net.Listen("unix", socket)
			if err != nil {
				return err
			}
			_, port, err = net.SplitHostPort(ln.Addr().String())
			for _, ln := range []net.Listener{ln, abstract} {
				serve(ln, func(c net.Conn) { _, _ = io.WriteString(c, c.RemoteAddr().String()) })
				go func() { <-end; ln.Close() }()
			}
			return err
		}()
		<-end
	}()
	if err := <-ready; err != nil {
		t.Skipf("a network namespace needs root: %v", err)
	}
	return netns, port
}

// noted writes what the CNI library notes of a pod.
func noted(t *testing.T, dir, id, namespace, pod, netns string) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"netns": netns, "cniArgs": [][]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", pod}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pods-"+id+"-eth0"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A connection from inside a pod comes from its loopback address, and from no other pod's.
func TestDialPod(t *testing.T) {
	one, port := podNetwork(t, "@here")
	two, other := podNetwork(t, "@there")
	dir := t.TempDir()
	noted(t, dir, "a", "istio-system", "istiod-1.x", "/run/netns/gone") // its sandbox was made anew
	noted(t, dir, "b", "istio-system", "istiod-1.x", one)
	noted(t, dir, "c", "istio-system", "istiod-2", two)
	noted(t, dir, "d", "elsewhere", "istiod-3", two)
	if err := os.WriteFile(filepath.Join(dir, "pods-e-eth0"), []byte("{"), 0o600); err != nil { // which is being written
		t.Fatal(err)
	}
	ln, path := listenUnixFor(t)
	servePods(ln, dir)
	for name, x := range map[string]struct {
		namespace, pod, address, want string
	}{
		"one":                      {"istio-system", "istiod-1.x", port, ""},
		"another":                  {"istio-system", "istiod-2", other, ""},
		"nobody listens":           {"istio-system", "istiod-2", "1", "connection refused"},
		"no such pod":              {"istio-system", "istiod-3", other, "it has no network"},
		"a name that is no name":   {"istio system", "istiod-1.x", port, "names no pod and address"},
		"a port that is none":      {"istio-system", "istiod-1.x", "70000", "neither a port nor an abstract socket"},
		"a port by its name":       {"istio-system", "istiod-1.x", "http", "neither a port nor an abstract socket"},
		"another address":          {"istio-system", "istiod-1.x", "10.0.0.1:" + port, "neither a port nor an abstract socket"},
		"a file":                   {"istio-system", "istiod-1.x", "/run/s", "neither a port nor an abstract socket"},
		"more than a name can be":  {"istio-system", strings.Repeat("x", 2000), port, "connect to " + port},
		"an abstract socket":       {"istio-system", "istiod-1.x", "@here", ""},
		"one of another pod":       {"istio-system", "istiod-2", "@here", "connection refused"},
		"one with too long a name": {"istio-system", "istiod-1.x", "@" + strings.Repeat("x", 200), "invalid argument"},
	} {
		c, err := podDialer{path}.DialPod(t.Context(), x.namespace, x.pod, x.address)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		said, err := io.ReadAll(c)
		from := c.LocalAddr().String()
		if err != nil || string(said) != from || !strings.HasPrefix(from, "127.0.0.1:") && x.address != "@here" {
			t.Errorf("%s: the server talks to %q, and the caller is %s (%v)", name, said, from, err)
		}
		c.Close()
	}
}

// What calls a pod whose network is being taken down is told so: its packets are lost without an error.
func TestDialPodThatEnds(t *testing.T) {
	netns, port := podNetwork(t, "@ends")
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			if err := enter(netns); err != nil {
				return err
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.LinkSetDown(lo)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	noted(t, dir, "a", "team", "gateway", netns)
	ln, path := listenUnixFor(t)
	servePods(ln, dir)
	if _, err := (podDialer{path}).DialPod(t.Context(), "team", "gateway", port); err == nil || !strings.Contains(err.Error(), "its network is being taken down") {
		t.Errorf("a pod without a network: %v", err)
	}
}
