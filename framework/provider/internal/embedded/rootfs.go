//go:build linux

package embedded

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The sandbox's root file system is a tmpfs with what the node's parts need and nothing else of the machine. It is
// the machine root's, so that root in the sandbox cannot write to it; what must be written to is mounted
// over it by the supervisor. Every mount of it is locked by the kernel once it is seen from the sandbox's user namespace:
// none can be taken away or made writable there.

// rootDirs are its folders, mount points included.
var rootDirs = []string{"bin", "dev/mqueue", "dev/pts", "dev/shm", "etc", "opt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var"}

// devices that programs expect. There is no block device among them, and the kernel lets nobody make another in a
// user namespace.
var devices = map[string][2]uint32{
	"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8}, "urandom": {1, 9}, "tty": {5, 0},
}

var deviceLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}

func etcFiles(s *spec) map[string]string {
	return map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
		"group":         "root:x:0:\ntty:x:5:\nnobody:x:65534:\n",
		"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"nsswitch.conf": "hosts: files dns\n",
		"resolv.conf":   "nameserver " + s.nameServer() + "\n",
	}
}

// sandboxParts are the components of which something runs in the sandbox itself, and not in a container.
var sandboxParts = []string{"kubernetes", "kubelet", "etcd", "containerd", "coredns", "cni-plugins", "node-tools"}

// hostPrograms are those of the machine that kubelet and the wrappers of iptables call.
var hostPrograms = []string{"sh", "mount", "umount"}

// enterRoot builds the root file system, makes it this process's, and lets go of the machine's.
func enterRoot(s *spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this namespace: %w", err)
	}
	root := filepath.Join(s.Dir, "root")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount the root folder: %w", err)
	}
	defer unix.Umask(unix.Umask(0)) // the modes are as they are written here
	b := rootBuilder{root}
	for _, step := range []func(*spec) error{b.folders, b.files, b.programs, b.binds, b.kernel} {
		if err := step(s); err != nil {
			return err
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // pivot_root(2): the old root is now mounted over the new one
		return fmt.Errorf("change the root folder: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root folder: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make the root folder read-only: %w", err)
	}
	return unix.Chdir("/")
}

// rootBuilder fills the folder that becomes the sandbox's root.
type rootBuilder struct{ root string }

