package kind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/lockfile"
)

// A cluster that a run has brought up must go when the run is killed. Docker does not know of runs, so a
// process of its own, the watcher, holds the other end of a pipe and removes the cluster when that breaks.
// Both hold the cluster's lock, whose file names the owner: a held lock means that the cluster has an owner or
// is being removed. A cluster that lives on has no watcher and a file that says so; one with neither is what
// is left when the watcher was killed too, and the next command of that name removes it.

// argWatch makes this program a watcher; store and cluster's name follow.
const argWatch = "__egress-kind-watch"

// letGo on the watcher's standard input says that it has nothing to do.
const letGo = 'l'

// ChildMain is the watcher and does not return if this process was started for that.
func ChildMain() {
	if len(os.Args) != 4 || os.Args[1] != argWatch {
		return
	}
	if err := watchMain(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// watcher is the tool's end.
type watcher struct {
	cmd  *exec.Cmd
	pipe *os.File
}

func (p *Provider) lockFile(name string) string { return p.store.LockFile("kind-" + name) }

// watchLog is what the watcher of a killed run could not do; the run's terminal is not its to write to.
func (p *Provider) watchLog(name string) string { return p.lockFile(name) + ".log" }

// livesOn is the file that says that a cluster lives on without its owner.
func (p *Provider) livesOn(name string) string {
	return filepath.Join(filepath.Dir(p.kubeconfig(name)), "lives-on")
}

// own takes the name of a cluster for this process, before anything of the cluster is made.
func (p *Provider) own(ctx context.Context, name string) (*os.File, error) {
	for {
		lock, err := lockfile.Take(p.lockFile(name))
		if err == nil {
			return lock, lockfile.Write(lock, strconv.Itoa(os.Getpid()))
		}
		if !errors.Is(err, lockfile.ErrHeld) {
			return nil, err
		}
		owner, err := p.owner(name)
		if err != nil {
			return nil, err
		}
		if owner > 0 {
			return nil, fmt.Errorf("kind cluster %q belongs to process %d, which brings it up or uses it: wait for that, or choose another --name", name, owner)
		}
		if err := waitABit(ctx); err != nil { // a watcher is removing it
			return nil, fmt.Errorf("wait until the kind cluster %q of a killed run is removed: %w", name, err)
		}
	}
}

// ended stands for the owner of a cluster that is being removed.
const ended = -1

// owner is the process to which a cluster belongs; 0 if it belongs to none.
func (p *Provider) owner(name string) (int, error) {
	text, held, err := lockfile.Look(p.lockFile(name))
	if err != nil || !held {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return ended, nil //nolint:nilerr // between taking and signing it is nobody's yet, and the caller looks again
	}
	return pid, nil
}

// orphaned removes what is left of a cluster whose owner and watcher were both killed; it waits for a watcher
// that is at it. It says whether there was such a cluster.
func (p *Provider) orphaned(ctx context.Context, name string) (bool, error) {
	for {
		owner, err := p.owner(name)
		if err != nil || owner > 0 {
			return false, err
		}
		if owner == 0 {
			break
		}
		if err := waitABit(ctx); err != nil {
			return false, fmt.Errorf("wait until the kind cluster %q of a killed run is removed: %w", name, err)
		}
	}
	there, err := anything(ctx, name)
	if err != nil || !there {
		return false, err
	}
	if _, err := os.Stat(p.livesOn(name)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	lock, err := p.own(ctx, name)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	return true, p.removeForGood(ctx, name) // a docker command of the killed run may still be at work
}

func waitABit(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

// startWatcher starts the process that removes the cluster when this one ends before it says letGo.
func (p *Provider) startWatcher(name string, lock *os.File) (*watcher, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(exe, argWatch, p.store.Root, name) //nolint:noctx // outlives every context: the pipe ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.ExtraFiles = []*os.File{lock}
	said, err := os.OpenFile(p.watchLog(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer said.Close()
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // neither Ctrl-C nor the terminal's end is its business
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that removes the cluster of a killed run: %w", err), w.Close())
	}
	return &watcher{cmd, w}, nil
}

// release ends the watcher: the cluster is removed already, or lives on.
func (w *watcher) release() {
	if w == nil || w.pipe == nil {
		return
	}
	_, _ = w.pipe.Write([]byte{letGo}) // it may have been killed
	w.pipe.Close()
	w.pipe = nil
	_ = w.cmd.Wait() // however it ended, it is gone
}

// watchMain waits until the tool ends and then removes its cluster. Descriptor 3 is the cluster's lock.
func watchMain(root, name string) error {
	lock := os.NewFile(3, "lock")
	unix.CloseOnExec(3)
	defer lock.Close()
	p := &Provider{store: &components.Store{Root: root}}
	buf := make([]byte, 1)
	if n, _ := os.Stdin.Read(buf); n != 1 || buf[0] != letGo {
		ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
		defer cancel()
		if err := p.removeForGood(ctx, name); err != nil {
			return err
		}
	}
	return os.Remove(p.watchLog(name)) // the lock is still held: nobody of that name has one yet
}

const (
	// removeTimeout bounds the removal of a killed run's cluster; Docker may be busy making it.
	removeTimeout = 3 * time.Minute
	// commandTimeout bounds one round of docker commands of that: one that waits for what Docker is making may be
	// answered never, and the next one at once.
	commandTimeout = 40 * time.Second
	// lateStart is how long a docker command of the killed run may take to have its container made: the
	// command outlives the run, and what it makes appears after the first removal.
	lateStart = 5 * time.Second
)

// removeForGood removes a cluster until nothing of it has appeared again for a while, and nothing has failed.
func (p *Provider) removeForGood(ctx context.Context, name string) error {
	for quiet := time.Now(); time.Since(quiet) < lateStart; {
		was, err := p.removeOnce(ctx, name)
		if was || err != nil {
			quiet = time.Now() // tried again: Docker may still be making it, and refuses what is half made
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove kind cluster %s of a killed run: %w", name, errors.Join(ctx.Err(), err))
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

// removeOnce removes what is there now of a cluster, and says whether there was anything.
func (p *Provider) removeOnce(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	there, err := anything(ctx, name)
	if err != nil || !there {
		return there, errors.Join(err, removeNetworks(ctx))
	}
	return true, p.removeAll(ctx, name)
}

// anything says whether there is a container of a cluster of ours of that name. Its nodes carry kind's label alone; that
// they are ours their network tells.
func anything(ctx context.Context, name string) (bool, error) {
	ours, err := isOurs(ctx, name)
	if err != nil || ours {
		return ours, err
	}
	nodes, err := docker(ctx, nil, "ps", "-aq", "--filter", "label="+kindLabel+"="+clusterName(name), "--filter", "network="+network)
	return nodes != "", err
}
