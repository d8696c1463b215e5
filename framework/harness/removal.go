package harness

import (
	"context"
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// Where istiod computes another push beside a deletion, it may lose that (docs/findings.md): the proxies know of it or
// not, and neither would prove anything about the mesh, for this case or for the next one in the same pods. Two signs tell:
// istiod's counts of pushes, and that a proxy is sent nothing when something goes of whose coming it was told. Then a
// further push carries it.

// nudgedNote is said of a change that istiod may have lost.
const nudgedNote = "istiod may have lost this change beside another push (docs/findings.md); a further one carried it to every proxy"

// take removes objects and waits until the proxies of the case know.
func (r *rules) take(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (engine.Change, error) {
	left := r.proxies(c, objs)
	r.mu.Lock()
	told := slices.DeleteFunc(slices.Clone(r.told[c.Name]), func(proxy string) bool { return !slices.Contains(left, proxy) })
	r.mu.Unlock()
	s, err := r.settle(ctx, c, patch, objs, func(ctx context.Context) (mesh.Written, error) {
		return mesh.Written{Removed: objs}, r.fixtures.Remove(ctx, objs...)
	})
	if err == nil && mayBeLost(objs, told, s) {
		took := s.Took
		if s, err = r.nudge(ctx, c); err != nil {
			err = fmt.Errorf("carry a removal to the proxies that istiod may have lost: %w", err)
		}
		s.Took += took
		s.Note = nudgedNote
	}
	if err == nil {
		err = r.enforcing.lifted(ctx, c, objs)
	}
	return settled(engine.Change{Acknowledged: true}, s), err
}

// mayBeLost says whether istiod may have lost the removal of objects, of whose coming some proxies were told.
func mayBeLost(objs []*fixture.Object, told []string, s mesh.Settled) bool {
	missed := slices.ContainsFunc(told, func(proxy string) bool { return !slices.Contains(s.Sent, proxy) })
	return mesh.Losable(objs) && (s.Beside || s.Acknowledged && missed)
}
