//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
)

// The way to the live internet is slirp4netns, as rootless containers have it: a network stack in a process
// on the host's side, which makes the sandbox's connections with sockets of its own. The host's routes,
// firewall and sysctls stay as they are, and its loopback cannot be reached.
const (
	uplinkCIDR = "172.31.254.0/24"
	uplinkDNS  = "172.31.254.3" // slirp4netns answers there with the host's own name servers
)

// nameServer is whom the cluster's DNS asks for names of the internet.
func (s *spec) nameServer() string {
	if s.live() {
		return uplinkDNS
	}
	return s.Hosts.DNS.String()
}

// uplink is the running way to the live internet; the zero value is that of a hermetic cluster, which has none.
type uplink struct {
	cmd   *exec.Cmd
	ended chan error // gets an error when it ends
}

// stop ends it and waits until it is gone.
func (u uplink) stop() error {
	if u.cmd == nil {
		return nil
	}
	if err := u.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill slirp4netns: %w", err)
	}
	for range u.ended { // its status says killed, as it should
	}
	return nil
}

// startUplink joins a sandbox, given by a path of its network namespace, to the live internet, if that is what it reaches.
func startUplink(s *spec, netns string) (uplink, error) {
	if !s.live() {
		return uplink{}, nil
	}
	log, err := os.OpenFile(s.logFile("uplink"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return uplink{}, fmt.Errorf("open the uplink's log: %w", err)
	}
	defer log.Close()
	tools := s.Parts["node-tools"]
	cmd := exec.Command(filepath.Join(tools, "slirp4netns"), "--configure", "--mtu=1500", "--disable-host-loopback", //nolint:noctx // it ends with the reaper
		"--cidr="+uplinkCIDR, "--netns-type=path", netns, wanLink)
	cmd.Env = append(baseEnv(), "LD_LIBRARY_PATH="+filepath.Join(tools, "lib"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	back, err := joinCgroups(s.leaf()) // whatever ends the cluster ends it too
	if err != nil {
		return uplink{}, err
	}
	err = cmd.Start()
	if err := errors.Join(err, back()); err != nil {
		return uplink{}, fmt.Errorf("start the way to the live internet: %w", err)
	}
	u := uplink{cmd, make(chan error, 1)}
	go func() {
		defer close(u.ended)
		err := cmd.Wait()
		u.ended <- fmt.Errorf("the way to the live internet (slirp4netns) ended: %w; the end of its log:\n%s", err, logTail(s.logFile("uplink"), 12))
	}()
	return u, nil
}

// joinUplink waits, inside the sandbox, for the link, and lets pods share it.
func joinUplink(ctx context.Context, s *spec, ps *procs, died chan error) error {
	if s.Trust != "" {
		if err := trust(s.Root, []byte(s.Trust)); err != nil {
			return err
		}
	}
	up := func() bool {
		l, err := netlink.LinkByName(wanLink)
		if err != nil {
			return false
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_V4)
		return err == nil && len(routes) > 1 // its own network, and everything else
	}
	if err := waitFor(ctx, died, "the way to the live internet", up); err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, logTail(s.logFile("uplink"), 12))
	}
	return ps.run(ctx, "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", podSupernet, "-o", wanLink, "-j", "MASQUERADE")
}
