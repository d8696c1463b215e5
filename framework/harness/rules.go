package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
)

// objectClient makes and removes objects, as fixture.Client does.
type objectClient interface {
	Apply(ctx context.Context, namespace string, objs ...*fixture.Object) ([]*fixture.Object, error)
	Get(ctx context.Context, o *fixture.Object) (*fixture.Object, error)
	Refused(ctx context.Context, namespace string, o *fixture.Object, away bool) (reason string, err error)
	Remove(ctx context.Context, objs ...*fixture.Object) error
}

// meshChanger makes changes and waits until proxies have them, as mesh.Changer does.
type meshChanger interface {
	Do(ctx context.Context, m mesh.Mutation) (mesh.Settled, error)
	AwaitGateways(ctx context.Context, g *mesh.Gateways, made []*fixture.Object, proxies []string) (mesh.Settled, error)
}

// rules is engine.Rules over the API server and istiod, for one lane.
type rules struct {
	clients  clients
	fixtures objectClient // a fixture.Client
	files    fs.FS
	changer  meshChanger // a mesh.Changer, shared by all lanes
	gateways *mesh.Gateways
	// revisions are the istiods that a case may send away.
	revisions scaler
	// enforcing knows when NetworkPolicies hold.
	enforcing *enforcing
	run       string
	limits    limits.Limits
	expand    func(string) string
	secrets   func(ctx context.Context, text string) (string, error)
	internet  cluster.Internet // nil for the live one
	places    *namespaces      // makes those that objects name
	ours      bool             // the cluster: its API server has this machine's clock, and EnvoyFilters may be made
	doubts    *doubts          // shared by all lanes

	mu     sync.Mutex
	traces map[string]*trace // by case; the setup of one is a case of its own
}

// trace is what a case has in the cluster, as far as the lane knows.
type trace struct {
	applied   []*fixture.Object
	told      []string                    // proxies that may have been told of its objects
	scaled    []string                    // revisions whose istiod it has sent away or back
	setupMade time.Time                   // when its setup had been made, by this machine's clock
	again     func(context.Context) error // tries to remove what could not be removed; nil where all was
}

// of is the trace of a case. The caller holds the lock.
func (r *rules) of(c egress.Case) *trace {
	if r.traces == nil {
		r.traces = map[string]*trace{}
	}
	t := r.traces[c.Name]
	if t == nil {
		t = &trace{}
		r.traces[c.Name] = t
	}
	return t
}

// load reads a case's fixtures and objects and labels them as this run's.
func (r *rules) load(ctx context.Context, c egress.Case) ([]*fixture.Object, error) {
	var out []*fixture.Object
	for _, f := range c.Fixtures {
		objs, err := fixture.Load(ctx, r.files, f)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
		out = append(out, objs...)
	}
	own, err := r.objects(ctx, c.Objects)
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.Name, err)
	}
	out = append(out, own...)
	r.complete(out)
	return out, nil
}

// ordered puts Namespaces first, and DestinationRules before ServiceEntries, and leaves the order otherwise. If the objects
// reach a proxy in two pushes, as they may on a busy machine, it must not meet a host without the rule for its TLS: Envoy
// goes on with the cluster that it has, in plain text, while a later version of it waits for a certificate
// (docs/findings.md).
func ordered(objs []*fixture.Object) []*fixture.Object {
	is := func(kind string) func(*fixture.Object) bool {
		return func(o *fixture.Object) bool { return o.GetKind() == kind }
	}
	objs = forward(objs, 0, is("Namespace"))
	first := slices.IndexFunc(objs, is("ServiceEntry"))
	if first < 0 {
		return objs
	}
	return forward(objs, first, is("DestinationRule"))
}

// forward moves those objects that are meant, from a place on, to that place.
func forward(objs []*fixture.Object, from int, meant func(*fixture.Object) bool) []*fixture.Object {
	out := slices.Clone(objs[:from])
	for _, o := range objs[from:] {
		if meant(o) {
			out = append(out, o)
		}
	}
	return append(out, slices.DeleteFunc(slices.Clone(objs[from:]), meant)...)
}

