package pods

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"mesh-egress-conformance/framework/probe"
)

// listening runs the agent in this process, which listens on an abstract socket, and dials it.
func listening() (run stream, dial func(context.Context) (net.Conn, error)) {
	socket := "@egressprobe-test-" + rand.Text()
	run = func(ctx context.Context, in io.Reader, out, _ io.Writer) error {
		return probe.Serve(ctx, in, out, socket)
	}
	return run, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) }
}

// counted counts what passes through an exec.
func counted(run stream, n *int) stream {
	return func(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
		var said bytes.Buffer
		err := run(ctx, in, io.MultiWriter(&said, out), stderr)
		*n = said.Len()
		return err
	}
}

// What is asked and answered goes over the agent's own connection, of which the exec sees nothing, and the agent ends with the runner.
func TestBeside(t *testing.T) {
	run, dial := listening()
	passed := 0
	r := &runner{open: func() (stream, error) { return beside(counted(run, &passed), dial), nil }}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			out, err := r.do(t.Context(), probe.Request{Script: "printf '%0100000d' 7; exit 3"})
			if err != nil || out.ExitCode != 3 || len(out.Stdout) != 100000 {
				t.Errorf("%d %d %v", out.ExitCode, len(out.Stdout), err)
			}
		})
	}
	wg.Wait()
	r.close()
	if want := 4 + len(probe.Hello); passed != want {
		t.Errorf("the exec carried %d bytes, wanted %d, of the first frame", passed, want)
	}
	if c, err := dial(t.Context()); err == nil {
		c.Close()
		t.Error("the agent still listens")
	}
}

// Whatever goes wrong ends in an error, and the next request in a new agent.
func TestBesideFaults(t *testing.T) {
	run, dial := listening()
	hello := func(s string) stream {
		return func(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
			_ = probe.WriteFrame(out, []byte(s))
			_, _ = io.WriteString(stderr, "its last words")
			_, _ = io.Copy(io.Discard, in)
			return nil
		}
	}
	stubborn := func(ctx context.Context, _ io.Reader, out, _ io.Writer) error { // it does not end with its input
		_ = probe.WriteFrame(out, []byte(probe.Hello))
		<-ctx.Done()
		return ctx.Err()
	}
	gone := func(ctx context.Context, _ io.Reader, out, _ io.Writer) error {
		_ = probe.WriteFrame(out, []byte(probe.Hello))
		return errors.New("the container has ended")
	}
	to := func(serve func(net.Conn)) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go serve(there)
			return here, nil
		}
	}
	cut := to(func(c net.Conn) {
		_ = probe.WriteFrame(c, []byte(probe.Hello))
		_, _ = probe.ReadFrame(c)
		c.Close()
	})
	mute := to(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, x := range map[string]struct {
		run  stream
		dial func(context.Context) (net.Conn, error)
		want string
	}{
		"does not start":               {func(context.Context, io.Reader, io.Writer, io.Writer) error { return errors.New("no such container") }, dial, "no such container"},
		"another version":              {hello("probe agent 0"), dial, `says "probe agent 0"`},
		"no socket":                    {hello(probe.Hello), func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") }, "connection refused"},
		"its last words":               {hello(probe.Hello), cut, "its last words"},
		"cut, and the program goes on": {stubborn, cut, "the probe agent ended"},
		"the exec ends":                {gone, mute, "the container has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0
			r := &runner{open: func() (stream, error) {
				opened++
				if opened == 1 {
					return beside(x.run, x.dial), nil
				}
				return beside(run, dial), nil
			}}
			defer r.close()
			if out, err := r.do(t.Context(), probe.Request{Script: "echo x"}); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Fatalf("%+v %v", out, err)
			}
			out, err := r.do(t.Context(), probe.Request{Script: "echo x"})
			if err != nil || out.Stdout != "x\n" {
				t.Errorf("after it: %+v %v", out, err)
			}
		})
	}
}
