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
	cmd      *exec.Cmd
	lifeline *os.File
	events   chan event
	gone     chan struct{}

	mu     sync.Mutex
	failed error
}

// launch starts the reaper of a prepared cluster.
func launch(s *spec, lock *os.File) (*handle, error) {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeR.Close()
	evR, evW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer evW.Close()
	log, err := os.OpenFile(s.logFile("reaper"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(selfExe, argReaper, s.Dir) //nolint:noctx // outlives every context: the lifeline ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir, cmd.Env = "/", baseEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = lifeR, log, log
	cmd.ExtraFiles = []*os.File{evW, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C at the terminal is the tool's business
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	h := &handle{cmd: cmd, lifeline: lifeW, events: make(chan event, 16), gone: make(chan struct{})}
	go h.listen(evR)
	return h, nil
}

func (h *handle) listen(r *os.File) {
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			continue
		}
		if e.Kind == "failed" {
			h.fail(errors.New(e.Text))
		}
		select {
		case h.events <- e:
		default: // nobody waits for it any more
		}
	}
	_ = h.cmd.Wait() // its status is in the events
	close(h.gone)
}

func (h *handle) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil { // the first is the cause
		h.failed = err
	}
}

func (h *handle) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// await waits for an event of a kind, or for the end.
func (h *handle) await(ctx context.Context, kind string) error {
	for {
		select {
		case e := <-h.events:
			switch e.Kind {
			case kind:
				return nil
			case "failed":
				return errors.New(e.Text)
			}
		case <-h.gone:
			if err := h.failure(); err != nil {
				return err
			}
			return errors.New("the sandbox ended without a word")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
