//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/internet"
)

// The cluster's addresses. Every cluster has its own network namespaces, so all use the same ones.
const (
	podBridge    = "br0"
	nodeIP       = "10.244.0.1"
	podCIDR      = "10.244.0.0/24"
	podSupernet  = "10.244.0.0/16"
	firstPodIP   = "10.244.0.10"
	serviceCIDR  = "10.96.0.0/16"
	apiServiceIP = "10.96.0.1"
	apiPort      = 6443
	wanNodeIP    = "172.31.255.1"
	wanPeerIP    = "172.31.255.2"
	wanPrefix    = 30
	wanLink      = "wan0"
)

// setUpNodeNetwork makes loopback and the pods' bridge in the sandbox's network namespace. There is
// no link to the machine's own network: what the internet namespace does not own is nowhere.
func setUpNodeNetwork(s *spec) error {
	if s.IPv6 {
		if err := setIPv6(true); err != nil {
			return err
		}
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	// A fixed address: a bridge otherwise takes the lowest of its ports and changes it when a pod goes,
	// and every other pod's neighbour entry for the node is wrong until it times out.
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: podBridge, HardwareAddr: net.HardwareAddr{0x0a, 0x58, 10, 244, 0, 1}}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make bridge %s: %w", podBridge, err)
	}
	if err := addAddress(podBridge, nodeIP, 24); err != nil {
		return err
	}
	if s.IPv6 {
		if err := addAddress6(podBridge, nodeIP6, 64); err != nil {
			return err
		}
	}
	if err := linkUp(podBridge); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("let the node forward between pods and internet: %w", err)
	}
	return nil
}

// connectInternet makes the link between node and internet; pid is a process in the latter's
// network namespace.
func connectInternet(s *spec, pid int) error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: wanLink}, PeerName: wanLink + "p"}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link to the internet: %w", err)
	}
	peer, err := netlink.LinkByName(wanLink + "p")
	if err != nil {
		return fmt.Errorf("find the link to the internet: %w", err)
	}
	if err := netlink.LinkSetNsPid(peer, pid); err != nil {
		return fmt.Errorf("move the link into the internet: %w", err)
	}
	if err := errors.Join(addAddress(wanLink, wanNodeIP, wanPrefix), linkUp(wanLink)); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(wanPeerIP)}); err != nil {
		return fmt.Errorf("route everything to the internet: %w", err)
	}
	if s.IPv6 {
		return connectInternet6()
	}
	return nil
}

// setUpInternetNetwork runs inside the internet's namespace: every host's address on loopback, a way
// back to the pods, no forwarding.
func setUpInternetNetwork(c internetConfig) error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	if err := c.own(c.Hosts); err != nil {
		return err
	}
	if err := errors.Join(addAddress(wanLink+"p", wanPeerIP, wanPrefix), linkUp(wanLink+"p")); err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(podSupernet)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(wanNodeIP)}); err != nil {
		return fmt.Errorf("route back to the pods: %w", err)
	}
	if c.IPv6 {
		return setUpInternet6()
	}
	return nil
}

// own gives the internet's namespace, in which it runs, what hosts own: their addresses on loopback, and each of
// their ranges as a local one. Nothing needs to be done in the node's namespace, which sends there whatever is neither
// a pod's nor a Service's. Where no pod has IPv6, nobody could call a host's IPv6 address: those are left out.
func (c internetConfig) own(h *internet.Hosts) error {
	if err := checkRanges(h); err != nil {
		return err
	}
	for _, a := range h.Addresses() {
		var err error
		switch {
		case a.Is4():
			err = addAddress("lo", a.String(), 32)
		case c.IPv6:
			err = addAddress6("lo", a.String(), 128)
		}
		if err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find link lo: %w", err)
	}
	for _, r := range h.Ranges() {
		if r.Addr().Is6() && !c.IPv6 {
			continue
		}
		if err := netlink.RouteReplace(local(lo, r)); err != nil {
			return fmt.Errorf("make the range %s the internet's own: %w", r, err)
		}
	}
	return nil
}

