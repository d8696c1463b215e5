package mesh

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// Changer makes changes and waits until the proxies have them. Changes that come at the same time reach istiod in one
// batch, so all that change one mesh must share one Changer, whichever istiod their proxies are served by: each istiod
// sees every change, and may lose a deletion beside another push.
type Changer struct {
	limits  limits.Push
	planes  *planes
	overlay *Overlay // nil where the mesh configuration may not be changed
	batches *batcher
	objects Objects
}

// Objects reads objects from the API server.
type Objects interface {
	Get(ctx context.Context, o *fixture.Object) (*fixture.Object, error)
}

// NewChanger returns a Changer for the istiod of the default revision. The overlay is nil where the mesh configuration is somebody else's: then it stays as
// it is.
func NewChanger(istiod *Istiod, overlay *Overlay, objects Objects, l limits.Push) *Changer {
	p := newPlanes(istiod)
	return &Changer{limits: l, planes: p, overlay: overlay, batches: &batcher{count: p.computed, gathering: l.Gathering}, objects: objects}
}

// AddWorkers says that so many workers more (or fewer, where it is negative) make changes side by side. A batch is
// written as soon as each of them has joined it.
func (c *Changer) AddWorkers(n int) { c.batches.add(n) }

// EndpointsChange notes that something has been done of which istiod hears as a change of endpoints, such as the start
// of a pod. The mesh configuration is not changed shortly after that.
func (c *Changer) EndpointsChange() {
	if c.overlay != nil {
		c.overlay.endpointsChange()
	}
}

// SetBase lays a configuration over the installed one and waits until the proxies have it; nil goes back to the
// installed one. Nothing else may be changed meanwhile. reached is false where a proxy may not have it: istiod may have
// lost it (docs/findings.md), or the proxy be gone.
func (c *Changer) SetBase(ctx context.Context, base Config, proxies []string) (reached bool, err error) {
	if c.overlay == nil { // somebody else's; cases that want another one are skipped
		return true, nil
	}
	if err := c.quiet(ctx); err != nil {
		return false, err
	}
	c.overlay.setBase(base)
	before, err := c.planes.computed(ctx)
	if err != nil {
		return false, err
	}
	began := time.Now()
	arrived, err := c.configure(ctx, Config{})
	if err != nil || arrived == nil {
		return err == nil, err
	}
	s, err := c.settle(ctx, change{proxies: proxies, all: true, arrived: arrived, before: before, began: began})
	return s.Reached, err
}

// quiet waits until the mesh configuration may be changed, see Istiod.Quiet.
func (c *Changer) quiet(ctx context.Context) error {
	if !c.overlay.endpointsChanged(c.limits.Change.EndpointEcho) {
		return nil
	}
	for _, p := range c.planes.here() {
		if err := p.istiod.Quiet(ctx); err != nil {
			return err
		}
	}
	return nil
}

// arrival says, by revision, whether every replica of an istiod works with a new mesh configuration.
type arrival map[string]func(context.Context) (bool, error)

// configure changes the mesh configuration of every istiod. The arrival is nil where nothing has changed.
func (c *Changer) configure(ctx context.Context, patch Config) (arrival, error) {
	last := map[string]map[string]string{}
	here := c.planes.here()
	for _, p := range here {
		var err error
		if last[p.revision], err = p.istiod.meshConfig(ctx); err != nil {
			return nil, err
		}
	}
	changed, err := c.overlay.set(ctx, patch)
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	out := arrival{}
	for _, p := range here {
		if slices.Contains(changed, p.revision) {
			out[p.revision] = func(ctx context.Context) (bool, error) { return p.istiod.works(ctx, last[p.revision]) }
		}
	}
	return out, nil
}

// Mutation is a change of objects, of the mesh configuration, or of both.
type Mutation struct {
	// Proxies must have the change, named as by Proxy.
	Proxies []string
	// Write makes the change of the objects; nil where there is none.
	Write func(context.Context) (Written, error)
	// Config is laid over the base mesh configuration; an empty one goes back to the base, nil leaves it as it is.
	Config Config
	// Hasty says that proxies which were sent the push, and have neither acknowledged nor refused it, are waited for no longer than those
	// that were sent none, and not as long as limits.Sent.Answered says: a proxy does not acknowledge a cluster for 15 s whose certificate
	// is not there (Envoy's initial_fetch_timeout), and what it does meanwhile may be what is to be seen.
	Hasty bool
}

// Written is what a mutation has done to objects.
type Written struct {
	Made    []*fixture.Object // made or changed, as the API server returned them
	Removed []*fixture.Object
}

// Do makes a change and waits until its proxies have it. It fails where the change could not be made, or istiod does
// not answer; that a proxy did not acknowledge it is in Settled.
func (c *Changer) Do(ctx context.Context, m Mutation) (Settled, error) {
	start := time.Now()
	s, err := c.do(ctx, m)
	s.Took = time.Since(start)
	return s, err
}

func (c *Changer) do(ctx context.Context, m Mutation) (Settled, error) {
	none := Settled{Acknowledged: true}
	if m.Write == nil && m.Config == nil {
		return none, nil
	}
	in, err := c.batches.enter(ctx)
	if err != nil {
		return none, err
	}
	leaves := true
	defer func() {
		if leaves {
			in.leave()
		}
	}()
	var e expected
	if m.Write != nil {
		w, err := m.Write(ctx)
		if err != nil {
			return none, err
		}
		e = expect(w)
	}
	var arrived arrival
	if m.Config != nil {
		if c.overlay == nil {
			return none, errors.New("change the mesh configuration: it belongs to somebody else here")
		}
		if err := c.quiet(ctx); err != nil {
			return none, err
		}
		if arrived, err = c.configure(ctx, m.Config); err != nil {
			return none, err
		}
	}
	if e.endpoints {
		c.EndpointsChange()
	}
	ch := change{proxies: m.Proxies, expected: e, arrived: arrived, before: in.before, began: in.began, hasty: m.Hasty}
	if arrived == nil && !e.concerns() {
		if leaves = e.unconcerned == 0; !leaves { // istiod may compute a push for them, for which this change need not wait
			go func() {
				defer in.leave()
				c.computed(context.WithoutCancel(ctx), ch)
			}()
		}
		return none, nil
	}
	leaves = false
	ch.leave = in.leave
	return c.settle(ctx, ch)
}

