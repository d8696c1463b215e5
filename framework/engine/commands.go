package engine

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A shell command may be any program, which picks its client ports as the kernel likes and cannot tell them. Its
// connections are those of its pod that no probe could have made and that began while it ran:
//
//   - everything that the harness itself does in a client pod has a port that was handed out to it; all other connections
//     of the pod are commands'. Not all of those have a port that the kernel picks: where it has picked one that it
//     remembers from a command before, with another destination, the two clash when they are redirected to the sidecar, and
//     the sidecar sees the later one come from any port there is;
//   - the commands of one pod run one at a time, whatever cases they belong to;
//   - a connection's line in the sidecar's log says when it began, by the clock of the node, which the probe agent has
//     too: that is within one command's time, or the pod makes connections of its own, and then nothing is proven;
//   - an arrival has a number, which lies between that of the command's begin and that of the next one's.
//
// curl is found by its own ports besides, which it gets through CURL_HOME.

// podCommands are the commands that have run in one pod.
type podCommands struct {
	running chan struct{} // holds one token, which a running command has

	mu   sync.Mutex
	runs []*commandRun
}

// commandRun is when a command ran.
type commandRun struct {
	pod *podCommands
	// began and ended are by the clock of the pod's node; zero while they are not known.
	began, ended time.Time
	// since and until are by the clock of the harness; until is zero while it runs.
	since, until time.Time
	// first is the number of the first arrival that may be the command's.
	first int64
}

func (s *idSource) commandsOf(pod string) *podCommands {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.commands[pod]
	if c == nil {
		c = &podCommands{running: make(chan struct{}, 1)}
		s.commands[pod] = c
	}
	return c
}

// beginCommand waits until no other command runs in a pod.
func (r *run) beginCommand(ctx context.Context, pod string) (*commandRun, error) {
	c := ids.commandsOf(pod)
	select {
	case c.running <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait until no other command runs in the pod %s: %w", pod, ctx.Err())
	}
	_, first, err := r.e.arrivals(ctx, noArrivals)
	if err != nil {
		<-c.running
		return nil, err
	}
	run := &commandRun{pod: c, first: first, since: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = append(c.runs, run)
	return run, nil
}

// commandGap keeps two commands of a pod apart: a proxy tells the beginning of a connection in whole milliseconds.
const commandGap = 2 * time.Millisecond

// end lets the next command begin.
func (c *commandRun) end(x Execution) {
	c.pod.mu.Lock()
	c.began, c.ended, c.until = x.Began, x.Ended, time.Now()
	c.pod.mu.Unlock()
	<-time.After(commandGap)
	<-c.pod.running
}

// during says whether a moment of the node's clock, cut to milliseconds, lies within the command's time.
func (c *commandRun) during(t time.Time) bool {
	if c == nil {
		return false
	}
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.covers(t)
}

func (c *commandRun) covers(t time.Time) bool {
	return !t.IsZero() && !c.began.IsZero() && !t.Before(c.began.Truncate(time.Millisecond)) && !t.After(c.ended)
}

// received says whether an arrival came after the command began and before the next one did.
func (c *commandRun) received(seq int64) bool {
	if c == nil || seq < c.first {
		return false
	}
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	i := slices.Index(c.pod.runs, c)
	return i == len(c.pod.runs)-1 || seq < c.pod.runs[i+1].first
}

// mayHave says whether an address of a pod may be that of a connection of the command's: no probe was given its port that
// may have used it then.
func (c *commandRun) mayHave(address string, pod ClientInfo) bool {
	if c == nil {
		return false
	}
	port := portOf(address, pod)
	if port == 0 {
		return false
	}
	c.pod.mu.Lock()
	since, until := c.since, c.until
	c.pod.mu.Unlock()
	if until.IsZero() {
		until = time.Now()
	}
	return !ids.gave(pod.pod(), port, since.Add(-portCycle), until)
}

// portOf is the port of an address of a pod; 0 for any other address.
func portOf(address string, pod ClientInfo) int {
	host, port, err := net.SplitHostPort(address)
	n, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil || !pod.owns(host) {
		return 0
	}
	return n
}

// unexplained is a connection of a client that neither a probe nor a command has made, as the client's sidecar tells it:
// the pod makes connections of its own, and a command's cannot be told from them. Nil where there is none.
func (r *run) unexplained(ctx context.Context, client string, info ClientInfo) (*egress.AccessLog, error) {
	if !info.Captured {
		return nil, nil
	}
	pod := ids.commandsOf(info.pod())
	pod.mu.Lock()
	runs := slices.Clone(pod.runs)
	pod.mu.Unlock()
	if len(runs) == 0 {
		return nil, nil
	}
	found, err := r.proxied(ctx, client, egress.Lines{Match: func(l egress.AccessLog) bool {
		port := portOf(l.DownstreamRemote, info)
		return port != 0 && !ids.gave(info.pod(), port, time.Time{}, time.Now()) && !l.Start().IsZero() &&
			!slices.ContainsFunc(runs, func(c *commandRun) bool { return c.during(l.Start()) })
	}})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}
