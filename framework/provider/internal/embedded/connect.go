//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/limits"
)

// serveConnections gives everybody who connects to a listening unix socket a TCP connection to an address: its descriptor,
// and nobody copies what goes over it. A connection stays in the network namespace that it was made in, whoever holds it,
// which is how the API server is reached without any network link. Most of what the harness does to a cluster goes this way, so a copy
// would cost each message two more turns of the processor.
func serveConnections(ctx context.Context, ln net.Listener, addr string) {
	serve(ln, func(c net.Conn) {
		_ = giveConnection(ctx, c.(*net.UnixConn), addr) //nolint:forcetypeassert // of a unix socket; the caller sees that none came
	})
}

func giveConnection(ctx context.Context, to *net.UnixConn, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, limits.Process().Cluster.Connect)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()                            // what is given is a copy
	raw, err := c.(*net.TCPConn).SyscallConn() //nolint:forcetypeassert // it dialed TCP
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { _, _, sent = to.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil) })
	return errors.Join(err, sent)
}

// getConnection asks the other end of a unix socket for a connection, see serveConnections. which says what for, where it must be said.
func getConnection(ctx context.Context, socket string, which []byte, network string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limits.Process().Cluster.Connect)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if len(which) > 0 { // else the other end may have given it already, and gone
		_, err = c.Write(which)
	}
	var got net.Conn
	if err == nil {
		got, err = receiveConnection(c.(*net.UnixConn), network) //nolint:forcetypeassert // it dialed a unix socket
	}
	if err != nil {
		return nil, fmt.Errorf("get a connection into the sandbox through %s: %w", socket, errors.Join(err, ctx.Err()))
	}
	return got, nil
}

// receiveConnection takes one descriptor, which must be a connection of the network ("tcp" or "unix"), and closes whatever else comes.
// Where none can be given, the other end says nothing, or why.
func receiveConnection(c *net.UnixConn, network string) (net.Conn, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), rights)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("nobody there takes any")
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	defer func() { closeAll(files) }() // what is made of them are copies
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "connection"))
		}
	}
	if len(files) == 0 {
		const longest = 1000
		why, err := io.ReadAll(io.LimitReader(c, longest))
		if err == nil && len(why) > 0 {
			return nil, errors.New(string(why))
		}
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("%d descriptors came", len(files))
	}
	got, err := net.FileConn(files[0])
	if err != nil {
		return nil, err
	}
	if came := got.LocalAddr().Network(); came != network {
		got.Close()
		return nil, fmt.Errorf("a %s connection came, and not one of %s", came, network)
	}
	return got, nil
}
