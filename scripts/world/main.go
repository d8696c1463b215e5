// Command world plays the real internet in the network namespace that it is started in, for tests of
// `--internet live`: it takes every host's address and serves names and hosts until it is told to stop.
//
//	world CA-FILE   the certificate of its authority goes there
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/vishvananda/netlink"

	"mesh-egress-conformance/framework/internet"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: world CA-FILE")
	}
	// On a machine's own network it would take real addresses away.
	if routes, err := netlink.RouteGet(net.IPv4(192, 0, 2, 1)); err == nil {
		return fmt.Errorf("this network namespace has a way out (%v): start it in one that has none", routes)
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range hosts.Addresses() {
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}); err != nil {
			return fmt.Errorf("take the address %s: %w", a, err)
		}
	}
	ca, err := internet.NewCA("the world")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := internet.NewServer(hosts, ca).Start(ctx); err != nil {
		return err
	}
	// It appears when everything listens.
	if err := os.WriteFile(os.Args[1]+".new", ca.CertPEM, 0o644); err != nil {
		return err
	}
	if err := os.Rename(os.Args[1]+".new", os.Args[1]); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
