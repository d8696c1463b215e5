package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"mesh-egress-conformance/framework/components"
)

// newProgress shows moving bars on a terminal and plain lines everywhere else.
func newProgress(w io.Writer) components.Progress {
	if f, ok := fileBelow(w); ok && onTerminal(f) {
		return newBars(f)
	}
	return &lines{w: w}
}

// silence shows nothing.
type silence struct{}

func (silence) Start(string, string, components.Source) {}

func (silence) Done(string, time.Duration, error) {}

type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Start(part, version string, source components.Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "components: making %s %s from source %s\n", part, version, source)
}

func (l *lines) Done(part string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := "done"
	if err != nil {
		state = "FAILED"
	}
	fmt.Fprintf(l.w, "components: %s %s after %.0fs\n", part, state, took.Seconds())
}

// bars shows one tracker for each part that is being made.
type bars struct {
	w  progress.Writer
	mu sync.Mutex
	t  map[string]*progress.Tracker
}

func newBars(w io.Writer) *bars {
	pw := progress.NewWriter()
	pw.SetOutputWriter(w)
	pw.SetAutoStop(false)
	pw.SetUpdateFrequency(200 * time.Millisecond)
	pw.Style().Visibility.Percentage = false
	pw.Style().Visibility.Value = false
	go pw.Render()
	return &bars{w: pw, t: map[string]*progress.Tracker{}}
}

func (b *bars) Start(part, version string, source components.Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &progress.Tracker{Message: fmt.Sprintf("%s %s from source %s", part, version, source)}
	b.t[part] = t
	b.w.AppendTracker(t)
}

func (b *bars) Done(part string, _ time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.t[part]
	switch {
	case t == nil:
	case err != nil:
		t.MarkAsErrored()
	default:
		t.MarkAsDone()
	}
}
