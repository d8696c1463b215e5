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
// not, and neither would prove anything about the mesh, for this case or for the next one in the same pods. Then what was
// removed is made and removed once more.

// removals is how often that is done at the most. Without any care one such deletion in two hundred was lost.
const removals = 4

// take removes objects and waits until the proxies of the case know.
func (r *rules) take(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (engine.Change, error) {
	remove := func(objs []*fixture.Object, patch egress.Object) (mesh.Settled, error) {
		return r.settle(ctx, c, patch, objs, func(ctx context.Context) (mesh.Written, error) {
			return mesh.Written{Removed: objs}, r.fixtures.Remove(ctx, objs...)
		})
	}
	objs, slow := apart(objs)
	ch, err := removeAlone(objs, func(objs []*fixture.Object, first bool) (mesh.Settled, error) {
		if first {
			return remove(objs, patch)
		}
		return remove(objs, nil)
	}, func(objs []*fixture.Object) ([]*fixture.Object, mesh.Settled, error) {
		return r.remake(ctx, c, objs)
	})
	if err != nil || len(slow) == 0 {
		return ch, err
	}
	s, err := remove(slow, nil)
	return settled(ch, s), err
}

// apart are the objects to remove at first, and those afterwards: a namespace takes seconds to go, in which istiod pushes
// what it will, and what lies in it could not be made again.
func apart(objs []*fixture.Object) (first, then []*fixture.Object) {
	if !slices.ContainsFunc(objs, func(o *fixture.Object) bool { return o.GetKind() == "Namespace" }) {
		return objs, nil
	}
	first = mesh.Losable(objs)
	for _, o := range objs {
		if !slices.Contains(first, o) {
			then = append(then, o)
		}
	}
	return first, then
}

// removeAlone removes objects until istiod has computed no other push beside that.
func removeAlone(objs []*fixture.Object, remove func(objs []*fixture.Object, first bool) (mesh.Settled, error), remake func([]*fixture.Object) ([]*fixture.Object, mesh.Settled, error)) (engine.Change, error) {
	s, err := remove(objs, true)
	ch := settled(engine.Change{Acknowledged: true}, s)
	objs = mesh.Losable(objs)
	n := 1
	for ; err == nil && s.Beside && len(objs) > 0 && n < removals; n++ {
		if objs, s, err = remake(objs); err != nil {
			return ch, fmt.Errorf("make again what is to be removed once more: %w", err)
		}
		ch.Took += s.Took
		s, err = remove(objs, false)
		ch = settled(ch, s)
	}
	switch {
	case s.Beside && len(objs) > 0:
		ch.Notes = append(ch.Notes, fmt.Sprintf("istiod computed another push beside each of %d removals: it may have lost them all", n))
	case n > 1:
		ch.Notes = append(ch.Notes, fmt.Sprintf("removed %d times, until istiod computed no other push beside it", n))
	}
	return ch, err
}

// remake makes objects that were removed, as they were.
func (r *rules) remake(ctx context.Context, c egress.Case, objs []*fixture.Object) (made []*fixture.Object, s mesh.Settled, err error) {
	fresh := make([]*fixture.Object, len(objs))
	for i, o := range objs {
		fresh[i] = fixture.Fresh(o)
	}
	s, err = r.settle(ctx, c, nil, fresh, func(ctx context.Context) (_ mesh.Written, err error) {
		made, err = r.fixtures.Apply(ctx, "", ordered(fresh)...)
		r.mu.Lock()
		r.applied[c.Name] = append(r.applied[c.Name], made...)
		r.mu.Unlock()
		return mesh.Written{Made: made}, err
	})
	return made, s, err
}