// seen returns a function that says whether an istiod holds everything that a mutation has written for it; nil where it
// does not show that.
func (c *Changer) seen(p plane, e expected, arrived func(context.Context) (bool, error)) func(context.Context) (bool, error) {
	if len(e.versions)+len(e.statuses) == 0 && arrived == nil {
		return nil
	}
	wrote, answers := time.Now(), 0
	return func(ctx context.Context) (bool, error) {
		if arrived != nil {
			if ok, err := arrived(ctx); !ok || err != nil {
				return false, err
			}
		}
		if answers++; c.limits.Change.Addresses.Over(wrote, answers) {
			e.ignoreAddresses()
		}
		ok, err := p.istiod.holds(ctx, e.versions)
		if !ok || err != nil {
			return false, err
		}
		for len(e.statuses) > 0 {
			o, err := c.objects.Get(ctx, e.statuses[0])
			if err != nil || !Observed(o) {
				return false, err
			}
			e.statuses = e.statuses[1:]
		}
		return true, nil
	}
}

// expected is what istiod must come to hold of what a mutation has written.
type expected struct {
	versions    []Version
	statuses    []*fixture.Object // whose status tells that istiod has worked them out
	hidden      int               // objects that concern proxies and that istiod does not list
	unconcerned int               // objects that concern no proxy
	endpoints   bool              // endpoints may change
}

// of is what the istiod of a revision must come to hold: objects that are labelled for another one it ignores.
func (e expected) of(revision string) expected {
	e.statuses = slices.Clone(e.statuses) // each istiod has its own look at them
	e.versions = slices.DeleteFunc(slices.Clone(e.versions), func(v Version) bool { return v.Revision != "" && v.Revision != revision })
	return e
}

// concerns says whether anything concerns a proxy.
func (e *expected) concerns() bool { return len(e.versions)+e.hidden > 0 }

// ignoreAddresses waits for allocated addresses no more.
func (e *expected) ignoreAddresses() {
	for i := range e.versions {
		e.versions[i].Addressed = false
	}
}

// expect works out what istiod must come to hold.
func expect(w Written) expected {
	var e expected
	for _, o := range w.Made {
		e.add(o, Version{UID: string(o.GetUID()), Generation: o.GetGeneration(), Addressed: addressed(o)})
	}
	for _, o := range w.Removed {
		e.add(o, Version{})
	}
	return e
}

// add notes the version of an object that istiod must come to hold; an empty one means none.
func (e *expected) add(o *fixture.Object, v Version) {
	switch {
	case o.GroupVersionKind().Group == GatewayAPIGroup:
		e.hidden++
		if v.UID != "" && o.GetKind() != "ReferenceGrant" { // which has no status
			e.statuses = append(e.statuses, o)
		}
	case ChangesEndpoints(o):
		e.hidden++
		e.endpoints = true
	case !listed(o):
		e.unconcerned++
	default:
		v.Group, v.Kind, v.Namespace, v.Name = o.GroupVersionKind().Group, o.GetKind(), o.GetNamespace(), o.GetName()
		v.Revision = o.GetLabels()[egress.RevisionLabel]
		e.versions = append(e.versions, v)
	}
}

// listed says whether istiod lists an object in its configuration; Kubernetes' own kinds it does not.
func listed(o *fixture.Object) bool { return strings.Contains(o.GetAPIVersion(), ".istio.io/") }

// Losable says whether istiod may lose the deletion of one of some objects beside another push: it keeps in mind what a
// proxy depends on for the objects that it lists, and for routes, which it turns into such.
func Losable(removed []*fixture.Object) bool {
	return slices.ContainsFunc(removed, func(o *fixture.Object) bool {
		return listed(o) || o.GroupVersionKind().Group == GatewayAPIGroup && strings.HasSuffix(o.GetKind(), "Route")
	})
}

// unconcerning are kinds that concern no proxy by themselves when they come or go. istiod may compute a push for
// them all the same.
var unconcerning = []string{"Secret", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy"}

// ChangesEndpoints says whether an object concerns proxies though istiod does not list it, as Services do: istiod
// hears of it as a change of endpoints.
func ChangesEndpoints(o *fixture.Object) bool {
	return !listed(o) && !slices.Contains(unconcerning, o.GetKind())
}

// addressed says whether istiod will allocate addresses for an object, as its ipallocate controller
// decides it (istio.io/istio, ShouldV2AutoAllocateIP). It writes them into the status a moment later.
func addressed(o *fixture.Object) bool {
	spec, _ := o.Object["spec"].(map[string]any)
	resolution, _ := spec["resolution"].(string)
	addresses, _ := spec["addresses"].([]any)
	hosts, _ := spec["hosts"].([]any)
	named := slices.ContainsFunc(hosts, func(h any) bool {
		s, ok := h.(string)
		return ok && !strings.HasPrefix(s, "*")
	})
	return o.GetKind() == "ServiceEntry" && slices.Contains([]string{"DNS", "DNS_ROUND_ROBIN", "STATIC"}, resolution) && len(addresses) == 0 && named &&
		o.GetLabels()["networking.istio.io/enable-autoallocate-ip"] != "false"
}
