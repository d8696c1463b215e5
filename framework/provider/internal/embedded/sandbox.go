//go:build linux

package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Users of the sandbox: its IDs 0 to 65535 are these of the machine, which nobody else has. Root in the sandbox is
// therefore nobody on the machine, whatever capabilities it holds: it loads no module, makes no device node and writes
// no sysctl that is not its own namespaces'. All clusters share the range because they share the unpacked images;
// what keeps them apart is that none sees the files, sockets and processes of another.
const (
	firstID = 0x70000000 // above the ranges that systemd and subuid(5) hand out
	idCount = 1 << 16
)

// Descriptors that the reaper hands to init, and init to the supervisor: what the sandbox needs of the machine's file
// system, opened for it, so that nothing that runs in the sandbox can put another file in its place.
const (
	fdEvents = 3 + iota
	// In init: takes the number of its descriptor of the cluster's network namespace. In the supervisor: ends when
	// init has left the cluster's topmost cgroup.
	fdJoin
	fdCause      // a supervisor that gives up writes why
	fdKubeconfig // the admin's kubeconfig
	fdAPI        // the listening socket that gives connections to the API server
	fdInternet   // the listening socket of the internet's control
	fdImages     // the listening socket that leads to containerd
	fdPods       // the listening socket that gives connections from inside pods
	fdEnd
)

// sandboxAttr describes a process in namespaces of its own that are a new user namespace's. It has no power over
// anything outside.
func sandboxAttr() *syscall.SysProcAttr {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}
	return &syscall.SysProcAttr{
		Setsid:    true,
		Pdeathsig: syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
	}
}

// sandboxFiles opens what the sandbox gets of the machine's files, in the order of the descriptors after fdJoin.
func sandboxFiles(s *spec) (files []*os.File, err error) {
	if s.Mode != modeCluster {
		f, err := os.OpenFile(causeFile(s.Dir), os.O_CREATE|os.O_WRONLY, 0o600)
		return []*os.File{f}, err
	}
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	for _, p := range []string{causeFile(s.Dir), s.kubeconfig()} {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return files, fmt.Errorf("make a file for the sandbox: %w", err)
		}
		files = append(files, f)
	}
	for _, p := range []string{s.apiSocket(), s.internetSocket(), s.imagesSocket(), s.podsSocket()} {
		f, err := listenUnix(p)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func listenUnix(path string) (*os.File, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer func() { _ = ln.Close() }() // the copy that is returned lives on
	ln.SetUnlinkOnClose(false)        // the sandbox listens on
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return ln.File()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// delegateCgroups lets the sandbox make cgroups below the named one and move its processes there. The limits of
// the cgroup itself stay the machine's.
func delegateCgroups(name string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		dir := filepath.Join(h.path, name)
		for _, f := range []string{".", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"} {
			if err := ignoreMissing(os.Chown(filepath.Join(dir, f), firstID, firstID)); err != nil {
				return fmt.Errorf("hand cgroup %s to the sandbox: %w", dir, err)
			}
		}
	}
	return nil
}

// initMain is PID 1 of the sandbox's outer PID namespace and still the machine's root. It builds the sandbox's
// root file system, leaves the machine's, and starts the supervisor as root of a new user namespace. It never
// returns.
func initMain(dir, owner string) {
	runtime.LockOSThread() // the supervisor is killed when the thread that started it ends
	for fd := range fdEnd {
		unix.CloseOnExec(fd)
	}
	code, err := initialize(dir, owner)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		_, _ = fmt.Fprintln(os.NewFile(fdCause, "cause"), err) // the log says it too
		os.Exit(1)
	}
	os.Exit(code)
}

