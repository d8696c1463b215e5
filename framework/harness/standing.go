package harness

import (
	"context"
	"errors"
	"slices"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// given are somebody's objects that are about to stand.
type given struct {
	all    []egress.Object
	place  map[*fixture.Object]int // in all, of what is applied of them
	theirs int                     // where somebody's own begin; placeholders of certificates are before them
	have   *stood
	out    *Examined
}

// early says of an object whether it decides about the injection of pods, and must be there before them: a pod that runs does not
// take it up (istio.io, ProxyConfig).
func early(kind string) bool { return kind == "ProxyConfig" }

// precede applies, and takes away, what must be done before stand-ins start.
func (r *rules) precede(ctx context.Context, st Standing, have *stood, out *Examined) error {
	all := slices.Concat(st.Secrets, st.Objects)
	d := have.differ(all)
	gone := slices.DeleteFunc(d.gone, func(key string) bool {
		made := have.objects[key].made
		return len(made) == 0 || !early(made[0].GetKind())
	})
	c := egress.Case{Name: examined}
	if err := r.fall(ctx, c, have, gone, out); err != nil {
		return err
	}
	apply := slices.DeleteFunc(d.apply, func(i int) bool {
		o := fixture.Object{Object: all[i]}
		return !early(o.GetKind())
	})
	return r.raise(ctx, c, all, apply, have, len(st.Secrets), out)
}

// refuse notes an object that is not taken, and says whether that can be left at that.
func (g given) refuse(o *fixture.Object, err error) bool {
	i := g.place[o]
	x := &standing{was: g.all[i]}
	var foreign *fixture.ForeignError
	switch {
	case o.GetKind() == "ServiceAccount" && errors.As(err, &foreign): // a stand-in has brought it along
	case !fixture.NotTaken(err) && !isUnserved(err):
		return false
	case i < g.theirs: // whatever names it says so, when it is called
		g.out.Notes = append(g.out.Notes, "the placeholder of a certificate is not there: "+err.Error())
	default:
		x.refused = err
		if was := g.have.objects[keyOf(g.all[i])]; was != nil {
			x.made = was.made
		}
	}
	g.have.objects[keyOf(g.all[i])] = x
	return true
}

// housed makes the namespaces of objects. Objects whose namespace cannot be made are refused, and the others returned.
func (r *rules) housed(ctx context.Context, g given, objs []*fixture.Object) ([]*fixture.Object, error) {
	for _, name := range named(objs) {
		out := func(o *fixture.Object) bool { return o.GetNamespace() != name }
		in := slices.DeleteFunc(slices.Clone(objs), out)
		err := r.places.ensure(ctx, in)
		if err == nil {
			continue
		}
		for _, o := range in {
			if !g.refuse(o, err) {
				return nil, err
			}
		}
		objs = slices.DeleteFunc(slices.Clone(objs), func(o *fixture.Object) bool { return !out(o) })
	}
	return objs, nil
}

// withoutGateways notes objects whose gateways did not come up as refused, and returns whatever else went wrong.
func (s *stood) withoutGateways(err error) error {
	var failed mesh.GatewayErrors
	if !errors.As(err, &failed) {
		return err
	}
	for _, e := range failed {
		found := false
		for _, x := range s.objects {
			if slices.ContainsFunc(x.made, func(o *fixture.Object) bool { return o.GetUID() == e.Object.GetUID() }) {
				x.refused, found = errors.New(e.Error()), true // the reason alone does not say what was waited for
			}
		}
		if !found {
			return err
		}
	}
	return nil
}
