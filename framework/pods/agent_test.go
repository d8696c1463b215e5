package pods

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestReadAnswer(t *testing.T) {
	const mark = "@x-1@"
	for name, x := range map[string]struct {
		in   string
		want Output
		ok   bool
	}{
		"both streams":      {mark + " 3 5 4\nhelloerr\n", Output{3, "hello", "err\n"}, true},
		"nothing printed":   {mark + " 0 0 0\n", Output{}, true},
		"spaces of wc":      {mark + " 0     2   0\nok", Output{0, "ok", ""}, true},
		"cut in the header": {mark + " 0", Output{}, false},
		"cut in the output": {mark + " 0 10 0\nshort", Output{}, false},
		"another's answer":  {"@x-0@ 0 0 0\n", Output{}, false},
		"noise before":      {"sh: warning\n" + mark + " 0 0 0\n", Output{}, false},
		"no numbers":        {mark + " a b c\n", Output{}, false},
		"negative":          {mark + " 0 -1 0\n", Output{}, false},
		"huge":              {mark + " 0 99999999999 0\n", Output{}, false},
		"closed":            {"", Output{}, false},
	} {
		got, err := readAnswer(bufio.NewReader(strings.NewReader(x.in)), mark)
		if (err == nil) != x.ok || got != x.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("@x-1@ 0 2 1\nabc")
	f.Add("@x-1@ 0 2\n")
	f.Fuzz(func(t *testing.T, s string) {
		out, err := readAnswer(bufio.NewReader(strings.NewReader(s)), "@x-1@")
		if err == nil && !strings.HasPrefix(s, "@x-1@ ") {
			t.Errorf("%q was taken for an answer: %+v", s, out)
		}
	})
}

// localShell runs the wire protocol against a real /bin/sh of this machine instead of a pod's.
func localShell(t *testing.T) *shell {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "/bin/sh")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { _, _ = io.Copy(in, r); in.Close() }()
	s := &shell{cancel: cancel, in: w, out: bufio.NewReader(out), done: make(chan struct{}), id: "test-" + strings.ToLower(t.Name())}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return s
}

func TestShell(t *testing.T) {
	s := localShell(t)
	for _, x := range []struct {
		script string
		want   Output
	}{
		{"echo one; echo two >&2; exit 7", Output{7, "one\n", "two\n"}},
		{`printf '%s' "it's $((1+1))"`, Output{0, "it's 2", ""}},
		{"false | true", Output{}},
		{"cat", Output{}}, // no input reaches the script
		{"printf 'no newline'", Output{0, "no newline", ""}},
	} {
		got, err := s.run(t.Context(), x.script)
		if err != nil || got != x.want {
			t.Errorf("%q: %+v, %v", x.script, got, err)
		}
	}
}

func TestShellHangs(t *testing.T) {
	s := localShell(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.run(ctx, "exec sleep 30"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestShellDies(t *testing.T) {
	s := localShell(t)
	if _, err := s.run(t.Context(), "kill -9 $PPID"); err == nil {
		t.Error("the death of the shell went unnoticed")
	}
}