// objects turns a case's own objects into API objects, placeholders replaced.
func (r *rules) objects(ctx context.Context, in []egress.Object) ([]*fixture.Object, error) {
	var out []*fixture.Object
	for _, o := range in {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		text, err := r.secrets(ctx, r.expand(string(b)))
		if err != nil {
			return nil, err
		}
		u := &fixture.Object{}
		if err := u.UnmarshalJSON([]byte(text)); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// complete labels objects as this run's. Nothing else of them is changed.
func (r *rules) complete(objs []*fixture.Object) {
	for _, o := range objs {
		l := o.GetLabels()
		if l == nil {
			l = map[string]string{}
		}
		l[fixture.RunLabel] = r.run
		o.SetLabels(l)
	}
}

// setupOf is the case whose objects are another one's setup: it settles like any other.
func setupOf(c egress.Case) egress.Case {
	c.Name += " (setup)"
	return c
}

func (r *rules) Setup(ctx context.Context, c egress.Case) error {
	objs, err := r.objects(ctx, c.Setup)
	if err != nil {
		return fmt.Errorf("case %s: %w", c.Name, err)
	}
	r.complete(objs)
	_, err = r.put(ctx, setupOf(c), objs, nil)
	r.mu.Lock()
	r.of(c).setupMade = time.Now()
	r.mu.Unlock()
	return err
}

func (r *rules) Clean(ctx context.Context, c egress.Case) error {
	r.mu.Lock()
	r.of(c).setupMade = time.Time{}
	own := setupOf(c)
	objs := r.of(own).applied
	r.mu.Unlock()
	ch, err := r.take(ctx, own, objs, nil)
	if err == nil {
		r.taken(own)
	}
	r.removed(own, ch.Acknowledged, err, func(ctx context.Context) error { return r.Clean(ctx, c) })
	return err
}

// taken forgets what a case had applied.
func (r *rules) taken(c egress.Case) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(c).applied, r.of(c).told = nil, nil
}

func (r *rules) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	objs, err := r.load(ctx, c)
	if err != nil {
		return engine.Change{}, err
	}
	if err := r.name(ctx, c, egress.Applied); err != nil {
		return engine.Change{}, err
	}
	if err := r.istiods(ctx, c, egress.Applied); err != nil {
		return engine.Change{}, err
	}
	if err := r.aged(ctx, c, objs); err != nil {
		return engine.Change{}, err
	}
	ch, err := r.put(ctx, c, objs, r.patch(c))
	if err != nil {
		return ch, err
	}
	ch.Accepted, err = r.refused(ctx, c)
	return ch, err
}

// patch is what a case merges into the mesh configuration while it is applied.
func (r *rules) patch(c egress.Case) egress.Object {
	if c.Policy != "" {
		return egress.Object{"outboundTrafficPolicy": egress.Object{"mode": string(c.Policy)}}
	}
	return c.MeshConfig
}

// refused offers objects to the API server, without storing them, and names those it would take.
func (r *rules) refused(ctx context.Context, c egress.Case) ([]string, error) {
	objs, err := r.objects(ctx, c.Refused)
	if err != nil || len(objs) == 0 {
		return nil, err
	}
	ns, err := r.clients.namespace(c)
	if err != nil {
		return nil, err
	}
	var accepted []string
	for _, o := range objs {
		reason, err := r.fixtures.Refused(ctx, ns, o, c.Away(o.GetLabels()[egress.RevisionLabel], egress.Applied))
		if err != nil {
			return nil, err
		}
		if reason == "" {
			accepted = append(accepted, fixture.Describe(o))
		}
	}
	return accepted, nil
}

// put applies objects and a mesh configuration and waits until the proxies of the case have them.
func (r *rules) put(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (engine.Change, error) {
	ns, err := r.clients.namespace(c)
	if err != nil {
		return engine.Change{}, err
	}
	var applied []string
	for _, o := range objs {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return engine.Change{}, err
		}
		applied = append(applied, string(b))
	}
	if err := r.places.ensure(ctx, objs); err != nil {
		return engine.Change{}, err
	}
	var made []*fixture.Object
	s, err := r.settle(ctx, c, patch, objs, func(ctx context.Context) (_ mesh.Written, err error) {
		made, err = r.fixtures.Apply(ctx, ns, ordered(objs)...)
		return mesh.Written{Made: made}, err
	})
	ch := settled(engine.Change{Acknowledged: true, Applied: applied}, s)
	if err != nil {
		return ch, err
	}
	if err := r.enforcing.enforced(ctx, c, made); err != nil {
		return ch, err
	}
	s, err = r.changer.AwaitGateways(ctx, r.gateways, made, r.proxies(c, nil))
	return settled(ch, s), err
}

