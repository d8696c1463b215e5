//go:build linux

package embedded

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/limits"
)

func listenUnixFor(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, path
}

// What comes is the connection itself: the server sees its own end of it, and both directions end as they do without
// anybody between.
func TestConnection(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	peers := make(chan string, 1)
	go func() {
		c, err := server.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		peers <- c.RemoteAddr().String()
		b, _ := io.ReadAll(c) // until the other side says that no more comes
		_, _ = c.Write(append([]byte("got "), b...))
	}()
	ln, path := listenUnixFor(t)
	serveConnections(t.Context(), ln, server.Addr().String())
	c, err := getConnection(t.Context(), path, nil, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if peer := <-peers; peer != c.LocalAddr().String() {
		t.Errorf("the server talks to %s, and the caller is %s", peer, c.LocalAddr())
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "got hello" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

// Nothing but one connection of TCP is taken from the other side, and a caller does not wait longer than it says.
func TestNoConnection(t *testing.T) {
	open := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, x := range map[string]struct {
		answer func(*net.UnixConn)
		want   string
	}{
		"nobody listens there": {nil, "nobody there takes any"},
		"closed at once":       {func(*net.UnixConn) {}, "nobody there takes any"},
		"a file":               {func(c *net.UnixConn) { _, _, _ = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(file.Fd())), nil) }, "non-socket"},
		"none":                 {func(c *net.UnixConn) { _, _ = c.Write([]byte{0}) }, "0 descriptors came"},
		"many": {func(c *net.UnixConn) {
			_, _, _ = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(file.Fd()), int(file.Fd()), int(file.Fd())), nil)
		}, "2 descriptors came"},
		"another kind of socket": {func(c *net.UnixConn) {
			raw, err := c.SyscallConn()
			if err == nil {
				_ = raw.Control(func(fd uintptr) { _, _, _ = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil) })
			}
		}, "unix connection came"},
	} {
		ln, path := listenUnixFor(t)
		var answering sync.WaitGroup
		if x.answer == nil {
			serveConnections(t.Context(), ln, "127.0.0.1:1")
		} else {
			answering.Go(func() {
				c, err := ln.AcceptUnix()
				if err == nil {
					x.answer(c)
					c.Close()
				}
			})
		}
		before := open()
		c, err := getConnection(t.Context(), path, nil, "tcp")
		if err == nil {
			c.Close()
			t.Errorf("%s: a connection came", name)
		} else if !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
		ln.Close()
		answering.Wait()
		if after := open(); after > before {
			t.Errorf("%s: %d descriptors are open, and %d were", name, after, before)
		}
	}
	_, path := listenUnixFor(t) // which nobody serves
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := getConnection(ctx, path, nil, "tcp")
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(limits.Process().Cluster.Connect / 2): // by itself it ends after the whole
		t.Error("its caller has given up, and it goes on")
	}
}
