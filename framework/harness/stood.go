package harness

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// stood is what stands between two examinations.
type stood struct {
	config     egress.Object
	configured bool
	objects    map[string]*standing // by what tells objects apart
	clients    []string
}

// standing is an object that was applied, or refused.
type standing struct {
	was     egress.Object // as it was handed in
	made    []*fixture.Object
	refused error
}

// examined is the case as which everything stands: what was told of it to the proxies is known by its name.
const examined = "verify"

// as is that case, with those clients that have started.
func (s *stood) as(names []string, unstarted map[string]error) egress.Case {
	s.clients = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return unstarted[n] != nil })
	return s.standingCase()
}

func (s *stood) standingCase() egress.Case {
	c := egress.Case{Name: examined}
	for _, n := range s.clients {
		c.Probes = append(c.Probes, egress.Probe{From: n})
	}
	return c
}

// keyOf is what an API server tells objects apart by.
func keyOf(o egress.Object) string {
	x := fixture.Object{Object: o}
	group := x.GroupVersionKind().Group
	return strings.Join([]string{group, x.GetKind(), x.GetNamespace(), x.GetName()}, "|")
}

// delta is what has to be done to what stands, so that others stand.
type delta struct {
	apply []int // places of those that are new or differ
	gone  []string
	// again are of those that are applied the ones that must go before: what makes pods cannot have other labels.
	again []string
}

// differ compares what stands with what is to stand.
func (s *stood) differ(objs []egress.Object) delta {
	var d delta
	wanted := map[string]bool{}
	for i, o := range objs {
		key := keyOf(o)
		wanted[key] = true
		have := s.objects[key]
		if have != nil && reflect.DeepEqual(have.was, o) && !isUnserved(have.refused) { // whose Gateway may have come
			continue
		}
		d.apply = append(d.apply, i)
		x := fixture.Object{Object: o}
		if have != nil && len(have.made) > 0 && slices.Contains([]string{"apps", "batch"}, x.GroupVersionKind().Group) {
			d.again = append(d.again, key)
		}
	}
	for key := range s.objects {
		if !wanted[key] {
			d.gone = append(d.gone, key)
		}
	}
	slices.Sort(d.gone)
	return d
}

// stand applies what differs of what is to stand, each object by itself: one that is refused keeps no other from standing. What of it
// stood before goes then.
func (r *rules) stand(ctx context.Context, c egress.Case, st Standing, have *stood, out *Examined) error {
	all := slices.Concat(st.Secrets, st.Objects)
	d := have.differ(all)
	if err := r.fall(ctx, c, have, slices.Concat(d.gone, d.again), out); err != nil {
		return err
	}
	theirs := len(st.Secrets)
	if err := r.raise(ctx, c, all, d.apply, have, theirs, out); err != nil {
		return err
	}
	var refused []string
	for i, o := range all {
		x := have.objects[keyOf(o)]
		if x == nil || x.refused == nil {
			continue
		}
		out.Refused[i-theirs] = x.refused
		if len(x.made) > 0 {
			refused = append(refused, keyOf(o))
		}
	}
	for _, key := range refused {
		x := *have.objects[key]
		if err := r.fall(ctx, c, have, []string{key}, out); err != nil {
			return err
		}
		x.made = nil
		have.objects[key] = &x
	}
	return nil
}

// raise applies some of the objects; those before theirs are the harness's own, which must not be refused.
func (r *rules) raise(ctx context.Context, c egress.Case, all []egress.Object, which []int, have *stood, theirs int, out *Examined) error {
	var objs []*fixture.Object
	place := map[*fixture.Object]int{}
	for _, i := range which {
		if i < theirs { // with certificates in place of placeholders
			own, err := r.objects(ctx, all[i:i+1])
			if err != nil {
				return err
			}
			objs = append(objs, own...)
			place[own[0]] = i
			continue
		}
		x := &fixture.Object{Object: all[i]}
		objs = append(objs, x.DeepCopy())
		place[objs[len(objs)-1]] = i
	}
	if len(objs) == 0 {
		return nil
	}
	r.complete(objs)
	g := given{all: all, place: place, theirs: theirs, have: have, out: out}
	objs, err := r.housed(ctx, g, objs)
	if err == nil {
		objs, err = r.served(ctx, g, objs)
	}
	if err != nil || len(objs) == 0 {
		return err
	}
	var made []*fixture.Object
	s, err := r.settle(ctx, c, nil, objs, func(ctx context.Context) (mesh.Written, error) {
		for _, o := range ordered(objs) {
			got, err := r.fixtures.Apply(ctx, o.GetNamespace(), o)
			switch {
			case err == nil:
				made = append(made, got...)
				have.objects[keyOf(all[place[o]])] = &standing{was: all[place[o]], made: got}
			case !g.refuse(o, err):
				return mesh.Written{Made: made}, err
			}
		}
		return mesh.Written{Made: made}, nil
	})
	if err != nil {
		return err
	}
	out.settled(s)
	s, err = r.changer.AwaitGateways(ctx, r.gateways, made, r.proxies(c, nil))
	out.settled(s)
	return have.withoutGateways(err)
}

// fall removes some of what stands.
func (r *rules) fall(ctx context.Context, c egress.Case, have *stood, keys []string, out *Examined) error {
	var objs []*fixture.Object
	for _, key := range keys {
		objs = append(objs, have.objects[key].made...)
	}
	if len(objs) > 0 {
		s, err := r.takeAway(ctx, c, objs, nil)
		if err != nil {
			return err
		}
		out.settled(s)
		r.mu.Lock()
		t := r.of(c)
		t.applied = slices.DeleteFunc(slices.Clone(t.applied), func(o *fixture.Object) bool {
			return slices.ContainsFunc(objs, func(x *fixture.Object) bool { return x.GetUID() == o.GetUID() })
		})
		r.mu.Unlock()
	}
	for _, key := range keys {
		delete(have.objects, key)
	}
	return nil
}