// proxies names the proxies whose acknowledgement a case waits for: those of its clients, of the gateways that it needs,
// and of those that it has made itself, but for the ones that it removes now.
func (r *rules) proxies(c egress.Case, removed []*fixture.Object) []string {
	out := r.clients.proxies(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range slices.Concat(r.of(c).applied, r.of(setupOf(c)).applied) {
		gone := slices.ContainsFunc(removed, func(x *fixture.Object) bool { return x.GetUID() == o.GetUID() })
		if labels := mesh.GatewayPods(o); len(labels) > 0 && !gone {
			out = append(out, r.gateways.Proxies(o.GetNamespace(), labels)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// noPush is said of a change that no proxy of the case has noticed.
const noPush = "istiod sent no proxy of the case a push of this change: it concerns none of them"

// settled adds a further wait to what is known of a change.
func settled(ch engine.Change, s mesh.Settled) engine.Change {
	ch.Acknowledged = ch.Acknowledged && s.Acknowledged
	ch.Notes = append(ch.Notes, s.Rejections...)
	if s.Note != "" {
		ch.Notes = append(ch.Notes, s.Note)
	}
	if s.Unconcerned {
		ch.Notes = append(ch.Notes, noPush)
	}
	ch.Took += s.Took
	return ch
}

// Change makes a case's change while it is applied.
func (r *rules) Change(ctx context.Context, c egress.Case) (engine.Change, error) {
	objs, err := r.objects(ctx, c.Change)
	if err != nil {
		return engine.Change{}, err
	}
	r.complete(objs)
	if err := r.istiods(ctx, c, egress.Changed); err != nil {
		return engine.Change{}, err
	}
	ch := engine.Change{Acknowledged: true} // a DNS answer concerns no push
	if len(c.Delete) > 0 {
		var gone []*fixture.Object
		r.mu.Lock()
		for _, o := range r.of(c).applied {
			if slices.Contains(c.Delete, o.GetKind()+"/"+o.GetName()) {
				gone = append(gone, o)
			}
		}
		r.mu.Unlock()
		if len(gone) < len(c.Delete) {
			return ch, fmt.Errorf("case %s deletes %s, of which it has applied %d", c.Name, strings.Join(c.Delete, ", "), len(gone))
		}
		if ch, err = r.take(ctx, c, gone, nil); err != nil {
			return ch, err
		}
	}
	if len(objs) > 0 {
		if ch, err = r.put(ctx, c, objs, nil); err != nil {
			return ch, err
		}
	}
	return ch, r.name(ctx, c, egress.Changed)
}

func (r *rules) Remove(ctx context.Context, c egress.Case) (engine.Change, error) {
	ch, err := r.remove(ctx, c)
	r.removed(c, ch.Acknowledged, err, func(ctx context.Context) error {
		_, err := r.Remove(ctx, c)
		return err
	})
	return ch, err
}

func (r *rules) remove(ctx context.Context, c egress.Case) (engine.Change, error) {
	if err := r.restore(ctx, c); err != nil {
		return engine.Change{}, err
	}
	r.mu.Lock()
	objs := r.of(c).applied
	r.mu.Unlock()
	var back egress.Object
	if r.patch(c) != nil {
		back = egress.Object{}
	}
	ch, err := r.take(ctx, c, objs, back)
	err = errors.Join(err, r.forget(ctx, c))
	if err == nil {
		r.taken(c)
	}
	return ch, err
}

// settle makes a change and waits until the proxies of the case's clients have it. write makes what is about the
// objects. A nil patch leaves the mesh configuration as it is, an empty one takes the case's own back. What istiod may have
// lost of it, a further push carries.
func (r *rules) settle(ctx context.Context, c egress.Case, patch egress.Object, objs []*fixture.Object, write func(context.Context) (mesh.Written, error)) (mesh.Settled, error) {
	told := r.toldOf(c, objs)
	var made, narrowed []*fixture.Object
	m := mesh.Mutation{Proxies: r.proxies(c, objs), Config: patch, Hasty: c.Unacknowledged}
	if len(objs) > 0 {
		m.Write = func(ctx context.Context) (mesh.Written, error) {
			w, err := write(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			t := r.of(c)
			made, narrowed = w.Made, slices.Concat(w.Removed, changed(t.applied, w.Made))
			t.applied = append(t.applied, w.Made...)
			return w, err
		}
	}
	s, err := r.changer.Do(ctx, m)
	if len(made) > 0 {
		r.tell(c, s)
	}
	// istiod may lose a change of the mesh configuration beside an update of endpoints (docs/findings.md).
	unheard := patch != nil && s.Acknowledged && !s.Reached
	if err != nil || !unheard && !mayBeLost(narrowed, told, s) {
		return s, err
	}
	return r.carry(ctx, c, s)
}

// removeAll takes back whatever cases have left, in case a run was cut short.
func (r *rules) removeAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for _, t := range r.traces {
		all = errors.Join(all, r.fixtures.Remove(ctx, t.applied...))
		t.applied = nil
	}
	return all
}
