//go:build linux

package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/limits"
)

// cniResults is where containerd's CNI library notes what it has made for each pod (libcni's cache).
const cniResults = "/var/lib/cni/results"

// podDialer makes connections from inside the pods of a cluster, through the socket of servePods.
type podDialer struct{ socket string }

// DialPod is cluster.PodDialer's.
func (d podDialer) DialPod(ctx context.Context, namespace, pod, address string) (net.Conn, error) {
	network := "tcp"
	if isAbstract(address) {
		network = "unix"
	}
	c, err := getConnection(ctx, d.socket, fmt.Appendf(nil, "%s %s %s\n", namespace, pod, address), network)
	if err != nil {
		return nil, fmt.Errorf("connect to %s inside pod %s/%s: %w", address, namespace, pod, err)
	}
	return c, nil
}

func isAbstract(address string) bool { return strings.HasPrefix(address, "@") }

// servePods gives everybody who connects to a listening unix socket, and names a pod and a port or an abstract socket, a connection
// to that, made in the pod's network namespace as a port-forward does it. Nobody copies what goes over
// it, while a port-forward or an exec leads through the API server, the kubelet and containerd: 2 ms of the processor for a question.
func servePods(ln net.Listener, dir string) {
	serve(ln, func(c net.Conn) {
		to := c.(*net.UnixConn) //nolint:forcetypeassert // of a unix socket
		fd, err := podConnection(to, dir)
		if err != nil {
			_, _ = to.Write(append([]byte{0}, err.Error()...)) // who asked hears of it, or has gone
			return
		}
		defer func() { _ = unix.Close(fd) }()                          // what is given is a copy
		_, _, _ = to.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil) // as above
	})
}

// podConnection reads which pod and address are meant, and connects.
func podConnection(from net.Conn, dir string) (int, error) {
	if err := from.SetReadDeadline(time.Now().Add(limits.Process().Cluster.Connect)); err != nil {
		return -1, err
	}
	const longest = 1000
	line, err := bufio.NewReader(io.LimitReader(from, longest)).ReadString('\n')
	if err != nil {
		return -1, fmt.Errorf("read which pod is meant: %w", err)
	}
	var namespace, pod, address string
	if _, err := fmt.Sscanf(line, "%s %s %s\n", &namespace, &pod, &address); err != nil {
		return -1, fmt.Errorf("%q names no pod and address: %w", line, err)
	}
	to, err := insideAddress(address)
	if err != nil {
		return -1, err
	}
	netns, err := podNetworks(dir, namespace, pod)
	if err != nil {
		return -1, err
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and nobody else gets one in a pod
		fd, err := connectInside(netns, to)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

// podNetworks are the network namespaces that were made for a pod; one that has ended may be among them.
func podNetworks(dir, namespace, pod string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*-eth0"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) { // its pod has ended
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for the pod's network: %w", err)
		}
		var made struct {
			Netns string      `json:"netns"`
			Args  [][2]string `json:"cniArgs"`
		}
		if json.Unmarshal(b, &made) == nil && slices.Contains(made.Args, [2]string{"K8S_POD_NAMESPACE", namespace}) && slices.Contains(made.Args, [2]string{"K8S_POD_NAME", pod}) {
			out = append(out, made.Netns) // one that cannot be read is being written, of a pod that only begins
		}
	}
	return out, nil
}

// insideAddress reads a port of the loopback address, or the name of an abstract unix socket.
func insideAddress(text string) (unix.Sockaddr, error) {
	if isAbstract(text) {
		return &unix.SockaddrUnix{Name: text}, nil // which nothing but processes of its network namespace can listen on
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a port nor an abstract socket: %w", text, err)
	}
	return &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}, nil
}

// connectInside moves the thread into the first of some network namespaces that is there, and connects to an address of it.
func connectInside(netns []string, to unix.Sockaddr) (int, error) {
	for _, n := range netns {
		if err := enter(n); err == nil {
			return connect(to)
		}
	}
	return -1, errors.New("it has no network: it has not begun yet, or has ended")
}

func enter(netns string) error {
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Setns(fd, unix.CLONE_NEWNET) //nolint:forbidigo // the thread is the goroutine's own and ends with it; a child for each connection would cost what it saves
}

// lookAgain is how long is waited for a connection until the thread looks whether there is still a network to make it in.
const lookAgain = 100 * time.Millisecond

func connect(to unix.Sockaddr) (int, error) {
	family := unix.AF_INET
	if _, ok := to.(*unix.SockaddrUnix); ok {
		family = unix.AF_UNIX
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	slice := unix.NsecToTimeval(int64(lookAgain))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &slice) // bounds the connecting
	for end := time.Now().Add(limits.Process().Cluster.Connect); err == nil; {
		if err = unix.Connect(fd, to); err == nil || !goesOn(err) || time.Now().After(end) {
			break
		}
		err = loopbackUp(fd)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// goesOn says whether a connection is still being made, and waited for by connecting again: its time was over, or a signal came.
func goesOn(err error) bool {
	return errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EALREADY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// loopbackUp fails where nothing can be heard on the loopback address any more. CNI's DEL takes the interface down before the network
// namespace goes; packets to it are lost from then on, without an error.
func loopbackUp(fd int) error {
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo)
	}
	if err == nil && lo.Uint16()&unix.IFF_UP == 0 {
		err = errors.New("its network is being taken down")
	}
	return err
}
