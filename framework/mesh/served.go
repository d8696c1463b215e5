package mesh

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
)

// Control says which istiod serves a proxy.
type Control struct {
	Revision string
	Version  string // as that istiod says; "" where it does not
}

// Serving asks every istiod that is here which proxies are connected to it, and which version it is. Proxies are named as
// by Proxy. What could be found out is returned with the error.
func (c *Changer) Serving(ctx context.Context) (map[string]Control, error) {
	out := map[string]Control{}
	var all error
	for _, p := range c.planes.here() {
		sent, err := p.istiod.sent(ctx)
		all = errors.Join(all, err)
		versions, err := askAll(ctx, p.istiod, func(r *replica) *shared[string] { return r.version })
		all = errors.Join(all, err)
		for _, pod := range slices.Sorted(maps.Keys(sent)) {
			for proxy := range sent[pod].sent {
				out[proxy] = Control{p.revision, versions[pod]}
			}
		}
	}
	return out, all
}

// parseVersion reads the version out of what istiod says of itself: version, git revision and build status, joined by dashes
// (istio.io/istio/pkg/version, BuildInfo.String).
func parseVersion(b []byte) (string, error) {
	text := strings.TrimSpace(string(b))
	for range 2 {
		i := strings.LastIndex(text, "-")
		if i <= 0 {
			return "", errors.New("istiod's version page does not have version, git revision and build status")
		}
		text = text[:i]
	}
	return text, nil
}
