//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// retireByte on the watchdog's standard input says that the reaper has cleaned up by itself.
const retireByte = 'r'

// watchdog is the process that cleans up when the reaper is killed, as the reaper sees it. Each of the two
// watches the other: a killed watchdog is started again.
type watchdog struct {
	dir, mode string
	lock      *os.File

	mu      sync.Mutex
	cmd     *exec.Cmd
	pipe    *os.File // held open by the reaper alone: it breaks when the reaper ends
	retired bool
	done    chan struct{} // closed when no watchdog runs any more
	failed  error         // why none could be started again
}

// startWatchdog starts the watchdog of a cluster whose folder need not be there yet.
func startWatchdog(s *spec, lock *os.File) (*watchdog, error) {
	w := &watchdog{dir: s.Dir, mode: s.Mode, lock: lock, done: make(chan struct{})}
	if err := w.start(); err != nil {
		return nil, err
	}
	go w.keep()
	return w, nil
}

func (w *watchdog) start() error {
	r, pipe, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(selfExe, argWatchdog, w.dir, w.mode, strconv.Itoa(os.Getpid())) //nolint:noctx // outlives every context: the pipe ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir, cmd.Env = "/", baseEnv()
	cmd.Stdin = r
	cmd.ExtraFiles = []*os.File{w.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the watchdog: %w", err), pipe.Close())
	}
	w.cmd, w.pipe = cmd, pipe
	return nil
}

// keep starts the watchdog again whenever it ends before it was retired.
func (w *watchdog) keep() {
	defer close(w.done)
	for {
		_ = w.cmd.Wait() // however it ended, there must be one
		w.mu.Lock()
		w.pipe.Close()
		if !w.retired {
			w.failed = w.start()
		}
		stop := w.retired || w.failed != nil
		w.mu.Unlock()
		if stop {
			return
		}
	}
}

// retire ends the watchdog and waits until it is gone.
func (w *watchdog) retire() error {
	w.mu.Lock()
	w.retired = true
	if w.failed == nil {
		_, _ = w.pipe.Write([]byte{retireByte}) // it may have been killed
	}
	w.mu.Unlock()
	<-w.done
	return w.failed
}

// watchdogMain waits for the end of the reaper and then removes what the reaper has left. Standard input is
// the pipe that the reaper holds open, descriptor 3 the cluster's lock.
func watchdogMain(dir, mode, reaper string) error {
	lock := os.NewFile(3, "lock")
	unix.CloseOnExec(3)
	defer lock.Close()
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP) // the reaper decides
	pid, err := strconv.Atoi(reaper)
	if err != nil {
		return fmt.Errorf("watch process %q: %w", reaper, err)
	}
	buf := make([]byte, 1)
	if n, _ := os.Stdin.Read(buf); n == 1 && buf[0] == retireByte {
		return nil
	}
	s := &spec{Dir: dir, Mode: mode}
	err = markEnding(lock, pid)
	if mode == modeCluster {
		keepFailure(s, fmt.Errorf("the reaper of the cluster (process %d) was killed", pid))
	}
	// The kernel has killed the supervisor with the reaper, and the whole PID namespace with that. A helper on
	// the host's side may be between its start and the moment at which it asked for the same.
	return errors.Join(err, killCgroup(s.cgroup()), removeCgroups(s.cgroup(), cleanPatience), os.RemoveAll(dir))
}
