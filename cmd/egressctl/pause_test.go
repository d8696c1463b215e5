package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/harness"
)

func optionsWithLog(t *testing.T) harness.Options { return harness.Options{Log: t.Output()} }

var failing = harness.Failing{
	Failing: engine.Failing{
		Case: egress.Case{Name: "my-case"}, Phase: egress.Applied,
		Probes: []engine.FailingProbe{{Probe: egress.GET("client", "http://httpbin.org/\x1b[2J"), Want: egress.OK, Seen: "exit 0, status 502"}},
	},
	Pods: []harness.ClientPod{{Client: "client", Namespace: "egress-client", Pod: "sleep-1", Container: "sleep", Captured: true}, {Client: "control", Namespace: "egress-control", Pod: "sleep-2", Container: "sleep"}},
}

func TestPause(t *testing.T) {
	in, enter := io.Pipe()
	var out bytes.Buffer
	p := &pause{out: &out, kubectl: []string{"egressctl", "kubectl", "--name", "a b", "--"}, in: in, entered: make(chan struct{})}
	for range 2 { // each pause needs an Enter of its own
		done := make(chan struct{})
		go func() { p.wait(t.Context(), failing); close(done) }()
		if _, err := io.WriteString(enter, "\n"); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	for _, want := range []string{
		"PAUSED: my-case fails in phase applied", `http://httpbin.org/\x1b[2J: exit 0, status 502, wanted allowed [OK]`,
		"egressctl kubectl --name 'a b' -- exec -it -n egress-client sleep-1 -c sleep -- /bin/sh",
		"-n egress-client sleep-1 -c istio-proxy -- pilot-agent request GET clusters", "press Enter",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "sleep-2 -c istio-proxy") {
		t.Error("the control client has no sidecar")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.wait(ctx, failing) // nobody presses anything
	enter.Close()
	p.wait(t.Context(), failing) // the terminal has gone
}

func TestPauseWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	p := &pause{out: &out, entered: make(chan struct{})}
	p.wait(t.Context(), failing)
	if !strings.Contains(out.String(), "PAUSED") || !strings.Contains(out.String(), "the run goes on") {
		t.Error(out.String())
	}
}

// A reader that goes ends the command, quietly.
func TestClosedPipe(t *testing.T) {
	if os.Getenv("EGRESSCTL_TEST_PIPE") != "" {
		os.Exit(run([]string{"list"}, os.Stdout, os.Stderr))
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "TestClosedPipe")
	self.Env = append(os.Environ(), "EGRESSCTL_TEST_PIPE=1")
	var stderr bytes.Buffer
	self.Stdout, self.Stderr = w, &stderr
	err = self.Run()
	w.Close()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != exitPipe || stderr.Len() > 0 {
		t.Errorf("%v, %q", err, stderr.String())
	}
}

// What is under way ends as if it were interrupted, so that it can clean up.
func TestClosedPipeEndsWork(t *testing.T) {
	ended := false
	s := &stream{w: gonePipe{}, closed: func() { ended = true }}
	if _, err := s.Write([]byte("x")); err == nil || !ended {
		t.Errorf("%v %t", err, ended)
	}
	if f, ok := fileBelow(&stream{w: os.Stdout}); !ok || f != os.Stdout {
		t.Error("a child would not get the terminal")
	}
	if _, ok := fileBelow(&stream{w: io.Discard}); ok || onTerminal(io.Discard) || colored(io.Discard) {
		t.Error("that is no terminal")
	}
}

type gonePipe struct{}

func (gonePipe) Write([]byte) (int, error) { return 0, &os.PathError{Op: "write", Err: syscall.EPIPE} }
