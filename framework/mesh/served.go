package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
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

// Connected waits until the istiods that serve proxies know them, which those of pods that run already may be told again after
// an istiod was restarted. An istiod that does not answer meanwhile may be back in time; one that was sent away is not asked.
func (c *Changer) Connected(ctx context.Context, proxies []string, within time.Duration) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	serve := c.planes.of(proxies)
	for _, p := range c.planes.here() {
		missing, last := serve[p.revision], error(nil)
		err := wait.PollUntilContextCancel(ctx, p.istiod.pace(), true, func(ctx context.Context) (bool, error) {
			missing, last = p.istiod.unknown(ctx, missing)
			return len(missing) == 0, nil
		})
		if err != nil {
			return fmt.Errorf("wait until the istiod of revision %s knows the proxies that it serves: not connected to it after %s: %s: %w", p.revision, time.Since(start).Round(time.Second), strings.Join(missing, ", "), errors.Join(last, err))
		}
	}
	return nil
}

// unknown are the proxies that no replica knows; all of them where that could not be found out.
func (i *Istiod) unknown(ctx context.Context, proxies []string) ([]string, error) {
	if len(proxies) == 0 {
		return nil, nil
	}
	sent, err := i.sent(ctx)
	if err != nil {
		return proxies, err
	}
	missing := slices.DeleteFunc(slices.Clone(proxies), func(name string) bool {
		for _, p := range sent {
			if _, known := p.sent[name]; known {
				return true
			}
		}
		return false
	})
	if len(missing) == 0 {
		return nil, nil
	}
	return missing, i.lookAgain(ctx) // perhaps a further replica knows it
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
