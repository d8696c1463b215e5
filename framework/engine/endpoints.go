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
	return OwnPage(ctx, e.Clients, proxy, page)
}

// OwnPage fetches lines of a page of a client's own sidecar, through the client's agent; page.URL is the page's path.
func OwnPage(ctx context.Context, clients Clients, client string, page probe.Page) (string, error) {
	path := page.URL
	page.URL = adminURL + path
	out, err := clients.Do(ctx, client, probe.Request{Page: &page})
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("exit %d: %s", out.ExitCode, shorten(out.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("ask the sidecar of client %q for %s: %w", client, path, err)
	}
	return out.Stdout, nil
}

// clusterPages are what proxies have said of their clusters, so that all probes of a phase share one question.
type clusterPages struct {
	mu    sync.Mutex // also over the list of gateways, while a phase runs
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
	if ph == egress.Removed && len(r.c.Names()) == 0 && r.clusters.never(proxy, r.c.Phases()) {
		r.clusters.mu.Unlock()
		return nil, nil
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
		if text, p.err = r.e.page(ctx, proxy, probe.Page{URL: "/clusters", Lines: `::(weight|health_flags)::`}); p.err == nil {
			p.clusters = parseClusters(text)
		}
	}
	return p.clusters, p.err
}

// never says whether a proxy had no such cluster before the case and in any phase since. When the case's objects are gone,
// or have stayed by mistake, it can have one only if names have other addresses than before. The caller holds the lock.
func (c *clusterPages) never(proxy string, phases []egress.Phase) bool {
	return !slices.ContainsFunc(phases, func(ph egress.Phase) bool {
		p := c.pages[clusterKey{proxy, ph}]
		return ph != egress.Removed && (p == nil || p.err != nil || len(p.clusters) > 0)
	})
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
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "outbound|") {
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
// Where the probe went through gateways it is the last one that chooses.
func (r *run) endpoints(ctx context.Context, t *try) ([]int, error) {
	carrier := t.probe.Carrier(t.phase)
	info, err := r.e.Clients.Describe(carrier)
	if err != nil || !info.Captured || t.probe.Through[t.phase] != "" && r.e.Proxies == nil {
		return nil, err
	}
	gateways, err := r.knownGateways(ctx)
	if err != nil {
		return nil, err
	}
	clusters := map[string]map[string][]int{} // by proxy
	if clusters[carrier], err = r.balanced(ctx, carrier, t.phase); err != nil {
		return nil, err
	}
	several := len(clusters[carrier]) > 0
	for _, g := range gateways {
		// A gateway that does not answer has ended: nothing went through it.
		if clusters[g.Name], err = r.balanced(ctx, g.Name, t.phase); err == nil {
			several = several || len(clusters[g.Name]) > 0
		}
	}
	if !several {
		return nil, nil
	}
	proxy, line, err := r.decider(ctx, t, info)
	if err != nil {
		return nil, err
	}
	if line == nil || len(clusters[proxy][line.UpstreamCluster]) < 2 {
		return nil, nil
	}
	chooses, err := r.chooses(ctx, proxy, line.UpstreamCluster)
	if err != nil || !chooses {
		return nil, err
	}
	return clusters[proxy][line.UpstreamCluster], nil
}

// decider is the last proxy that the last attempt came to, and its line, which alone tells which cluster it was; nil where it has
// none.
func (r *run) decider(ctx context.Context, t *try, carrier ClientInfo) (proxy string, line *egress.AccessLog, err error) {
	proxy = t.probe.Carrier(t.phase)
	if err := r.e.Mesh.Flush(ctx, proxy); err != nil {
		return "", nil, err
	}
	lines, err := r.lines(ctx, t.probe, t.phase, t.rounds[len(t.rounds)-1], carrier)
	if err != nil {
		return "", nil, err
	}
	o := egress.Observation{Mesh: lines}
	if o.Hops, err = r.hops(ctx, o.Line(), nil); err != nil {
		return "", nil, err
	}
	if n := len(o.Hops); n > 0 {
		proxy = o.Hops[n-1].Gateway
	}
	return proxy, o.Last(), nil
}

// knownGateways are the gateways whose proxies can be asked, where the case may have led a probe through one.
func (r *run) knownGateways(ctx context.Context) ([]Gateway, error) {
	r.clusters.mu.Lock()
	defer r.clusters.mu.Unlock()
	var err error
	if r.gateways, err = r.e.Mesh.Gateways(ctx); err != nil {
		return nil, fmt.Errorf("find the gateways of the mesh: %w", err)
	}
	if r.e.Proxies == nil || !r.c.Gateway() {
		return nil, nil
	}
	return r.gateways, nil
}

// chooses says whether a proxy chooses among the endpoints of a cluster. Where it goes to the address that the client
// has called, those that it lists are only the ones that it went to lately.
func (r *run) chooses(ctx context.Context, proxy, cluster string) (bool, error) {
	text, err := r.e.page(ctx, proxy, probe.Page{URL: clusterDump(cluster), Lines: `^\s*"(type|name)":`})
	if err != nil {
		return false, err
	}
	return !strings.Contains(text, `"ORIGINAL_DST"`), nil
}

// clusterDump is the page of a proxy that has one of its clusters.
func clusterDump(name string) string {
	return "/config_dump?resource=dynamic_active_clusters&name_regex=" + url.QueryEscape("^"+regexp.QuoteMeta(name)+"$")
}