func initialize(dir, ownerID string) (code int, err error) {
	owner, err := strconv.Atoi(ownerID)
	if err != nil {
		return 0, fmt.Errorf("read the owner of the sandbox's user namespace: %w", err)
	}
	s, err := readSpec(dir)
	if err != nil {
		return 0, err
	}
	leave, err := openLeaf(s)
	if err != nil {
		return 0, err
	}
	if err := enterRoot(s); err != nil {
		return 0, fmt.Errorf("make the sandbox's root file system: %w", err)
	}
	goR, goW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(selfExe, argSupervisor, s.Dir) //nolint:noctx // its end is this program's
	cmd.Args[0], cmd.Dir, cmd.Env = "egressctl", "/", baseEnv()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	for fd := fdEvents; fd < fdEnd; fd++ {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), strconv.Itoa(fd)))
	}
	join := cmd.ExtraFiles[fdJoin-fdEvents]
	cmd.ExtraFiles[fdJoin-fdEvents] = goR
	cmd.SysProcAttr = sandboxAttr()
	if err := asOwner(owner, cmd.Start); err != nil {
		return 0, fmt.Errorf("start the supervisor in a user namespace: %w (are user namespaces allowed? sysctl user.max_user_namespaces)", err)
	}
	goR.Close()
	if err := leave(); err != nil {
		return 0, err
	}
	goW.Close()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err == nil {
		_, err = fmt.Fprintln(join, ns.Fd())
	}
	if err != nil { // it may have ended, which is the cause then
		return 0, errors.Join(supervisorEnded(s, errors.Join(cmd.Process.Kill(), cmd.Wait())), fmt.Errorf("tell the reaper of the cluster's network namespace: %w", err))
	}
	join.Close()
	err = cmd.Wait()
	runtime.KeepAlive(ns) // the reaper opens it by its number
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, supervisorEnded(s, err)
}

// supervisorEnded names what has ended, for a reader who has never heard of init; nil stays nil.
func supervisorEnded(s *spec, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the supervisor of %s ended: %w", s.describe(), err)
}

// leaf is the cgroup of the cluster's processes outside the sandbox: init, and the way to the live internet. Version 2
// lets controllers down only from a cgroup without processes.
func (s *spec) leaf() string {
	if cgroupV2() {
		return filepath.Join(s.cgroup(), "init")
	}
	return s.cgroup()
}

// ownerOf returns the user that makes the sandbox's user namespace, given the PID of a cluster's reaper. The kernel
// charges its limits by user, such as that of inotify instances, to the maker too, whoever uses them in the namespace; so each cluster has a
// maker of its own.
func ownerOf(reaper int) int { return firstID + idCount + reaper }

// asOwner starts something as another user that keeps root's capabilities. It must run on a locked thread,
// whose user alone changes: the library's call would change that of all threads.
func asOwner(uid int, start func() error) error {
	const noSetuidFixup, same = 1 << 2, ^uintptr(0)
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities beside another user: %w", err)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
		return fmt.Errorf("become user %d: %w", uid, e)
	}
	err := start()
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same); e != 0 {
		return errors.Join(err, fmt.Errorf("become root again: %w", e))
	}
	return err
}

// openLeaf returns a function that moves init there, out of the cluster's topmost cgroup, which must be init's while the
// supervisor is made: it becomes the root of the sandbox's cgroup namespace.
func openLeaf(s *spec) (leave func() error, err error) {
	if !cgroupV2() {
		return func() error { return nil }, nil
	}
	dir := filepath.Join(cgroupMount, s.leaf())
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make init's cgroup: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open init's cgroup: %w", err)
	}
	return func() error {
		defer f.Close()
		if _, err := f.WriteString("0"); err != nil {
			return fmt.Errorf("move to init's cgroup: %w", err)
		}
		return nil
	}, nil
}

// sandboxSpec is the description that the supervisor reads: the cluster's, and how the machine's cgroups are mounted.
func sandboxSpec(s *spec) ([]byte, error) {
	hs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	in := *s
	in.Cgroups = map[string]string{}
	for _, h := range hs {
		in.Cgroups[h.path] = h.options
	}
	return json.Marshal(&in)
}