func (b rootBuilder) folders(*spec) error {
	for _, d := range rootDirs {
		if err := os.MkdirAll(filepath.Join(b.root, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (b rootBuilder) files(s *spec) error {
	for name, content := range etcFiles(s) {
		if err := b.write("/etc/"+name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	desc, err := sandboxSpec(s)
	if err != nil {
		return err
	}
	return b.write(filepath.Join(s.Dir, specFile), desc, 0o644)
}

// write makes a file at a path of the sandbox.
func (b rootBuilder) write(path string, content []byte, mode fs.FileMode) error {
	f := filepath.Join(b.root, path)
	if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
		return err
	}
	return os.WriteFile(f, content, mode)
}

// programs copies the machine's programs that are needed, and the libraries that they and the node tools load.
func (b rootBuilder) programs(s *spec) error {
	tools := s.Parts["node-tools"]
	files := []string{filepath.Join(tools, "runc"), filepath.Join(tools, "xtables-nft-multi"), filepath.Join(tools, "xtables-legacy-multi")}
	for _, n := range hostPrograms {
		p, err := lookPath(n, "/usr/bin:/bin:/usr/sbin:/sbin")
		if err != nil {
			return fmt.Errorf("the sandbox needs the program %s of this machine: %w", n, err)
		}
		if err := b.copy(p, "/bin/"+n); err != nil {
			return err
		}
		files = append(files, p)
	}
	// iptables loads its matches and targets when a rule has one: kube-proxy's for a Service with several endpoints has the match
	// statistic, which needs a library that nothing else does.
	extensions, err := filepath.Glob(filepath.Join(tools, "xtables", "*.so"))
	if err != nil {
		return err
	}
	libs, loaders, err := libraries(slices.Concat(files, extensions), filepath.Join(tools, "lib"))
	if err != nil {
		return err
	}
	for _, l := range loaders {
		if err := b.copy(l, l); err != nil {
			return err
		}
	}
	home := filepath.Dir(libs["libc.so.6"]) // a folder where the loader looks without being told
	for name, from := range libs {
		if err := b.copy(from, filepath.Join(home, name)); err != nil {
			return err
		}
	}
	return nil
}

func (b rootBuilder) copy(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return b.write(to, content, 0o755)
}

// libraries finds what programs are dynamically linked against: library name to file, and the loaders.
func libraries(programs []string, first string) (libs map[string]string, loaders []string, err error) {
	dirs := []string{first}
	for _, g := range []string{"/lib/*-linux-gnu", "/usr/lib/*-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		found, err := filepath.Glob(g)
		if err != nil {
			return nil, nil, err
		}
		dirs = append(dirs, found...)
	}
	libs = map[string]string{}
	for todo := slices.Clone(programs); len(todo) > 0; todo = todo[1:] {
		need, loader, machine, err := linkage(todo[0])
		if errors.Is(err, fs.ErrNotExist) {
			continue // not every distribution has every tool; who calls it says so
		}
		if err != nil {
			return nil, nil, err
		}
		if loader != "" && !slices.Contains(loaders, loader) {
			loaders = append(loaders, loader)
		}
		for _, l := range need {
			if libs[l] != "" {
				continue
			}
			for _, d := range dirs {
				f := filepath.Join(d, l)
				if _, _, m, err := linkage(f); err == nil && m == machine {
					libs[l], todo = f, append(todo, f)
					break
				}
			}
			if libs[l] == "" {
				return nil, nil, fmt.Errorf("%s needs the library %s, which is in none of %s", todo[0], l, strings.Join(dirs, ", "))
			}
		}
	}
	return libs, loaders, nil
}

// linkage reads what a program or library is linked against; nothing for a static one.
func linkage(file string) (need []string, loader string, machine elf.Machine, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", 0, fmt.Errorf("read how %s is linked: %w", file, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return nil, "", 0, fmt.Errorf("read the loader of %s: %w", file, err)
		}
		loader = strings.TrimRight(string(name), "\x00")
	}
	need, err = f.ImportedLibraries()
	if err != nil {
		return nil, "", 0, fmt.Errorf("read the libraries of %s: %w", file, err)
	}
	return need, loader, f.Machine, nil
}

// binds shows the sandbox the component folders and unpacked images, read-only, and the cluster's own containerd root and
// logs. All keep their paths.
func (b rootBuilder) binds(s *spec) error {
	for _, d := range []string{s.Root, s.logs()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if err := os.Chown(d, firstID, firstID); err != nil {
			return fmt.Errorf("hand %s to the sandbox: %w", d, err)
		}
		if err := b.bind(d, d); err != nil {
			return err
		}
	}
	var readOnly []string
	for _, p := range sandboxParts {
		readOnly = append(readOnly, s.Parts[p])
	}
	for _, img := range s.Images {
		readOnly = append(readOnly, filepath.Dir(img))
	}
	for _, d := range readOnly {
		if err := b.bindReadOnly(d, d); err != nil {
			return err
		}
	}
	if s.Base == "" {
		return nil
	}
	shared, err := sharedParts(s.Base)
	if err != nil {
		return err
	}
	for _, d := range shared {
		if err := b.bindReadOnly(filepath.Join(s.Base, d), filepath.Join(s.Root, d)); err != nil {
			return err
		}
	}
	return nil
}

// bind shows a folder, or a file at whose place there is one. It gives the mount no nosuid and the like: the kernel would
// lock them, and runc, which binds from here into containers, asks for mounts without.
func (b rootBuilder) bind(from, to string) error {
	dst := filepath.Join(b.root, to)
	st, err := os.Stat(from)
	if err == nil && st.IsDir() {
		err = os.MkdirAll(dst, 0o755)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, dst, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show the sandbox %s: %w", from, err)
	}
	return nil
}

func (b rootBuilder) bindReadOnly(from, to string) error {
	if err := b.bind(from, to); err != nil {
		return err
	}
	if err := unix.Mount("", filepath.Join(b.root, to), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("keep the sandbox from writing to %s: %w", from, err)
	}
	return nil
}

// kernel makes the device nodes, and a /proc and a /sys of init's namespaces. The kernel lets the sandbox
// mount its own only where it sees one whole.
func (b rootBuilder) kernel(*spec) error {
	for name, n := range devices {
		if err := unix.Mknod(filepath.Join(b.root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(n[0], n[1]))); err != nil {
			return fmt.Errorf("make the device node %s: %w", name, err)
		}
	}
	for name, to := range deviceLinks {
		if err := os.Symlink(to, filepath.Join(b.root, "dev", name)); err != nil {
			return err
		}
	}
	for _, k := range []string{"proc", "sysfs"} {
		dst := filepath.Join(b.root, strings.TrimSuffix(k, "fs"))
		if err := unix.Mount(k, dst, k, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", k, err)
		}
	}
	return nil
}
