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
// not, and neither would prove anything about the mesh, for this case or for the next one in the same pods. An object that
// is narrowed, to other namespaces or hosts, is deleted for those that it leaves. Two signs tell: istiod's counts of
// pushes, and that a proxy is sent nothing when something goes of whose coming it was told. Then a further push carries it.

// nudgedNote is said of a change that istiod may have lost.
const nudgedNote = "istiod may have lost this change beside another push (docs/findings.md); a further one carried it to every proxy"

// take removes objects and waits until the proxies of the case know.
func (r *rules) take(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (engine.Change, error) {
	s, err := r.takeAway(ctx, c, objs, patch)
	return settled(engine.Change{Acknowledged: true}, s), err
}

// takeAway is take, with what is known of the proxies.
func (r *rules) takeAway(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (mesh.Settled, error) {
	s, err := r.settle(ctx, c, patch, objs, func(ctx context.Context) (mesh.Written, error) {
		return mesh.Written{Removed: objs}, r.fixtures.Remove(ctx, objs...)
	})
	if err == nil {
		err = r.enforcing.lifted(ctx, c, objs)
	}
	return s, err
}

// tell notes which proxies were told of a change of a case's objects, or may have been.
func (r *rules) tell(c egress.Case, s mesh.Settled) {
	told := s.Sent
	if !s.Acknowledged {
		told = r.clients.proxies(c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(c)
	t.told = append(t.told, told...)
}

// toldOf are the proxies that may have been told of a case's objects, but for those that go with some that are removed.
func (r *rules) toldOf(c egress.Case, removed []*fixture.Object) []string {
	left := r.proxies(c, removed)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.of(c).told), func(proxy string) bool { return !slices.Contains(left, proxy) })
}

// carry has a further push carry a change to every proxy of a case, and adds what was known of the change.
func (r *rules) carry(ctx context.Context, c egress.Case, s mesh.Settled) (mesh.Settled, error) {
	again, err := r.nudge(ctx, c)
	if err != nil {
		err = fmt.Errorf("%w: %w", engine.ErrUntold, err)
	}
	again.Took += s.Took
	again.Rejections = append(again.Rejections, slices.DeleteFunc(s.Rejections, func(n string) bool { return slices.Contains(again.Rejections, n) })...)
	again.Note = nudgedNote
	return again, err
}

// changed are those of some objects which the API server has just returned that were there before, and were something else
// then. The API server counts what narrows them in the generation, where it counts; of the labels, the one that says which
// istiod they are for does, and no other.
func changed(before, now []*fixture.Object) []*fixture.Object {
	return slices.DeleteFunc(slices.Clone(now), func(o *fixture.Object) bool {
		return !slices.ContainsFunc(before, func(b *fixture.Object) bool {
			return b.GetUID() == o.GetUID() &&
				(o.GetGeneration() == 0 || b.GetGeneration() < o.GetGeneration() || b.GetLabels()[egress.RevisionLabel] != o.GetLabels()[egress.RevisionLabel])
		})
	})
}

// mayBeLost says whether istiod may have lost the removal or the narrowing of objects, of whose coming some proxies were
// told.
func mayBeLost(objs []*fixture.Object, told []string, s mesh.Settled) bool {
	missed := slices.ContainsFunc(told, func(proxy string) bool { return !slices.Contains(s.Sent, proxy) })
	return mesh.Losable(objs) && (s.Beside || s.Acknowledged && missed)
}
