package harness

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// given are somebody's objects, as they are applied, each with its place in Standing.Objects. Placeholders have none.
type given struct {
	objects []*fixture.Object
	place   map[*fixture.Object]int
}

// early says of a kind whether it decides about the injection of pods, and must be there before them: a pod that runs does not take
// it up (istio.io, ProxyConfig). All others are late.
func early(o *fixture.Object) bool { return o.GetKind() == "ProxyConfig" }
func late(o *fixture.Object) bool  { return !early(o) }

// only are those that are meant.
func (g given) only(meant func(*fixture.Object) bool) given {
	return given{slices.DeleteFunc(slices.Clone(g.objects), func(o *fixture.Object) bool { return !meant(o) }), g.place}
}

// given prepares what is to stand.
func (r *rules) given(ctx context.Context, st Standing) (given, error) {
	secrets, err := r.objects(ctx, st.Secrets)
	if err != nil {
		return given{}, err
	}
	g := given{objects: secrets, place: map[*fixture.Object]int{}}
	for i, x := range st.Objects {
		o := (&fixture.Object{Object: x}).DeepCopy()
		g.objects = append(g.objects, o)
		g.place[o] = i
	}
	r.complete(g.objects)
	return g, nil
}

// refuse notes an object that is not taken, and says whether that can be left at that.
func (x *Examined) refuse(g given, o *fixture.Object, err error) bool {
	var foreign *fixture.ForeignError
	switch i, theirs := g.place[o]; {
	case o.GetKind() == "ServiceAccount" && errors.As(err, &foreign): // a stand-in has brought it along
		return true
	case !fixture.NotTaken(err):
		return false
	case theirs:
		x.Refused[i] = err
	default: // whatever names it says so, when it is called
		x.Notes = append(x.Notes, "the placeholder of a certificate is not there: "+err.Error())
	}
	return true
}

// stand applies objects, each by itself: one that is refused keeps no other from standing.
func (r *rules) stand(ctx context.Context, c egress.Case, g given, out *Examined) error {
	g, err := r.housed(ctx, g, out)
	if err == nil {
		g, err = r.served(ctx, g, out)
	}
	if err != nil || len(g.objects) == 0 {
		return err
	}
	var made []*fixture.Object
	by := map[types.UID]*fixture.Object{}
	s, err := r.settle(ctx, c, nil, g.objects, func(ctx context.Context) (mesh.Written, error) {
		for _, o := range ordered(g.objects) {
			got, err := r.fixtures.Apply(ctx, o.GetNamespace(), o)
			if err != nil && !out.refuse(g, o, err) {
				return mesh.Written{Made: made}, err
			}
			for _, x := range got {
				by[x.GetUID()] = o
			}
			made = append(made, got...)
		}
		return mesh.Written{Made: made}, nil
	})
	if err != nil {
		return err
	}
	out.settled(s)
	s, err = r.changer.AwaitGateways(ctx, r.gateways, made, r.proxies(c, nil))
	out.settled(s)
	return out.withoutGateways(g, by, err)
}

// housed makes the namespaces of objects. Objects whose namespace cannot be made are refused, and the others returned.
func (r *rules) housed(ctx context.Context, g given, out *Examined) (given, error) {
	for _, name := range named(g.objects) {
		in := func(o *fixture.Object) bool { return o.GetNamespace() == name }
		err := r.places.ensure(ctx, g.only(in).objects)
		for _, o := range g.only(in).objects {
			if err != nil && !out.refuse(g, o, err) {
				return g, err
			}
		}
		if err != nil {
			g = g.only(func(o *fixture.Object) bool { return !in(o) })
		}
	}
	return g, nil
}

// withoutGateways notes objects whose gateways did not come up as refused, and returns whatever else went wrong. by has what
// somebody has given, by the UID of what was made of it.
func (x *Examined) withoutGateways(g given, by map[types.UID]*fixture.Object, err error) error {
	var failed mesh.GatewayErrors
	if !errors.As(err, &failed) {
		return err
	}
	for _, e := range failed {
		i, theirs := g.place[by[e.Object.GetUID()]]
		if !theirs {
			return err
		}
		x.Refused[i] = e
	}
	return nil
}

// settled notes what is worth it of a wait.
func (x *Examined) settled(s mesh.Settled) {
	x.Notes = append(x.Notes, s.Rejections...)
	if s.Note != "" {
		x.Notes = append(x.Notes, s.Note)
	}
}
