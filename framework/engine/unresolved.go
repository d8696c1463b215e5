package engine

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// lacksName says whether the attempts were refused because a proxy has not got the addresses of a name that has some, and notes the
// name. An Envoy whose question is not answered once has none for a minute: Istio has it ask again so late ("only used when DNS
// requests fail", dnsRefreshRate in istio's pkg/config/mesh/mesh.go). That is DNS's fault, and not the mesh's.
func (r *run) lacksName(ctx context.Context, t *try) bool {
	t.unresolved = ""
	if ctx.Err() != nil || t.lost.Load() || !mayLackHost(t.rounds[len(t.rounds)-1]) {
		return false
	}
	var err error
	if t.unresolved, err = r.unresolved(ctx, t); err != nil {
		t.note = fmt.Sprintf("; whether its proxy has the addresses of every name is not known (%v)", err)
	}
	return t.unresolved != ""
}

// mayLackHost says whether an attempt may be one for which a proxy had no host, as far as the client can tell: an HTTP client gets a
// 503, a gRPC client a status, and any other one is cut off.
func mayLackHost(x round) bool {
	if x.err != nil {
		return false
	}
	return x.client.HTTPCode == http.StatusServiceUnavailable || x.client.Refused() || x.client.ExitCode != 0 && unreached(x.client) == 0
}

// unresolved is a name that has addresses, of which the proxy that refused the last attempt has none; "" where it was refused for
// another reason.
func (r *run) unresolved(ctx context.Context, t *try) (string, error) {
	info, err := r.e.Clients.Describe(t.probe.Carrier(t.phase))
	if err != nil || !info.Captured {
		return "", err
	}
	proxy, line, err := r.decider(ctx, t, info)
	if err != nil || line == nil {
		return "", err
	}
	names, err := r.lacking(ctx, proxy, line)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		x := r.execute(ctx, egress.ControlClient, egress.Probe{From: egress.ControlClient, URL: "dns:///" + name}, t)
		if x.err != nil {
			return "", fmt.Errorf("ask DNS for %s from the control client: %w", name, x.err)
		}
		if x.client.ExitCode == 0 {
			return name, nil
		}
	}
	return "", nil
}

// lacking are the names for want of whose addresses a proxy refused a call, by its line of it and by its pages.
func (r *run) lacking(ctx context.Context, proxy string, line *egress.AccessLog) ([]string, error) {
	flags := strings.Split(line.ResponseFlags, ",")
	if slices.Contains(flags, "DF") || line.ResponseDetails == "dns_resolution_failure" { // it asks for what the client calls
		host := cmp.Or(line.SNI, line.Authority)
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if host == "" {
			return nil, nil
		}
		return []string{host}, nil
	}
	if !slices.Contains(flags, "UH") {
		return nil, nil
	}
	dump, err := r.e.page(ctx, proxy, probe.Page{URL: clusterDump(line.UpstreamCluster), Lines: `^\s*"(type|address)":`})
	if err != nil {
		return nil, err
	}
	names := namesOf(dump)
	if len(names) == 0 {
		return nil, nil
	}
	hosts, err := r.e.page(ctx, proxy, probe.Page{URL: "/clusters", Lines: "^" + regexp.QuoteMeta(line.UpstreamCluster) + "::.*::weight::"})
	if err != nil || strings.TrimSpace(hosts) != "" { // it has addresses, and does not take them
		return nil, err
	}
	return names, nil
}

var dumped = regexp.MustCompile(`"(type|address)":\s*"([^"]*)"`)

// namesOf are the names in the endpoints of a cluster, by its dump, where the proxy asks DNS for them.
func namesOf(dump string) []string {
	var names []string
	byDNS := false
	for _, m := range dumped.FindAllStringSubmatch(dump, -1) {
		switch _, err := netip.ParseAddr(m[2]); {
		case m[1] == "type":
			byDNS = byDNS || strings.HasSuffix(m[2], "_DNS")
		case err != nil && !slices.Contains(names, m[2]):
			names = append(names, m[2])
		}
	}
	if !byDNS {
		return nil
	}
	return names
}
