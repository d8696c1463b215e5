//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// detachByte on the lifeline says that the cluster shall outlive the tool.
const detachByte = 'd'

// cleanPatience is how long the kernel may take to let go of a dead sandbox.
const cleanPatience = 10 * time.Second

// reaperMain runs on the host's side. Standard input is the lifeline: when it ends without a detach
// byte, the tool is gone and so is its cluster. Descriptor 3 takes events, descriptor 4 is the
// cluster's lock, descriptor 5 gives the cluster's description. It never returns.
func reaperMain() {
	// The supervisor asks the kernel to be killed when the thread that started it ends.
	runtime.LockOSThread()
	ev, lock, description := events{os.NewFile(3, "events")}, os.NewFile(4, "lock"), os.NewFile(5, "description")
	for fd := range 6 {
		unix.CloseOnExec(fd)
	}
	err := reap(ev, lock, description)
	runtime.KeepAlive(lock) // a collected file is closed, and the lock with it
	if err != nil {
		ev.send("failed", err.Error())
		os.Exit(1)
	}
	ev.send("gone", "")
	os.Exit(0)
}

// reap makes a cluster and removes it when it has ended or shall end.
func reap(ev events, lock, description *os.File) error {
	var s spec
	if err := json.NewDecoder(description).Decode(&s); err != nil {
		return fmt.Errorf("hear from the command that wants a cluster what it wants: %w", err)
	}
	description.Close()
	if err := signLock(lock, os.Getpid()); err != nil {
		return fmt.Errorf("sign the cluster's lock: %w", err)
	}
	// Registered before anything is made, so that no signal can come in between.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	lifeline := make(chan struct{})
	go watchLifeline(lifeline)
	dog, err := startWatchdog(&s, lock)
	if err != nil {
		return err
	}
	died := makeFolder(&s)
	if died == nil {
		died = live(&s, ev, lock, stop, lifeline)
	}
	return errors.Join(died, markEnding(lock, os.Getpid()), cleanUp(&s), dog.retire())
}

// makeFolder makes the cluster's folder, and from here on the reaper's log is in it.
func makeFolder(s *spec) error {
	if err := os.MkdirAll(filepath.Join(s.Dir, "logs"), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", s.describe(), err)
	}
	log, err := os.OpenFile(s.logFile("reaper"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the reaper's log: %w", err)
	}
	defer log.Close()
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Dup3(int(log.Fd()), fd, unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("write to the reaper's log: %w", err)
		}
	}
	return s.write()
}

// live makes what a cluster is made of and returns when it has ended, with the cause unless the tool that
// owns it wanted that. Nothing of it runs any more then.
func live(s *spec, ev events, lock *os.File, stop <-chan os.Signal, lifeline <-chan struct{}) error {
	if s.Base != "" {
		if err := copyRoot(s.Base, s.Root); err != nil {
			return fmt.Errorf("copy the unpacked images: %w", err)
		}
	}
	sup, netns, err := startSandbox(s, ev)
	if err != nil {
		return err
	}
	exited := make(chan struct{})
	var status error
	go func() { status = sup.Wait(); close(exited) }()
	kill := func() error { return errors.Join(markEnding(lock, os.Getpid()), kill(sup, exited)) }
	line, err := startUplink(s, netns)
	if err != nil {
		return errors.Join(err, kill())
	}
	if s.Mode == modeCluster {
		if err := listenAPI(s); err != nil {
			return errors.Join(err, kill(), line.stop())
		}
	}
	var died error
	select {
	case <-exited:
		if cause, err := os.ReadFile(causeFile(s.Dir)); err == nil && len(cause) > 0 {
			died = errors.New(strings.TrimSpace(string(cause)))
		} else if status != nil {
			died = fmt.Errorf("the supervisor of %s ended: %w; the end of its log:\n%s", s.describe(), status, logTail(s.logFile("supervisor"), 12))
		}
	case err := <-line.ended:
		ev.send("failed", err.Error())
		died = errors.Join(err, kill())
	case <-stop:
		taken := fmt.Errorf("%s was taken down: its reaper (process %d) was told to end, as egressctl down does", s.describe(), os.Getpid())
		ev.send("failed", taken.Error()) // before whoever uses the cluster sees it vanish
		return errors.Join(taken, kill(), line.stop())
	case <-lifeline:
		died = kill()
	}
	if died != nil && s.Mode == modeCluster {
		keepFailure(s, died)
	}
	return errors.Join(died, line.stop())
}

// kill ends the whole PID namespace; nothing in it can resist.
func kill(sup *exec.Cmd, exited <-chan struct{}) error {
	if err := sup.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the supervisor: %w", err)
	}
	<-exited // its status says killed, as it should
	return nil
}

func watchLifeline(lost chan<- struct{}) {
	buf := make([]byte, 1)
	n, _ := os.Stdin.Read(buf)
	if n == 1 && buf[0] == detachByte {
		return
	}
	close(lost)
}

// startSandbox starts init, and returns a path of the cluster's network namespace when its supervisor runs; "" if it never did.
func startSandbox(s *spec, ev events) (init *exec.Cmd, netns string, err error) {
	if err := errors.Join(makeCgroups(s.cgroup()), delegateCgroups(s.cgroup())); err != nil {
		return nil, "", err
	}
	log, err := os.OpenFile(s.logFile("supervisor"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("open the supervisor's log: %w", err)
	}
	defer log.Close()
	joinR, joinW, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer joinR.Close()
	defer joinW.Close()
	files, err := sandboxFiles(s)
	if err != nil {
		return nil, "", err
	}
	defer closeAll(files)
	cmd := exec.Command(selfExe, argInit, s.Dir, strconv.Itoa(ownerOf(os.Getpid()))) //nolint:noctx // outlives every context: the reaper ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir = "/"
	cmd.Env = baseEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = append([]*os.File{ev.f, joinW}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
	}
	back, err := joinCgroups(s.cgroup())
	if err != nil {
		return nil, "", err
	}
	err = cmd.Start()
	if err := errors.Join(err, back()); err != nil {
		return nil, "", fmt.Errorf("start the sandbox: %w", err)
	}
	joinW.Close()
	fd, err := io.ReadAll(joinR)
	if err != nil {
		return nil, "", fmt.Errorf("wait for the sandbox: %w", err)
	}
	return cmd, fmt.Sprintf("/proc/%d/fd/%s", cmd.Process.Pid, strings.TrimSpace(string(fd))), nil
}

// listenAPI offers the API server on the loopback port that the kubeconfig names.
func listenAPI(s *spec) error {
	ctx := context.Background() // ends with the process
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
	if err != nil {
		return fmt.Errorf("offer the API server on 127.0.0.1:%d (is the port taken? choose another with --port): %w", s.Port, err)
	}
	serveForward(ctx, ln, func(ctx context.Context) (net.Conn, error) { return getConnection(ctx, s.apiSocket(), nil, "tcp") })
	return nil
}

// keepFailure leaves one small file that says why a cluster died, for the next command that asks for
// it.
func keepFailure(s *spec, died error) {
	_ = os.WriteFile(s.Dir+".failure", []byte(died.Error()+"\n"), 0o600) // best effort: the cluster is gone either way
}

// cleanUp removes what a dead sandbox leaves on the host: its cgroups and its folder.
func cleanUp(s *spec) error {
	err := removeCgroups(s.cgroup(), cleanPatience)
	if s.Mode == modeBake {
		return err // the folder holds the result
	}
	return errors.Join(err, os.RemoveAll(s.Dir))
}
