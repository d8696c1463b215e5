//go:build linux

package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// handle is the tool's end of the pipes to a reaper.
type handle struct {
	what     string // it is the reaper of
	cmd      *exec.Cmd
	lifeline *os.File
	events   chan event
	gone     chan struct{} // closed when the cluster has failed, or at its end
	ended    chan struct{} // closed when reaper and supervisor have ended, and all is cleaned up

	mu     sync.Mutex
	failed error
	once   sync.Once
}

// launch starts the reaper of a cluster, which makes everything of it, its folder too: whatever happens to
// this process, there is somebody who knows what to remove.
func launch(s *spec, lock *os.File) (*handle, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var ends []*os.File // the reaper's
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	lifeR, lifeW := pipe()
	evR, evW := pipe()
	specR, specW := pipe()
	if err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	ends = []*os.File{lifeR, evW, specR}
	cmd := exec.Command(selfExe, argReaper, s.Dir) //nolint:noctx // outlives every context: the lifeline ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir, cmd.Env = "/", baseEnv()
	cmd.Stdin = lifeR
	cmd.ExtraFiles = []*os.File{evW, lock, specR}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C at the terminal is the tool's business
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the reaper: %w", err), lifeW.Close(), evR.Close(), specW.Close())
	}
	h := &handle{what: s.describe(), cmd: cmd, lifeline: lifeW, events: make(chan event, 16), gone: make(chan struct{}), ended: make(chan struct{})}
	go h.listen(evR)
	// Should the reaper be dead already, the events say so.
	_, _ = specW.Write(text)
	specW.Close()
	return h, nil
}

// listen hears the reaper and the supervisor until both have ended.
func (h *handle) listen(r *os.File) {
	defer close(h.ended)
	defer h.once.Do(func() { close(h.gone) })
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			continue
		}
		select {
		case h.events <- e:
		default: // nobody waits for it any more
		}
		if e.Kind == "failed" {
			h.fail(errors.New(e.Text))
		}
	}
	// Its own failures are in the events; what is left is that somebody killed it.
	if err := h.cmd.Wait(); err != nil {
		h.fail(fmt.Errorf("the reaper of %s (process %d) ended: %w", h.what, h.cmd.Process.Pid, err))
	}
}

// end lets the reaper end the cluster, and waits for that.
func (h *handle) end(ctx context.Context) error {
	if err := h.lifeline.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("end %s: %w", h.what, err)
	}
	select {
	case <-h.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", h.what, ctx.Err())
	}
}

func (h *handle) fail(err error) {
	h.mu.Lock()
	if h.failed == nil { // the first is the cause
		h.failed = err
	}
	h.mu.Unlock()
	h.once.Do(func() { close(h.gone) })
}

func (h *handle) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// await waits for an event of a kind, or for the end.
func (h *handle) await(ctx context.Context, kind string) error {
	for {
		var e event
		select {
		case e = <-h.events:
		case <-h.gone:
			select {
			case e = <-h.events: // the last words come before the end
			default:
				if err := h.failure(); err != nil {
					return err
				}
				return fmt.Errorf("%s ended without a word", h.what)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		switch e.Kind {
		case kind:
			return nil
		case "failed":
			return errors.New(e.Text)
		}
	}
}
