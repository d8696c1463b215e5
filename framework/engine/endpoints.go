package engine

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// adminURL is where a sidecar answers the pod that it is in (Envoy, "Administration interface").
const adminURL = "http://127.0.0.1:15000"

// page fetches lines of a page of a proxy; page.URL is its path.
func (e *Engine) page(ctx context.Context, proxy string, page probe.Page) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.ProbeTimeout)
	defer cancel()
	if e.Proxies != nil {
		return e.Proxies.Page(ctx, proxy, page)
	}
	path := page.URL
	page.URL = adminURL + path
	out, err := e.Clients.Do(ctx, proxy, probe.Request{Page: &page})
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("exit %d: %s", out.ExitCode, shorten(out.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("ask the proxy of %q for %s: %w", proxy, path, err)
	}
	return out.Stdout, nil
}

// clusterPages are what proxies have said of their clusters, so that all probes of a phase share one question.
type clusterPages struct {
	mu    sync.Mutex
	pages map[clusterKey]*clusterPage
}

type clusterKey struct {
	proxy string
	phase egress.Phase
}

// clusterPage is one proxy's clusters with more than one endpoint, and the weight of each endpoint.
type clusterPage struct {
	mu       sync.Mutex
	asked    bool
	clusters map[string][]int
	err      error
}

// balanced asks a proxy which of its outbound clusters have several endpoints that it may choose.
func (r *run) balanced(ctx context.Context, proxy string, ph egress.Phase) (map[string][]int, error) {
	key := clusterKey{proxy, ph}
	r.clusters.mu.Lock()
	if r.clusters.pages == nil {
		r.clusters.pages = map[clusterKey]*clusterPage{}
	}
	p := r.clusters.pages[key]
	if p == nil {
		p = &clusterPage{}
		r.clusters.pages[key] = p
	}
	r.clusters.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked {
		p.asked = true
		var text string
		if text, p.err = r.e.page(ctx, proxy, probe.Page{URL: "/clusters", Lines: `^outbound.*::(weight|health_flags)::`}); p.err == nil {
			p.clusters = parseClusters(text)
		}
	}
	return p.clusters, p.err
}

// parseClusters reads lines such as "outbound|80||a.example::198.51.100.10:80::weight::1" and leaves out clusters with
// fewer than two endpoints that are healthy.
func parseClusters(text string) map[string][]int {
	type endpoint struct {
		weight  int
		healthy bool
	}
	all := map[string]map[string]endpoint{}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), "::")
		if len(fields) < 4 {
			continue
		}
		n := len(fields)
		name, address, what, value := fields[0], strings.Join(fields[1:n-2], "::"), fields[n-2], fields[n-1]
		if all[name] == nil {
			all[name] = map[string]endpoint{}
		}
		e := all[name][address]
		switch what {
		case "weight":
			e.weight, _ = strconv.Atoi(value) // 0 where it is none
		case "health_flags":
			e.healthy = value == "healthy"
		}
		all[name][address] = e
	}
	out := map[string][]int{}
	for name, endpoints := range all {
		var weights []int
		for _, address := range slices.Sorted(maps.Keys(endpoints)) {
			if e := endpoints[address]; e.healthy {
				weights = append(weights, max(e.weight, 1))
			}
		}
		if len(weights) > 1 {
			out[name] = weights
		}
	}
	return out
}

// endpoints are the weights of those that may answer a probe; nil where there is one, or where the proxy does not choose.
func (r *run) endpoints(ctx context.Context, t *try) ([]int, error) {
	proxy := t.probe.Carrier()
	info, err := r.e.Clients.Describe(proxy)
	if err != nil || !info.Captured || t.probe.Through != "" && r.e.Proxies == nil {
		return nil, err
	}
	clusters, err := r.balanced(ctx, proxy, t.phase)
	if err != nil {
		return nil, err
	}
	var ofGateway map[string][]int
	if r.e.Proxies != nil && slices.Contains(r.c.Needs, egress.EgressGateway) {
		if ofGateway, err = r.balanced(ctx, EgressGateway, t.phase); err != nil {
			return nil, err
		}
	}
	if len(clusters)+len(ofGateway) == 0 {
		return nil, nil
	}
	// Only the log tells which cluster it was.
	if err := r.e.Mesh.Flush(ctx, proxy); err != nil {
		return nil, err
	}
	x := t.rounds[len(t.rounds)-1]
	lines, err := r.lines(ctx, t.probe, x, info)
	if err != nil {
		return nil, err
	}
	o := egress.Observation{Mesh: lines}
	line := o.Line()
	switch {
	case line == nil:
		return nil, nil
	case o.Hop():
		hop, err := r.hop(ctx, *line)
		if err != nil || len(hop) == 0 {
			return nil, err
		}
		proxy, line, clusters = EgressGateway, &hop[0], ofGateway
	}
	weights := clusters[line.UpstreamCluster]
	if len(weights) < 2 {
		return nil, nil
	}
	chooses, err := r.chooses(ctx, proxy, line.UpstreamCluster)
	if err != nil || !chooses {
		return nil, err
	}
	return weights, nil
}

// chooses says whether a proxy chooses among the endpoints of a cluster. Where it goes to the address that the client
// has called, those that it lists are only the ones that it went to lately.
func (r *run) chooses(ctx context.Context, proxy, cluster string) (bool, error) {
	text, err := r.e.page(ctx, proxy, probe.Page{
		URL:   "/config_dump?resource=dynamic_active_clusters&name_regex=" + url.QueryEscape("^"+regexp.QuoteMeta(cluster)+"$"),
		Lines: `^\s*"(type|name)":`,
	})
	if err != nil {
		return false, err
	}
	return !strings.Contains(text, `"ORIGINAL_DST"`), nil
}
