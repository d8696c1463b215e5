package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
)

// The hermetic internet is a container on the nodes' network that owns every host's address. It is made
// before the nodes and marks a cluster as ours: it carries the cluster's name and facts as labels.
const (
	ownLabel    = "mesh-egress-conformance"
	kindLabel   = "io.x-k8s.kind.cluster" // kind's own, on every node
	factsLabel  = "mesh-egress-conformance.facts"
	controlPort = "8098"
	programPath = "/egressctl"
	configPath  = "/run/internet.json"
)

func internetName(name string) string { return clusterName(name) + "-internet" }

// waiting is what the container does until it has its program and knows who it is: it takes the hosts'
// addresses and ranges, gives up the way to the real world, and becomes the internet.
const waiting = `until [ -s ` + configPath + ` ]; do sleep 0.1; done
` + owning + `
ip route del default
exec ` + programPath + ` ` + internet.Arg + ` ` + configPath

// owning makes the addresses of $ADDRESSES and the ranges of $RANGES the container's own, once more where they are.
const owning = `for a in $ADDRESSES; do ip addr replace "$a/32" dev lo || exit 1; done
for r in $RANGES; do ip route replace local "$r" dev lo || exit 1; done`

// owned are the variables of owning. Pods have no IPv6, so nobody could call a host's IPv6 address: those are left out.
func owned(h *internet.Hosts) []string {
	var addresses, ranges []string
	for _, a := range h.Addresses() {
		if a.Is4() {
			addresses = append(addresses, a.String())
		}
	}
	for _, r := range h.Ranges() {
		if r.Addr().Is4() {
			ranges = append(ranges, r.String())
		}
	}
	return []string{"--env", "ADDRESSES=" + strings.Join(addresses, " "), "--env", "RANGES=" + strings.Join(ranges, " ")}
}

// checkRanges refuses hosts whose addresses the pods could not call, because the cluster itself uses them.
func checkRanges(ctx context.Context, h *internet.Hosts) error {
	subnets, err := docker(ctx, nil, "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", network)
	if err != nil {
		return fmt.Errorf("find the addresses of the nodes: %w", err)
	}
	with := []netip.Prefix{netip.MustParsePrefix(podSubnet), netip.MustParsePrefix(serviceSubnet)}
	for _, f := range strings.Fields(subnets) {
		p, err := netip.ParsePrefix(f)
		if err != nil {
			return fmt.Errorf("find the addresses of the nodes: docker says %q: %w", subnets, err)
		}
		with = append(with, p)
	}
	if lines := h.Collides(with...); len(lines) > 0 {
		return fmt.Errorf("the cluster itself uses %s for pods, %s for Services and %s for nodes, so no pod could call these hosts: %s (give them other addresses)",
			podSubnet, serviceSubnet, strings.TrimSpace(subnets), strings.Join(lines, "; "))
	}
	return nil
}

// kindInternet is the container with the internet.
type kindInternet struct {
	*internet.Client
	container string
}

// Add serves further hosts, and gives the container their addresses: after that, because it chooses some itself.
func (in *kindInternet) Add(ctx context.Context, more *internet.Hosts) error {
	if err := checkRanges(ctx, more); err != nil {
		return err
	}
	if err := in.Client.Add(ctx, more); err != nil {
		return err
	}
	return in.own(ctx)
}

// SetGuests serves other guests, and gives the container their addresses.
func (in *kindInternet) SetGuests(ctx context.Context, guests *internet.Hosts) error {
	if err := checkRanges(ctx, guests); err != nil {
		return err
	}
	if err := in.Client.SetGuests(ctx, guests); err != nil {
		return err
	}
	return in.own(ctx)
}

// own gives the container the addresses of all hosts.
func (in *kindInternet) own(ctx context.Context) error {
	all, err := in.Hosts(ctx)
	if err != nil {
		return err
	}
	if _, err := docker(ctx, nil, slices.Concat([]string{"exec"}, owned(all), []string{in.container, "/bin/sh", "-c", owning})...); err != nil {
		return fmt.Errorf("give the hermetic internet the addresses of further hosts: %w", err)
	}
	return nil
}

// startInternet makes the container and waits until every host listens. It returns the CA bundle that the
// cluster's containers shall trust, nil for the one that they have.
func startInternet(ctx context.Context, name, image string, l label, hosts *internet.Hosts) ([]byte, error) {
	known, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	mark := []string{"run", "--detach", "--name", internetName(name), "--hostname", "internet", "--network", networkOf(l.Facts), "--label", ownLabel + "=" + name, "--label", factsLabel + "=" + string(known)}
	if l.Facts.Internet == cluster.Live { // a container that does nothing but mark the cluster
		if _, err := docker(ctx, nil, append(mark, "--entrypoint", "/bin/sleep", image, "infinity")...); err != nil {
			return nil, fmt.Errorf("mark the cluster as ours: %w", err)
		}
		return components.MachineTrust()
	}
	if err := checkRanges(ctx, hosts); err != nil {
		return nil, err
	}
	ca, err := internet.NewCA("mesh-egress-conformance " + name)
	if err != nil {
		return nil, err
	}
	program, err := components.Self()
	if err != nil {
		return nil, err
	}
	c := internetName(name)
	_, err = docker(ctx, nil, slices.Concat(mark, []string{"--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"}, owned(hosts),
		[]string{"--publish", "127.0.0.1::" + controlPort, "--entrypoint", "/bin/sh", image, "-c", waiting})...)
	if err != nil {
		return nil, fmt.Errorf("start the hermetic internet: %w", err)
	}
	if _, err := docker(ctx, nil, "cp", program, c+":"+programPath); err != nil {
		return nil, fmt.Errorf("copy this program into the hermetic internet: %w", err)
	}
	conf, err := json.Marshal(internet.Config{Hosts: hosts, CA: ca, Control: ":" + controlPort, Token: l.Token})
	if err != nil {
		return nil, err
	}
	if _, err := docker(ctx, bytes.NewReader(conf), "exec", "-i", c, "/bin/sh", "-c", "cat >/run/part && mv /run/part "+configPath); err != nil {
		return nil, fmt.Errorf("configure the hermetic internet: %w", err)
	}
	client, err := internetClient(ctx, name, l.Token)
	if err != nil {
		return nil, err
	}
	return ca.CertPEM, waitInternet(ctx, c, client)
}

func internetClient(ctx context.Context, name, token string) (*internet.Client, error) {
	out, err := docker(ctx, nil, "port", internetName(name), controlPort+"/tcp")
	if err != nil {
		return nil, err
	}
	addr, _, _ := strings.Cut(out, "\n")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("find the control port of the hermetic internet: docker says %q: %w", out, err)
	}
	return internet.NewTCPClient(addr, token, limits.Process().Control.Internet), nil
}

func waitInternet(ctx context.Context, container string, client *internet.Client) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, limits.Process().Control.InternetStart, true, func(ctx context.Context) (bool, error) {
		_, _, last = client.Arrivals(ctx, 0)
		return last == nil, nil
	})
	if err != nil {
		said, _ := docker(context.WithoutCancel(ctx), nil, "logs", container)
		return fmt.Errorf("wait for the hermetic internet: %w; it says: %s", errors.Join(err, last), said)
	}
	return nil
}
