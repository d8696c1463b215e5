package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
)

// The hermetic internet is a container on the nodes' network that owns every host's address. It is made
// before the nodes and marks a cluster as ours: it carries the cluster's name and facts as labels.
const (
	ownLabel    = "mesh-egress-conformance"
	factsLabel  = "mesh-egress-conformance.facts"
	controlPort = "8098"
	programPath = "/egressctl"
	configPath  = "/run/internet.json"
)

func outsideName(name string) string { return clusterName(name) + "-internet" }

// waiting is what the container does until it has its program and knows who it is: it takes the hosts'
// addresses, gives up the way to the real world, and becomes the internet.
const waiting = `until [ -s ` + configPath + ` ]; do sleep 0.1; done
for a in $ADDRESSES; do ip addr add "$a/32" dev lo || exit 1; done
ip route del default
exec ` + programPath + ` ` + internet.Arg + ` ` + configPath

// startOutside makes the container and waits until every host listens. It returns the CA bundle that the
// cluster's containers shall trust, nil for the one that they have.
func startOutside(ctx context.Context, name, image string, l label) ([]byte, error) {
	known, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	mark := []string{"run", "--detach", "--name", outsideName(name), "--hostname", "internet", "--network", networkOf(l.Facts), "--label", ownLabel + "=" + name, "--label", factsLabel + "=" + string(known)}
	if l.Facts.Outside == cluster.Live { // a container that does nothing but mark the cluster
		if _, err := docker(ctx, nil, append(mark, "--entrypoint", "/bin/sleep", image, "infinity")...); err != nil {
			return nil, fmt.Errorf("mark the cluster as ours: %w", err)
		}
		return components.MachineTrust()
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	ca, err := internet.NewCA("mesh-egress-conformance " + name)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, a := range hosts.Addresses() {
		addresses = append(addresses, a.String())
	}
	program, err := components.Self()
	if err != nil {
		return nil, err
	}
	c := outsideName(name)
	_, err = docker(ctx, nil, append(mark, "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW",
		"--env", "ADDRESSES="+strings.Join(addresses, " "), "--publish", "127.0.0.1::"+controlPort, "--entrypoint", "/bin/sh", image, "-c", waiting)...)
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
	client, err := outsideClient(ctx, name, l.Token)
	if err != nil {
		return nil, err
	}
	return ca.CertPEM, waitOutside(ctx, c, client)
}

func outsideClient(ctx context.Context, name, token string) (*internet.Client, error) {
	out, err := docker(ctx, nil, "port", outsideName(name), controlPort+"/tcp")
	if err != nil {
		return nil, err
	}
	addr, _, _ := strings.Cut(out, "\n")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("find the control port of the hermetic internet: docker says %q: %w", out, err)
	}
	return internet.NewTCPClient(addr, token, limits.Process().Control.Internet), nil
}

func waitOutside(ctx context.Context, container string, client *internet.Client) error {
	ctx, cancel := context.WithTimeout(ctx, limits.Process().Control.InternetStart)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _, err := client.Arrivals(ctx, 0)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			said, _ := docker(context.WithoutCancel(ctx), nil, "logs", container)
			return fmt.Errorf("wait for the hermetic internet: %w; it says: %s", errors.Join(ctx.Err(), err), said)
		}
	}
}
