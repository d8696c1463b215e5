//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupV2 says whether the machine uses the unified hierarchy alone.
func cgroupV2() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupMount, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchy is one cgroup v1 hierarchy, or the single v2 one.
type hierarchy struct {
	path    string // mount point
	options string // mount options with which the sandbox mounts its own view; "" on v2
}

// hierarchies lists the machine's cgroup hierarchies below /sys/fs/cgroup.
func hierarchies() ([]hierarchy, error) {
	if cgroupV2() {
		return []hierarchy{{path: cgroupMount}}, nil
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []hierarchy
	for _, l := range strings.Split(string(b), "\n") {
		pre, post, ok := strings.Cut(l, " - ")
		f, g := strings.Fields(pre), strings.Fields(post)
		if !ok || len(f) < 5 || len(g) < 3 || g[0] != "cgroup" || filepath.Dir(f[4]) != cgroupMount {
			continue
		}
		var opts []string
		for _, o := range strings.Split(g[2], ",") {
			if o != "rw" && o != "ro" && !strings.HasPrefix(o, "release_agent=") && o != "clone_children" {
				opts = append(opts, o)
			}
		}
		if slices.ContainsFunc(opts, func(o string) bool { return strings.HasPrefix(o, "name=") }) {
			opts = append([]string{"none"}, opts...)
		}
		out = append(out, hierarchy{path: f[4], options: strings.Join(opts, ",")})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted below %s", cgroupMount)
	}
	return out, nil
}

// v2Controllers are those that kubelet insists on.
var v2Controllers = []string{"cpu", "cpuset", "memory", "pids"}

// makeCgroups creates a cgroup of the given name in every hierarchy.
func makeCgroups(name string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if cgroupV2() {
		if err := enableControllers(cgroupMount); err != nil {
			return err
		}
	}
	for _, h := range hs {
		dir := filepath.Join(h.path, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup %s: %w", dir, err)
		}
		// A new cpuset is empty on v1, and nothing can run in an empty one.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(h.path, f)); err == nil && !cgroupV2() {
				if err := os.WriteFile(filepath.Join(dir, f), b, 0o644); err != nil {
					return fmt.Errorf("fill cgroup %s: %w", dir, err)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.clone_children")); err == nil && strings.Contains(h.options, "cpuset") {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644); err != nil {
				return fmt.Errorf("fill cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// enableControllers hands the controllers down to a v2 cgroup's children.
func enableControllers(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers of cgroup %s: %w", dir, err)
	}
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("read the controllers of cgroup %s: %w", dir, err)
	}
	for _, c := range v2Controllers {
		if !slices.Contains(strings.Fields(string(have)), c) {
			return fmt.Errorf("cgroup %s has no %s controller, which kubelet needs (kernel parameter cgroup_enable=%s?)", dir, c, c)
		}
		if slices.Contains(strings.Fields(string(on)), c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("enable the %s controller below cgroup %s: %w", c, dir, err)
		}
	}
	return nil
}

// joinCgroups moves this process into the named cgroup of every hierarchy and returns a function
// that moves it back. A child cloned in between starts there, which makes the cgroup the root of the
// child's cgroup namespace.
func joinCgroups(name string) (back func() error, err error) {
	hs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var homes []string
	for _, h := range hs {
		own, err := ownCgroup(h)
		if err != nil {
			return nil, err
		}
		homes = append(homes, filepath.Join(h.path, own))
	}
	self := []byte(strconv.Itoa(os.Getpid()))
	move := func(dirs []string) error {
		var all error
		for _, d := range dirs {
			if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), self, 0o644); err != nil {
				all = errors.Join(all, fmt.Errorf("move to cgroup %s: %w", d, err))
			}
		}
		return all
	}
	var ours []string
	for _, h := range hs {
		ours = append(ours, filepath.Join(h.path, name))
	}
	if err := move(ours); err != nil {
		return nil, errors.Join(err, move(homes))
	}
	return func() error { return move(homes) }, nil
}

// ownCgroup is this process's cgroup in a hierarchy, relative to its mount.
func ownCgroup(h hierarchy) (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.SplitN(l, ":", 3)
		if len(f) != 3 {
			continue
		}
		if h.options == "" && f[1] == "" {
			return f[2], nil
		}
		for _, c := range strings.Split(f[1], ",") {
			if c != "" && slices.Contains(strings.Split(h.options, ","), c) {
				return f[2], nil
			}
		}
	}
	return "", fmt.Errorf("this process has no cgroup in %s", h.path)
}

// removeCgroups removes the named cgroups, leaves first. The kernel needs a moment after the last
// process is gone, so it tries for a bounded time.
func removeCgroups(name string, patience time.Duration) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	end := time.Now().Add(patience)
	for {
		err = nil
		for _, h := range hs {
			err = errors.Join(err, removeTree(filepath.Join(h.path, name)))
		}
		if err == nil || time.Now().After(end) {
			return err
		}
		pause(20 * time.Millisecond)
	}
}

// killCgroup kills whatever runs in the named cgroups. Nothing can leave them: their root is the root of the
// sandbox's cgroup namespace.
func killCgroup(name string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(h.path, name), func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.Name() != "cgroup.procs" {
				return err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return nil //nolint:nilerr // the cgroup is going already
			}
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 && pid != os.Getpid() {
					_ = unix.Kill(pid, unix.SIGKILL) // it may be gone already
				}
			}
			return nil
		}))
	}
	return err
}

func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read cgroup %s: %w", dir, err)
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", d, err)
		}
	}
	return nil
}

// cgroupMemory is what the named cgroup uses now, page cache of its files left out.
func cgroupMemory(name string) int64 {
	dir, usage, cache := filepath.Join(cgroupMount, "memory", name), "memory.usage_in_bytes", "total_inactive_file"
	if cgroupV2() {
		dir, usage, cache = filepath.Join(cgroupMount, name), "memory.current", "inactive_file"
	}
	b, err := os.ReadFile(filepath.Join(dir, usage))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
	for _, l := range strings.Split(string(stat), "\n") {
		if v, ok := strings.CutPrefix(l, cache+" "); ok {
			if c, err := strconv.ParseInt(v, 10, 64); err == nil {
				n -= c
			}
		}
	}
	return n
}

// pause waits between two looks at something that the kernel gives no event for.
func pause(d time.Duration) { <-time.After(d) }
