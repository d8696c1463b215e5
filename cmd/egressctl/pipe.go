package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// exitPipe is the status of a program whose reader has gone, as a shell shows one that SIGPIPE has ended.
const exitPipe = 128 + int(syscall.SIGPIPE)

// surviveClosedPipes makes a write to a reader that has gone an error, in place of the end of the program: what a run has
// made must be removed first. Children get the signal as always. The channel is never read: a signal more is dropped.
func surviveClosedPipes() (restore func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	return func() { signal.Stop(c) }
}

// stream is the command's output or its messages, to which several may write at once: runs side by side, and Ctrl-C.
type stream struct {
	mu     sync.Mutex
	w      io.Writer
	closed func() // called when a write finds that the reader has gone
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	n, err := s.w.Write(b)
	s.mu.Unlock()
	if errors.Is(err, syscall.EPIPE) {
		s.closed()
	}
	return n, err
}

// Unwrap is the writer below.
func (s *stream) Unwrap() io.Writer { return s.w }

// fileBelow is the file that a writer ends in, for programs and bars that need the terminal itself.
func fileBelow(w io.Writer) (*os.File, bool) {
	for {
		switch x := w.(type) {
		case *os.File:
			return x, true
		case interface{ Unwrap() io.Writer }:
			w = x.Unwrap()
		default:
			return nil, false
		}
	}
}

// direct is the file that a writer ends in, for a child that may ask whether it is a terminal, or else the writer.
func direct(w io.Writer) io.Writer {
	if f, ok := fileBelow(w); ok {
		return f
	}
	return w
}

// onTerminal says whether a writer, or a reader, is a terminal.
func onTerminal(x any) bool {
	f, ok := x.(*os.File)
	if w, is := x.(io.Writer); !ok && is {
		f, ok = fileBelow(w)
	}
	return ok && term.IsTerminal(int(f.Fd()))
}

// colored says whether output may have colours: on a terminal, unless NO_COLOR (https://no-color.org) is set.
func colored(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && onTerminal(w) }
