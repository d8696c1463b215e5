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
	"mesh-egress-conformance/framework/mesh"
)

// rules is engine.Rules over the API server and istiod, for one lane.
type rules struct {
	clients  clients
	fixtures *fixture.Client
	files    fs.FS
	istiod   *mesh.Istiod
	config   *meshConfig
	gate     *gate // shared by all lanes
	run      string
	expand   func(string) string
	secrets  func(ctx context.Context, text string) (string, error)
	outside  cluster.Internet // nil for the live one
	hide     bool             // sabotage: objects are exported to nobody
	places   *namespaces      // makes those that objects name
	sameTime bool             // the API server's clock is this machine's

	mu      sync.Mutex
	applied map[string][]*fixture.Object
	// setupMade is when the setup of a case had been made, by this machine's clock.
	setupMade map[string]time.Time
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

// hidden are the kinds that sabotage hides from every namespace.
var hidden = []string{"ServiceEntry", "VirtualService", "DestinationRule"}

// complete labels objects as this run's. Nothing else of them is changed, but for sabotage.
func (r *rules) complete(objs []*fixture.Object) {
	for _, o := range objs {
		l := o.GetLabels()
		if l == nil {
			l = map[string]string{}
		}
		l[fixture.RunLabel] = r.run
		o.SetLabels(l)
		if spec, ok := o.Object["spec"].(map[string]any); ok && r.hide && slices.Contains(hidden, o.GetKind()) {
			spec["exportTo"] = []any{"~"}
		}
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
	r.setupMade[c.Name] = time.Now()
	r.mu.Unlock()
	return err
}

func (r *rules) Clean(ctx context.Context, c egress.Case) error {
	r.mu.Lock()
	delete(r.setupMade, c.Name)
	c = setupOf(c)
	objs := r.applied[c.Name]
	delete(r.applied, c.Name)
	r.mu.Unlock()
	_, err := r.take(ctx, c, objs, nil)
	return err
}

func (r *rules) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	objs, err := r.load(ctx, c)
	if err != nil {
		return engine.Change{}, err
	}
	if err := r.name(ctx, c, egress.Applied); err != nil {
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
		reason, err := r.fixtures.Refused(ctx, ns, o)
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
	var ch engine.Change
	ns, err := r.clients.namespace(c)
	if err != nil {
		return ch, err
	}
	for _, o := range objs {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return ch, err
		}
		ch.Applied = append(ch.Applied, string(b))
	}
	return ch, r.settle(ctx, c, &ch, patch, objs, func(st *settling) error {
		if err := r.places.ensure(ctx, objs); err != nil {
			return err
		}
		made, err := r.fixtures.Apply(ctx, ns, ordered(objs)...)
		r.mu.Lock()
		r.applied[c.Name] = append(r.applied[c.Name], made...)
		r.mu.Unlock()
		for _, o := range made {
			st.add(o, mesh.Version{UID: string(o.GetUID()), Generation: o.GetGeneration(), Addressed: addressed(o)})
		}
		return err
	})
}

// istios says whether istiod shows an object among its configuration; Kubernetes' own kinds it does not.
func istios(o *fixture.Object) bool {
	return strings.Contains(o.GetAPIVersion(), ".istio.io/")
}

// Change makes a case's change while it is applied.
func (r *rules) Change(ctx context.Context, c egress.Case) (engine.Change, error) {
	objs, err := r.objects(ctx, c.Change)
	if err != nil {
		return engine.Change{}, err
	}
	r.complete(objs)
	ch := engine.Change{Acknowledged: true} // a DNS answer concerns no push
	if len(c.Delete) > 0 {
		var gone []*fixture.Object
		r.mu.Lock()
		for _, o := range r.applied[c.Name] {
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
	r.mu.Lock()
	objs := r.applied[c.Name]
	r.mu.Unlock()
	var back egress.Object
	if r.patch(c) != nil {
		back = egress.Object{}
	}
	ch, err := r.take(ctx, c, objs, back)
	err = errors.Join(err, r.forget(ctx, c))
	if err == nil {
		r.mu.Lock()
		delete(r.applied, c.Name)
		r.mu.Unlock()
	}
	return ch, err
}

// take removes objects and waits until the proxies of the case know.
func (r *rules) take(ctx context.Context, c egress.Case, objs []*fixture.Object, patch egress.Object) (engine.Change, error) {
	var ch engine.Change
	return ch, r.settle(ctx, c, &ch, patch, objs, func(st *settling) error {
		for _, o := range objs {
			st.add(o, mesh.Version{})
		}
		return r.fixtures.Remove(ctx, objs...)
	})
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

// addressPatience bounds the wait for allocated addresses, in istiod's answers too: an istiod may have been told to
// allocate none.
const addressPatience, addressAnswers = 3 * time.Second, 50

// settling is a change that is on its way to the proxies.
type settling struct {
	versions []mesh.Version
	answers  []*fixture.Object // whose status must come to tell that istiod has them
	others   int               // objects that istiod does not show
	silent   int               // objects that concern no proxy
	// endpoints says that they may change endpoints, as Services and their like do.
	endpoints bool
}

// silent are kinds that concern no proxy by themselves when they come or go. istiod may compute a push for
// them all the same.
var silent = []string{"Secret", "ConfigMap", "ServiceAccount", "Role", "RoleBinding"}

// tells says whether istiod writes into an object's status that it has worked it out.
func tells(o *fixture.Object) bool { return o.GroupVersionKind().Group == mesh.GatewayAPIGroup }

// unshown says whether an object concerns proxies though istiod does not show it, as Services do: istiod
// hears of it as a change of endpoints.
func unshown(o *fixture.Object) bool { return !istios(o) && !slices.Contains(silent, o.GetKind()) }

// add notes the version of an object that istiod must come to hold; an empty one means none.
func (s *settling) add(o *fixture.Object, v mesh.Version) {
	switch {
	case tells(o):
		s.others++
		if v.UID != "" {
			s.answers = append(s.answers, o)
		}
		return
	case unshown(o):
		s.others++
		s.endpoints = true
		return
	case !istios(o):
		s.silent++
		return
	}
	v.Kind, v.Namespace, v.Name = o.GetKind(), o.GetNamespace(), o.GetName()
	s.versions = append(s.versions, v)
}

// forget waits for allocated addresses no more.
func (s *settling) forget() {
	for i := range s.versions {
		s.versions[i].Addressed = false
	}
}

// settle makes a change, of the mesh configuration too if there is a patch, and waits until the proxies
// of the case's clients have everything. write makes the rest of it, which is about the objects.
func (r *rules) settle(ctx context.Context, c egress.Case, ch *engine.Change, patch egress.Object, objs []*fixture.Object, write func(*settling) error) error {
	start := time.Now()
	defer func() { ch.Took = time.Since(start) }()
	ch.Acknowledged = true
	if len(objs) == 0 && patch == nil {
		return nil
	}
	in, err := r.gate.enter(ctx)
	if err != nil {
		return err
	}
	soon := true
	defer func() {
		if soon {
			in.leave()
		}
	}()
	var st settling
	if err := write(&st); err != nil {
		return err
	}
	changed := false
	if patch != nil {
		if err := r.config.quiet(ctx); err != nil {
			return err
		}
		if changed, err = r.config.set(ctx, patch); err != nil {
			return err
		}
	}
	wrote, answers := time.Now(), 0
	if st.endpoints {
		r.config.stir()
	}
	if len(st.versions)+st.others == 0 && !changed {
		if soon = st.silent == 0; !soon { // istiod may compute a push for them, for which this case need not wait
			go func() {
				defer in.leave()
				_ = r.istiod.Computes(context.WithoutCancel(ctx), in.before) // an istiod that does not answer is found out by the next change
			}()
		}
		return nil
	}
	var seen func(context.Context) (bool, error)
	if len(st.versions)+len(st.answers) > 0 || changed {
		seen = func(ctx context.Context) (bool, error) {
			if changed {
				if ok, err := r.config.arrived(ctx); !ok || err != nil {
					return false, err
				}
			}
			if answers++; time.Since(wrote) > addressPatience && answers > addressAnswers {
				st.forget()
			}
			ok, err := r.istiod.Holds(ctx, st.versions)
			if ok && err == nil {
				ok, err = r.answered(ctx, &st)
			}
			return ok, err
		}
	}
	s, err := r.istiod.Settle(ctx, mesh.Change{Proxies: r.clients.proxies(c), Seen: seen, Before: in.before, Began: in.began, Pushed: in.leave})
	if err != nil {
		return err
	}
	ch.Acknowledged, ch.Notes = s.Acknowledged, append(ch.Notes, s.Rejections...)
	if s.Note != "" {
		ch.Notes = append(ch.Notes, s.Note)
	}
	return nil
}

// answered says whether istiod has told of every object that it tells of.
func (r *rules) answered(ctx context.Context, st *settling) (bool, error) {
	for len(st.answers) > 0 {
		o, err := r.fixtures.Get(ctx, st.answers[0])
		if err != nil || !mesh.Observed(o) {
			return false, err
		}
		st.answers = st.answers[1:]
	}
	return true, nil
}

// removeAll takes back whatever cases have left, in case a run was cut short.
func (r *rules) removeAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for name, objs := range r.applied {
		all = errors.Join(all, r.fixtures.Remove(ctx, objs...))
		delete(r.applied, name)
	}
	return all
}
