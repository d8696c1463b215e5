//go:build linux

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// runDir holds the node's state and secrets. It is a tmpfs of the sandbox, so it vanishes with it.
const runDir = "/run/egress"

// setUpMounts gives the node its own /proc, the folders to which its programs write, and the cgroups. It runs as root of
// the sandbox's user namespace, over the root file system that init has made.
func setUpMounts(s *spec) error {
	for _, m := range []struct{ dst, fs, data string }{
		{"/proc", "proc", ""},
		{"/run", "tmpfs", "mode=755"},
		{"/tmp", "tmpfs", "mode=1777"},
		{"/var", "tmpfs", "mode=755"},
		{"/opt", "tmpfs", "mode=755"}, // containerd makes folders for plug-ins there
		{"/dev/shm", "tmpfs", "mode=1777"},
		{"/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"/dev/mqueue", "mqueue", ""},
	} {
		if err := unix.Mount(m.fs, m.dst, m.fs, 0, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fs, m.dst, err)
		}
	}
	for _, d := range []string{runDir, "/run/netns", "/run/lock", "/run/podlogs", "/run/kubelet", "/var/lib", "/var/log/containers", "/var/log/pods"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
	}
	if err := os.Symlink("/run", "/var/run"); err != nil {
		return err
	}
	return mountCgroups(s.Cgroups)
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountCgroups mounts cgroups where the machine has them; they begin at the sandbox's own. The argument
// has the options of each mount point.
func mountCgroups(hs map[string]string) error {
	if options, ok := hs[cgroupMount]; ok && options == "" {
		return mountCgroup2()
	}
	if err := unix.Mount("tmpfs", cgroupMount, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a folder for cgroups: %w", err)
	}
	for path, options := range hs {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", path, "cgroup", 0, options); err != nil {
			return fmt.Errorf("mount cgroup hierarchy %s: %w", options, err)
		}
	}
	return nil
}

func mountCgroup2() error {
	if err := unix.Mount("cgroup2", cgroupMount, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount cgroup2: %w", err)
	}
	// Version 2 lets controllers down only from a cgroup without processes of its own.
	leaf := filepath.Join(cgroupMount, "supervisor")
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return fmt.Errorf("make the supervisor's cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("move to the supervisor's cgroup: %w", err)
	}
	return enableControllers(cgroupMount)
}
