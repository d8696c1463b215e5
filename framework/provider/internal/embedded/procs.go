//go:build linux

package embedded

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/limits"
)

// procs starts and reaps the sandbox's processes. The supervisor is PID 1 of its namespace, so every
// orphan becomes its child; one goroutine waits for all of them, which rules out os/exec.
type procs struct {
	path   string // PATH of every child
	logDir string

	mu    sync.Mutex
	procs map[int]*proc
	fresh chan struct{}
}

type proc struct {
	name string
	pid  int
	done chan struct{}
	ws   syscall.WaitStatus
}

func newProcs(path, logDir string) *procs {
	p := &procs{path: path, logDir: logDir, procs: map[int]*proc{}, fresh: make(chan struct{}, 1)}
	go p.reap()
	return p
}

func (p *procs) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch err {
		case nil:
		case syscall.EINTR:
			continue
		default: // ECHILD: nothing to wait for until something starts
			<-p.fresh
			continue
		}
		p.mu.Lock()
		if pr := p.procs[pid]; pr != nil {
			pr.ws = ws
			close(pr.done)
			delete(p.procs, pid)
		}
		p.mu.Unlock()
	}
}

// command describes a child.
type command struct {
	name  string // its log is named after it
	argv  []string
	env   []string
	stdin *os.File
	extra []*os.File // from descriptor 3 on
	netns bool       // in a network namespace of its own
}

// start runs a program found on the sandbox's PATH, its output in the log folder.
func (p *procs) start(c command) (*proc, error) {
	bin, err := lookPath(c.argv[0], p.path)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(p.logDir, c.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", c.name, err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	stdin := null
	if c.stdin != nil {
		stdin = c.stdin
	}
	attr := &os.ProcAttr{
		Env:   append(append(baseEnv(), "PATH="+p.path), c.env...),
		Files: append([]*os.File{stdin, log, log}, c.extra...),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if c.netns {
		attr.Sys.Cloneflags = unix.CLONE_NEWNET
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	runtime.LockOSThread() // a child has its thread's bounding set
	defer runtime.UnlockOSThread()
	if err := dropCapabilities(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	op, err := os.StartProcess(bin, c.argv, attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	pr := &proc{name: c.name, pid: op.Pid, done: make(chan struct{})}
	p.procs[op.Pid] = pr
	select {
	case p.fresh <- struct{}{}:
	default:
	}
	return pr, op.Release()
}

// run starts a program and waits for its success.
func (p *procs) run(ctx context.Context, argv ...string) error {
	pr, err := p.start(command{name: filepath.Base(argv[0]), argv: argv})
	if err != nil {
		return err
	}
	select {
	case <-pr.done:
	case <-ctx.Done():
		return fmt.Errorf("run %s: %w", argv[0], ctx.Err())
	}
	if pr.ws.ExitStatus() != 0 {
		return fmt.Errorf("run %s: %s\n%s", strings.Join(argv, " "), describeExit(pr.ws), logTail(filepath.Join(p.logDir, pr.name+".log"), 10))
	}
	return nil
}

// restartPause lets whatever a part gave up on come back.
const restartPause = 200 * time.Millisecond

// keep waits for the end of a program, and starts it again up to so many times where it has given up by
// itself. The error says how it ended at last.
func (p *procs) keep(pr *proc, c command, again int) error {
	for ; ; again-- {
		<-pr.done
		if again == 0 || !gaveUp(pr.ws) {
			return fmt.Errorf("ended: %s", describeExit(pr.ws))
		}
		pause(restartPause)
		next, err := p.start(c)
		if err != nil {
			return fmt.Errorf("ended (%s) and could not be started again: %w", describeExit(pr.ws), err)
		}
		pr = next
	}
}

// gaveUp says whether a program ended by its own decision. One that was killed, or that has crashed (a Go
// program exits with 2 then), is not started again: cases that ran meanwhile had no whole cluster.
func gaveUp(ws syscall.WaitStatus) bool { return ws.Exited() && ws.ExitStatus() != 2 }

func (pr *proc) terminate(grace time.Duration) {
	_ = syscall.Kill(pr.pid, syscall.SIGTERM) // it may be gone already
	select {
	case <-pr.done:
	case <-time.After(grace):
		_ = syscall.Kill(pr.pid, syscall.SIGKILL)
		<-pr.done
	}
}

func describeExit(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "killed by " + ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

// openLog opens a log for reading. The sandbox can write to the folder of the logs, so a link that leads out of it is not
// followed, and what is not a file is not opened.
func openLog(path string) (*os.File, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // nothing was written
	name := filepath.Base(path)
	st, err := dir.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("log %s is not a file: %w", path, fs.ErrInvalid)
	}
	return dir.Open(name)
}

// logTail returns the last lines of a log for an error message.
func logTail(path string, lines int) string {
	var b []byte
	f, err := openLog(path)
	if err == nil {
		defer f.Close()
		b, err = io.ReadAll(f)
	}
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

func lookPath(name, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, d := range filepath.SplitList(path) {
		f := filepath.Join(d, name)
		if st, err := os.Stat(f); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return f, nil
		}
	}
	return "", fmt.Errorf("program %s is in none of %s", name, path)
}

// baseEnv keeps proxy settings and the like of the caller out of the cluster.
func baseEnv() []string {
	return []string{"HOME=/root", "LANG=C.UTF-8", "GOGC=300", limits.Process().Env()}
}
