package harness

import (
	"context"
	"slices"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// stampUnit is the unit of creationTimestamp, by which Istio decides which of two objects counts where both cannot.
const stampUnit = time.Second

// aged waits until objects that are made from now on are younger, by their creationTimestamp, than those of the case's
// setup whose order with them matters to Istio.
func (r *rules) aged(ctx context.Context, c egress.Case, objs []*fixture.Object) error {
	r.mu.Lock()
	due := younger(r.of(setupOf(c)).applied, objs, r.of(c).setupMade, r.ours)
	r.mu.Unlock()
	left := time.Until(due)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// younger is when objects may be made so that their creationTimestamp is a later one than those of the objects of
// their kinds that were there before, all of which had been made at a time of this machine's clock; the zero time where
// they need not wait. Where the API server's clock is another one, a whole unit must pass.
func younger(there, objs []*fixture.Object, made time.Time, sameClock bool) time.Time {
	var due time.Time
	for _, o := range there {
		same := func(x *fixture.Object) bool {
			return x.GroupVersionKind().GroupKind() == o.GroupVersionKind().GroupKind()
		}
		if !byAge(o) || !slices.ContainsFunc(objs, same) {
			continue
		}
		at := made.Add(stampUnit)
		if sameClock {
			at = o.GetCreationTimestamp().Add(stampUnit)
		}
		if at.After(due) {
			due = at
		}
	}
	return due
}

// byAge says whether Istio orders objects of a kind by age.
func byAge(o *fixture.Object) bool {
	g := o.GroupVersionKind().Group
	return strings.HasSuffix(g, ".istio.io") || g == mesh.GatewayAPIGroup
}
