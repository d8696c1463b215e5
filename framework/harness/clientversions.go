package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/report"
)

// clientVersions are the versions of the clients' proxies and of the istiods that serve them, as both say. Istiods come and go, so it is
// asked while they are there, and what was said last counts.
type clientVersions struct {
	mu sync.Mutex
	of map[string]report.Client // by client
}

// noteVersions asks again. What does not answer is left as it was, and told in the error.
func (s *runner) noteVersions(ctx context.Context) error {
	serving, err := s.istiods.changer.Serving(ctx)
	if err != nil {
		err = fmt.Errorf("ask the istiods which proxies they serve: %w", err)
	}
	ask := proxyPages{clients{s.conn.pods, 0, s.starter.gateways.proxies}, s.conn.logs, s.conn.pages}
	for _, p := range s.conn.pods.Started() {
		if !p.Proxied() || !slices.ContainsFunc(s.opts.Clients, func(c egress.Client) bool { return c.Name == p.Name }) {
			continue // a lane's copy has the proxy of the first lane's
		}
		text, failed := ask.Page(ctx, p.Name, probe.Page{URL: "/server_info"})
		if failed == nil {
			failed = s.versions.add(p, text, serving[mesh.Proxy(p.PodName, p.Namespace)])
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("ask the proxy of client %s for its version: %w", p.Name, failed))
		}
	}
	return err
}

// tellVersions is noteVersions where a report does without what cannot be found out.
func (s *runner) tellVersions(ctx context.Context) {
	if s.over(ctx) {
		return
	}
	if err := s.noteVersions(ctx); err != nil {
		s.opts.logf("versions of the clients, which the report will lack: %v", err)
	}
}

// add notes what a proxy has said, and which istiod it is connected to.
func (v *clientVersions) add(p *pods.Pod, serverInfo string, by mesh.Control) error {
	c, err := parseServerInfo(serverInfo)
	if err != nil {
		return err
	}
	c.Name, c.Revision, c.Istiod = p.Name, by.Revision, by.Version
	v.mu.Lock()
	defer v.mu.Unlock()
	if had, ok := v.of[c.Name]; ok && by.Revision == "" { // its istiod is gone by now
		c.Revision, c.Istiod = had.Revision, had.Istiod
	}
	if v.of == nil {
		v.of = map[string]report.Client{}
	}
	v.of[c.Name] = c
	return nil
}

// clients are sorted by name.
func (v *clientVersions) clients() []report.Client {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []report.Client
	for _, n := range slices.Sorted(maps.Keys(v.of)) {
		out = append(out, v.of[n])
	}
	return out
}

// parseServerInfo reads what Envoy says of itself (Envoy, "Administration interface", /server_info): its version is the
// second part of "COMMIT/VERSION/...", and the agent has told it Istio's as part of its node.
func parseServerInfo(text string) (report.Client, error) {
	var info struct {
		Version string `json:"version"`
		Node    struct {
			Metadata struct {
				Istio string `json:"ISTIO_VERSION"`
			} `json:"metadata"`
		} `json:"node"`
	}
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return report.Client{}, fmt.Errorf("read /server_info: %w", err)
	}
	parts := strings.Split(info.Version, "/")
	if len(parts) < 2 || info.Node.Metadata.Istio == "" {
		return report.Client{}, fmt.Errorf("/server_info has no version of Envoy and of Istio: %q, %q", info.Version, info.Node.Metadata.Istio)
	}
	return report.Client{Proxy: info.Node.Metadata.Istio, Envoy: parts[1]}, nil
}
