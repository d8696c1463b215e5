package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"mesh-egress-conformance/framework/cluster"
)

// The Docker networks of all our nodes. The hermetic one does not masquerade, and where this process may, a
// rule in Docker's own chain for users rejects whatever would leave it: a packet that found no host of the
// hermetic internet must not find a real one, for some networks answer any address with a page of their own.
const (
	network     = "mesh-egress"
	bridge      = "br-mesh-egress"
	liveNetwork = "mesh-egress-live" // leads to the real internet, as Docker's networks do
)

// networkOf names the network of a cluster's nodes.
func networkOf(f cluster.Facts) string {
	if f.Internet == cluster.Live {
		return liveNetwork
	}
	return network
}

// leaving matches what would go from our bridge to any other interface.
var leaving = []string{"DOCKER-USER", "-i", bridge, "!", "-o", bridge, "-j", "REJECT"}

// ensureNetwork makes a network if it is missing. It says what could not be done.
func ensureNetwork(ctx context.Context, name string) (note string, err error) {
	if _, err := docker(ctx, nil, "network", "inspect", name); err != nil {
		args := []string{"network", "create", "--driver", "bridge", "--label", ownLabel + "=" + name}
		if name == network {
			args = append(args, "-o", "com.docker.network.bridge.name="+bridge, "-o", "com.docker.network.bridge.enable_ip_masquerade=false")
		}
		_, err := docker(ctx, nil, append(args, name)...)
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			return "", fmt.Errorf("make the network of the nodes: %w", err)
		}
	}
	if name == network && !closed(ctx) {
		return "no firewall rule of the host's keeps the nodes' own packets inside while they boot (that takes root on Docker's machine); routes inside the nodes keep the pods' packets inside", nil
	}
	return "", nil
}

// closed says whether the rule that lets nothing leave is there, or could be put there.
func closed(ctx context.Context) bool {
	return iptables(ctx, "-C") == nil || iptables(ctx, "-I") == nil
}

// removeNetworks removes networks and rule when no cluster uses them any more.
func removeNetworks(ctx context.Context) error {
	return errors.Join(removeNetwork(ctx, network), removeNetwork(ctx, liveNetwork))
}

func removeNetwork(ctx context.Context, name string) error {
	used, err := docker(ctx, nil, "ps", "-aq", "--filter", "network="+name)
	if err != nil || used != "" {
		return err
	}
	ours, err := docker(ctx, nil, "network", "ls", "-q", "--filter", "label="+ownLabel+"="+name)
	if err != nil || ours == "" {
		return err
	}
	for name == network && iptables(ctx, "-D") == nil { // once for each time that it was put there
	}
	if _, err := docker(ctx, nil, "network", "rm", name); err != nil {
		return fmt.Errorf("remove the network of the nodes: %w", err)
	}
	return nil
}

// iptables adds, checks or removes the rule that lets nothing leave.
func iptables(ctx context.Context, action string) error {
	if os.Geteuid() != 0 {
		return os.ErrPermission
	}
	return exec.CommandContext(ctx, "iptables", append([]string{"-w", action}, leaving...)...).Run()
}
