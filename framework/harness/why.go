package harness

import (
	"context"
	"errors"
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// exportTo are the namespaces to which ServiceEntries are exported that do not say it; nil is all.
func exportTo(c mesh.Config) []string {
	var out []string
	list, _ := c["defaultServiceExportTo"].([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// configOf is what a proxy has.
func (c *connection) configOf(ctx context.Context, namespace, pod string) (why.Config, error) {
	dump, err := c.pages.Page(ctx, namespace, pod, "/config_dump", "")
	if err != nil {
		return why.Config{}, err
	}
	return why.ParseConfig(dump)
}

// hopsOf is what the gateways have by which calls went, by the names that hops have. One that does not say it is missing, and the
// error says so.
func (c *connection) hopsOf(ctx context.Context, results []egress.ProbeResult) (map[string]why.Config, error) {
	return hopsConfigs(results, c.followed.All(), func(namespace, pod string) (why.Config, error) { return c.configOf(ctx, namespace, pod) })
}

// hopsConfigs is hopsOf, among these gateways.
func hopsConfigs(results []egress.ProbeResult, gateways []mesh.Gateway, read func(namespace, pod string) (why.Config, error)) (map[string]why.Config, error) {
	met := map[string]bool{}
	for _, r := range results {
		for _, h := range why.Hops(r) {
			met[h.Gateway] = true
		}
	}
	out := map[string]why.Config{}
	var errs []error
	for _, g := range gateways {
		if !met[g.Log] {
			continue
		}
		delete(met, g.Log)
		c, err := read(g.Namespace, g.Pod)
		if err != nil {
			errs = append(errs, fmt.Errorf("read what the proxy of gateway %s has, whose rules are not named without it: %w", g.Log, err))
			continue
		}
		out[g.Log] = c
	}
	for name := range met {
		errs = append(errs, fmt.Errorf("read what the proxy of gateway %s has, whose rules are not named without it: the gateway is not there any more", name))
	}
	return out, errors.Join(errs...)
}

// outboundPolicy is the mesh-wide one; Istio's default is ALLOW_ANY.
func outboundPolicy(c mesh.Config) egress.Policy {
	p, _ := c["outboundTrafficPolicy"].(map[string]any)
	if mode, ok := p["mode"].(string); ok {
		return egress.Policy(mode)
	}
	return egress.AllowAny
}
