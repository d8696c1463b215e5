//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// runDir holds the node's state and secrets. It is a tmpfs of the sandbox, so it vanishes with it.
const runDir = "/run/egress"

// setUpMounts gives the sandbox its own view of /proc, /run, the cgroups and the folders to which
// node programs write. It runs as PID 1 of a new mount namespace.
func setUpMounts(s *spec) error {
	hs, err := hierarchies() // before /sys/fs/cgroup is replaced
	if err != nil {
		return err
	}
	v2 := cgroupV2()
	type mount struct {
		src, dst, fs string
		flags        uintptr
		data         string
	}
	ms := []mount{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
	}
	for _, d := range []string{"/var/lib/cni", "/var/lib/kubelet", "/var/log"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		ms = append(ms, mount{"tmpfs", d, "tmpfs", 0, "mode=755"})
	}
	for _, m := range ms {
		if err := unix.Mount(m.src, m.dst, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fs, m.dst, err)
		}
	}
	for _, d := range []string{runDir, "/run/netns", "/run/lock", "/run/podlogs", "/run/kubelet", "/var/log/containers", "/var/log/pods"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
	}
	resolv := filepath.Join(runDir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+s.nameServer()+"\n"), 0o644); err != nil {
		return err
	}
	// /etc/resolv.conf may be a link into /run, which is empty by now.
	target := "/etc/resolv.conf"
	if l, err := os.Readlink(target); err == nil {
		if !filepath.IsAbs(l) {
			l = filepath.Join("/etc", l)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(l), 0o755), touch(l)); err != nil {
			return err
		}
		target = l
	}
	if err := unix.Mount(resolv, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the node's resolv.conf: %w", err)
	}
	return mountCgroups(hs, v2)
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountCgroups replaces the host's cgroup mounts by ones that begin at the sandbox's own cgroup.
func mountCgroups(hs []hierarchy, v2 bool) error {
	if err := unix.Unmount(cgroupMount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's cgroups: %w", err)
	}
	if v2 {
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
	if err := unix.Mount("tmpfs", cgroupMount, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a folder for cgroups: %w", err)
	}
	for _, h := range hs {
		if err := os.Mkdir(h.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", h.path, "cgroup", 0, h.options); err != nil {
			return fmt.Errorf("mount cgroup hierarchy %s: %w", h.options, err)
		}
	}
	return nil
}
