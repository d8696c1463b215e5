//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
)

// A cluster has both families where the machine's kernel has: its node, its Services that ask for it, its internet, and the pods
// of the runtime class egress.DualStackClass. All other pods have IPv4 alone, as before there were any of the other kind, so what
// is known of the mesh from them stays true. The addresses are unique local ones of the cluster's own namespaces, whose links are
// those that IPv4 has: none leads to the machine.
const (
	nodeIP6     = "fd00:10:244::1"
	podCIDR6    = "fd00:10:244::/64"
	firstPodIP6 = "fd00:10:244::10"
	serviceIP6s = "fd00:10:96::/112"
	wanNodeIP6  = "fd00:172:31::1"
	wanPeerIP6  = "fd00:172:31::2"
	wanPrefix6  = 126
)

// haveIPv6 says whether this machine's kernel has IPv6.
func haveIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf/all/forwarding")
	return err == nil
}

// both are the addresses of both families in the form in which Kubernetes' flags have them.
func (s *spec) both(v4, v6 string) string {
	if !s.IPv6 {
		return v4
	}
	return v4 + "," + v6
}

// setIPv6 switches a network namespace's IPv6 on, and forwarding on the node. A machine may have it off by default.
func setIPv6(forward bool) error {
	settings := map[string]string{"disable_ipv6": "0"}
	if forward {
		settings["forwarding"] = "1"
	}
	for name, value := range settings {
		for _, of := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+of+"/"+name, []byte(value), 0o644); err != nil {
				return fmt.Errorf("set net.ipv6.conf.%s.%s: %w", of, name, err)
			}
		}
	}
	return nil
}

// addAddress6 gives a link an address that is used at once: there is nobody else who could have it.
func addAddress6(link, ip string, bits int) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(bits, 128)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link, ip, err)
	}
	return nil
}

// connectInternet6 gives the link between node and internet its addresses of IPv6, on the node's side.
func connectInternet6() error {
	if err := addAddress6(wanLink, wanNodeIP6, wanPrefix6); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Gw: net.ParseIP(wanPeerIP6)}); err != nil {
		return fmt.Errorf("route all of IPv6 to the internet: %w", err)
	}
	return nil
}

// setUpInternet6 is setUpInternetNetwork for IPv6, but for the hosts' addresses.
func setUpInternet6() error {
	if err := errors.Join(setIPv6(false), addAddress6(wanLink+"p", wanPeerIP6, wanPrefix6)); err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(podCIDR6)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(wanNodeIP6)}); err != nil {
		return fmt.Errorf("route back to the pods' IPv6 addresses: %w", err)
	}
	return nil
}

// createDualStackClass creates the runtime class by which pods ask for addresses of both families.
func createDualStackClass(ctx context.Context, cs kubernetes.Interface) error {
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: egress.DualStackClass}, Handler: egress.DualStackClass}
	_, err := cs.NodeV1().RuntimeClasses().Create(ctx, class, metav1.CreateOptions{})
	return ignoreExisting(err)
}

// dualStackRuntime is the part of containerd's configuration that makes pods of the runtime class others than usual ones: they
// get their network by another configuration.
const dualStackRuntime = `  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.%[1]q]
    runtime_type = "io.containerd.runc.v2"
    cni_conf_dir = "%[2]s/cni-dual-stack"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.%[1]q.options]
      NoNewKeyring = true
`

// dualStackNetwork is cniConfig with the other family. The network has the same name, so no IPv4 address is given away twice.
const dualStackNetwork = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","bridge":%q,"isGateway":true,
"ipMasq":false,"hairpinMode":true,"ipam":{"type":"host-local","dataDir":"%s/cni-ipam",
"ranges":[[{"subnet":%q,"rangeStart":%q}],[{"subnet":%q,"rangeStart":%q}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}},
{"type":"tuning","sysctl":{"net.ipv4.ping_group_range":"0 65535"}}]}
`
