package enforcer

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
)

// What the controller's log says. The first two are of the program in framework/components/recipes/netpol.gosrc, the others
// of kube-router itself.
const (
	saysHears   = "enforcer: hears " // made|changed|gone NAMESPACE/NAME VERSION
	saysRemoved = "enforcer: removed"
	saysBegins  = "Starting sync of iptables"
	saysDone    = "sync iptables took"
	saysAborts  = "Aborting sync"
)

// log is what is known of one node by its controller's log. The controller hears of a change, says so, and is asked to write
// its rules anew; so what it had heard when it began to write is in what it has written.
type log struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every line
	lines   int
	heard   map[string]heard
	began   int // the line at which the rules were begun that are being written; 0 for none
	aborted bool
	// synced is the line at which the last rules were begun that were written whole.
	synced  int
	removed bool
	ended   bool
	last    []string
}

// heard is the last that was heard of a policy.
type heard struct {
	line    int
	gone    bool
	version uint64 // the resource version
}

func newLog() *log { return &log{changed: make(chan struct{}), heard: map[string]heard{}} }

// tailLines is how much of a log is kept for messages, and tailWidth how much of a line.
const tailLines, tailWidth = 15, 500

// isRule says whether a line is one of the packet filter's rules, all of which the controller shows when it cannot write them.
func isRule(text string) bool {
	return strings.HasPrefix(text, "-") || strings.HasPrefix(text, ":") || strings.HasPrefix(text, "*") || text == "COMMIT"
}

func (l *log) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines++
	if !isRule(text) {
		l.last = append(l.last[max(0, len(l.last)-tailLines+1):], text[:min(len(text), tailWidth)])
	}
	switch {
	case strings.HasPrefix(text, saysHears):
		f := strings.Fields(strings.TrimPrefix(text, saysHears))
		if len(f) == 3 {
			v, _ := strconv.ParseUint(f[2], 10, 64) // one that is no number is never enforced
			l.heard[f[1]] = heard{l.lines, f[0] == "gone", v}
		}
	case strings.HasPrefix(text, saysRemoved):
		l.removed = true
	case strings.Contains(text, saysBegins):
		l.began, l.aborted = l.lines, false
	case strings.Contains(text, saysAborts):
		l.aborted = true
	case strings.Contains(text, saysDone):
		if l.began > 0 && !l.aborted {
			l.synced = l.began
		}
		l.began = 0
	}
	l.tell()
}

func (l *log) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// over says that there will be no more lines.
func (l *log) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.tell()
}

// has says whether a policy is enforced in a version, or a later one. The caller holds the lock.
func (l *log) has(name, version string) bool {
	h, ok := l.heard[name]
	v, err := strconv.ParseUint(version, 10, 64)
	return ok && err == nil && !h.gone && h.version >= v && l.synced > h.line
}

// lacks says whether a policy that was deleted is enforced no more. The caller holds the lock.
func (l *log) lacks(name string) bool {
	h, ok := l.heard[name]
	return !ok || h.gone && l.synced > h.line
}

var errEnded = errors.New("the controller has ended")

// await waits until something is so.
func (l *log) await(ctx context.Context, so func(*log) bool) error {
	for {
		l.mu.Lock()
		done, ended, changed := so(l), l.ended, l.changed
		l.mu.Unlock()
		switch {
		case done:
			return nil
		case ended:
			return errEnded
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// clean says whether the controller has taken its rules away.
func (l *log) clean() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n")
}
