package pods

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"mesh-egress-conformance/framework/probe"
)

// here runs the agent in this process.
func here(ctx context.Context, in io.Reader, out, _ io.Writer) error {
	return probe.Serve(ctx, in, out, "")
}

func TestAgentRunsSideBySide(t *testing.T) {
	r := &runner{open: func() (stream, error) { return here, nil }}
	defer r.close()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			out, err := r.do(t.Context(), probe.Request{Script: fmt.Sprintf("printf 'line %d\\n'; echo oops >&2; exit %d", i, i)})
			if err != nil || out.ExitCode != i || out.Stdout != fmt.Sprintf("line %d\n", i) || out.Stderr != "oops\n" {
				t.Errorf("%d: %+v %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func TestAgentReportsWhatItCannotRun(t *testing.T) {
	r := &runner{open: func() (stream, error) { return here, nil }}
	defer r.close()
	for name, q := range map[string]probe.Request{
		"no such program":   {Argv: []string{"/does/not/exist"}},
		"nothing":           {},
		"killed by timeout": {Script: "exec sleep 60", Timeout: 20},
	} {
		if out, err := r.do(t.Context(), q); err == nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// An agent that dies, lies or talks nonsense must end in an error, and the next request in a new one.
func TestAgentFaults(t *testing.T) {
	frame := func(s string) string {
		var b bytes.Buffer
		if err := probe.WriteFrame(&b, []byte(s)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	says := func(s string) stream {
		return func(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
			_, err := io.WriteString(out, s)
			fmt.Fprint(stderr, "its last words")
			if err == nil {
				_, _ = probe.ReadFrame(in) // until the first request
			}
			return err
		}
	}
	for name, s := range map[string]stream{
		"dies at once":     func(context.Context, io.Reader, io.Writer, io.Writer) error { return errors.New("no such container") },
		"another program":  says("sh: egressprobe: not found\n"),
		"another version":  says(frame("hello")),
		"half an answer":   says(frame(probe.Hello) + frame(`{"seq":1,"exitCode":0}`)[:9]),
		"nonsense":         says(frame(probe.Hello) + frame(`{"seq":`)),
		"another's answer": says(frame(probe.Hello) + frame(`{"seq":99}`)),
		"nothing":          says(""),
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0
			r := &runner{open: func() (stream, error) {
				opened++
				if opened == 1 {
					return s, nil
				}
				return here, nil
			}}
			defer r.close()
			if out, err := r.do(t.Context(), probe.Request{Script: "echo x"}); err == nil {
				t.Fatalf("no error, but %+v", out)
			}
			out, err := r.do(t.Context(), probe.Request{Script: "echo x"})
			if err != nil || out.Stdout != "x\n" {
				t.Errorf("after it: %+v %v", out, err)
			}
		})
	}
}

func TestAgentHangs(t *testing.T) {
	hang := func(ctx context.Context, _ io.Reader, _, _ io.Writer) error { <-ctx.Done(); return ctx.Err() }
	ctx, cancel := context.WithCancel(t.Context())
	r := &runner{open: func() (stream, error) { cancel(); return hang, nil }}
	_, err := r.do(ctx, probe.Request{Script: "echo x"})
	if err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Error(err)
	}
}

// A request that is given up leaves nothing behind in the agent that lives on.
func TestAgentForgetsGivenUp(t *testing.T) {
	started := make(chan struct{})
	mute := func(ctx context.Context, in io.Reader, out, _ io.Writer) error {
		if err := probe.WriteFrame(out, []byte(probe.Hello)); err != nil {
			return err
		}
		close(started)
		_, _ = io.Copy(io.Discard, in) // and never answers
		<-ctx.Done()
		return ctx.Err()
	}
	r := &runner{open: func() (stream, error) { return mute, nil }}
	defer r.close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	for range 3 {
		if _, err := r.do(ctx, probe.Request{Script: "echo x"}); err == nil {
			t.Fatal("a mute agent answered")
		}
	}
	r.now.mu.Lock()
	defer r.now.mu.Unlock()
	if n := len(r.now.waiting); n > 0 {
		t.Errorf("%d requests are still waited for", n)
	}
}
