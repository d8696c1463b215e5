package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
)

// name makes a phase's DNS answers valid. Where a name had an answer before, it waits until that has been renewed.
func (r *rules) name(ctx context.Context, c egress.Case, ph egress.Phase) error {
	for _, n := range slices.Sorted(maps.Keys(c.DNS[ph])) {
		if err := r.internet.Answer(ctx, n, c.DNS[ph][n]); err != nil {
			return fmt.Errorf("case %s: change what %s resolves to: %w", c.Name, n, err)
		}
	}
	if ph != egress.Changed {
		return nil
	}
	for n, host := range c.DNS[ph] {
		_, failure := dns.StringToRcode[host]
		if err := r.renewed(ctx, n, failure); err != nil {
			return err
		}
	}
	return nil
}

// renewed waits until a proxy has dealt with the new answer of a name: it asks a second time then. A failure it
// does not ask about again soon, once it has given up.
func (r *rules) renewed(ctx context.Context, name string, failure bool) error {
	last, since := 0, time.Now()
	var asking error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, r.limits.Control.Renew, true, func(ctx context.Context) (bool, error) {
		var n int
		n, asking = r.internet.Asked(ctx, name)
		if n != last {
			last, since = n, time.Now()
		}
		return asking == nil && (failure && n > 0 && time.Since(since) > r.limits.Control.GiveUp || !failure && n > 1), nil
	})
	if err != nil {
		return fmt.Errorf("wait until a proxy asks for %s again: asked %d times: %w", name, last, errors.Join(err, asking))
	}
	return nil
}

// forget takes a case's DNS answers back.
func (r *rules) forget(ctx context.Context, c egress.Case) error {
	var all error
	for _, n := range c.Names() {
		all = errors.Join(all, r.internet.Answer(ctx, n, ""))
	}
	return all
}
