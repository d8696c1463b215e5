// Package procgroup runs commands none of whose processes outlives this one, however this one ends.
//
// A command and everything that it starts (compilers, linkers, pip's and apt's helpers) form one process group.
// The group's leader is a shell that reads from a pipe, the lifeline, whose other end this process holds: when
// this process ends, be it by kill -9, the kernel closes the pipe, and the shell kills its group. A parent-death
// signal would not do: it reaches a child but not the child's children, and comes too early when the thread ends
// that started the child. A PID namespace would need root.
//
// Limit: a process that makes a session or group of its own escapes. No build tool in use does.
package procgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// guard is the group's leader. It does nothing until the lifeline breaks.
const guard = `trap '' HUP INT TERM; read -r _; kill -KILL 0`

// drain is how long output may be waited for after the command has ended. It passes only where a process
// escaped from the group and holds the output open.
const drain = 10 * time.Second

// Group is a started command with all its processes.
type Group struct {
	cmd, guard *exec.Cmd
	lifeline   *os.File
}

// Run runs a command in a group of its own and returns what cmd.Wait returns. When the command's context ends,
// the whole group is killed. Nothing of the group is left when Run returns.
func Run(cmd *exec.Cmd) error {
	g, err := Start(cmd)
	if err != nil {
		return err
	}
	return g.Wait()
}

// Start starts a command in a group of its own; the caller must call Wait. cmd must come from
// exec.CommandContext, and its SysProcAttr may be set already.
func Start(cmd *exec.Cmd) (*Group, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the lifeline of %s: %w", cmd.Path, err)
	}
	g := &Group{cmd: cmd, guard: exec.Command("/bin/sh", "-c", guard), lifeline: write} //nolint:noctx // it ends with the lifeline
	g.guard.Stdin, g.guard.SysProcAttr = read, &syscall.SysProcAttr{Setpgid: true}
	err = g.guard.Start()
	read.Close()
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("start the guard of %s: %w", cmd.Path, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, g.guard.Process.Pid
	cmd.Cancel, cmd.WaitDelay = g.kill, drain
	if err := cmd.Start(); err != nil {
		g.end()
		return nil, err
	}
	return g, nil
}

// Wait waits for the command, kills what it left running, and returns the command's own error.
func (g *Group) Wait() error {
	err := g.cmd.Wait()
	g.end()
	return err
}

// kill kills every process of the group. The guard is not reaped before end, so that the group's number cannot
// mean somebody else's group.
func (g *Group) kill() error {
	err := syscall.Kill(-g.guard.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func (g *Group) end() {
	_ = g.kill() // at least the guard is there
	_ = g.guard.Wait()
	g.lifeline.Close()
}