// local is the route by which all addresses of a range are those of a link.
func local(l netlink.Link, r netip.Prefix) *netlink.Route {
	dst := &net.IPNet{IP: r.Addr().AsSlice(), Mask: net.CIDRMask(r.Bits(), r.Addr().BitLen())}
	return &netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
}

// disown takes back what own has given. What is not there, such as an IPv6 address where no pod has any, is no error.
func disown(addresses []netip.Addr, ranges []netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find link lo: %w", err)
	}
	var errs error
	for _, a := range addresses {
		host := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
		if err := netlink.AddrDel(lo, host); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = errors.Join(errs, fmt.Errorf("take the address %s from lo: %w", a, err))
		}
	}
	for _, r := range ranges {
		if err := netlink.RouteDel(local(lo, r)); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = errors.Join(errs, fmt.Errorf("take the range %s from lo: %w", r, err))
		}
	}
	return errs
}

// ownRanges are the cluster's, which no host of the internet can have: the pods', the Services', and the link between node
// and internet.
var ownRanges = []netip.Prefix{
	netip.MustParsePrefix(podSupernet), netip.MustParsePrefix(serviceCIDR), netip.PrefixFrom(netip.MustParseAddr(wanNodeIP), wanPrefix).Masked(),
	netip.MustParsePrefix(podCIDR6), netip.MustParsePrefix(serviceIP6s), netip.PrefixFrom(netip.MustParseAddr(wanNodeIP6), wanPrefix6).Masked(),
}

// checkRanges refuses hosts whose addresses the pods could not call, because the cluster itself uses them.
func checkRanges(h *internet.Hosts) error {
	if lines := h.Collides(ownRanges...); len(lines) > 0 {
		return fmt.Errorf("the cluster itself uses %s and %s for pods, %s and %s for Services and %s and %s for the way to the internet, so no pod could call these hosts: %s (give them other addresses)",
			podSupernet, podCIDR6, serviceCIDR, serviceIP6s, ownRanges[2], ownRanges[5], strings.Join(lines, "; "))
	}
	return nil
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring link %s up: %w", name, err)
	}
	return nil
}

func addAddress(link, ip string, bits int) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	a, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", ip, bits))
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link, ip, err)
	}
	return nil
}

// earlyServiceRules make the API server's Service address work before kube-proxy has synced.
// Otherwise the first SYN of istiod is lost and it stalls for a 30 s dial timeout. Other Service
// addresses are refused, not lost, for the same reason, to the node's own processes too: kube-proxy takes its
// refusal of a Service without endpoints back before it leads the Service anywhere, and a call of istiod's
// webhook that the API server makes in between would hang for 10 s.
func earlyServiceRules(ctx context.Context, ps *procs) error {
	rules := fmt.Sprintf(`*nat
-A PREROUTING -d %[1]s/32 -p tcp --dport 443 -j DNAT --to-destination %[2]s:%[3]d
-A OUTPUT -d %[1]s/32 -p tcp --dport 443 -j DNAT --to-destination %[2]s:%[3]d
COMMIT
*filter
-A FORWARD -d %[4]s -p tcp -j REJECT --reject-with tcp-reset
-A OUTPUT -d %[4]s -p tcp -j REJECT --reject-with tcp-reset
COMMIT
`, apiServiceIP, nodeIP, apiPort, serviceCIDR)
	file := runDir + "/early.rules"
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		return err
	}
	return ps.run(ctx, "iptables-restore", "-w", "--noflush", file)
}

// internetConfig is what the supervisor tells the internet process, on its standard input. It holds
// the CA's key, which therefore never is in a file.
type internetConfig struct {
	Hosts *internet.Hosts `json:"hosts"`
	CA    *internet.CA    `json:"ca"`
	IPv6  bool            `json:"ipv6"`
}
