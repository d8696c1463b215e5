package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// A case must not be judged by what another one has left. Where a change ended in an error, or nobody knows whether all
// proxies have it, they are in doubt: before the next case in them begins, what was left is removed, and each of its proxies
// must acknowledge a push that surely concerns it and is computed after that. istiod works such a push out anew from all
// that it holds, so that it carries whatever was missed. The same push mends what istiod may have lost within a case.

// doubts say which proxies may have something else than istiod holds. All lanes of a session share them.
type doubts struct {
	mu    sync.Mutex
	n     int            // how many there were
	why   string         // the last
	since time.Time      // when the first came that no proxy has been freed of since
	sure  map[string]int // by proxy: how many there were when it was last sure
}

func newDoubts() *doubts { return &doubts{sure: map[string]int{}} }

// raise brings all proxies into doubt.
func (d *doubts) raise(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n, d.why = d.n+1, why
	if d.since.IsZero() {
		d.since = time.Now()
	}
}

// about says whether one of some proxies is in doubt, why, since when, and how many doubts there have been.
func (d *doubts) about(proxies []string) (n int, why string, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(proxies, func(p string) bool { return d.sure[p] < d.n }) {
		return d.n, d.why, d.since
	}
	return d.n, "", time.Time{}
}

// free takes proxies out of the first n doubts.
func (d *doubts) free(n int, proxies []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range proxies {
		d.sure[p] = max(d.sure[p], n)
	}
	if n == d.n {
		d.since = time.Time{}
	}
}

// Ready makes sure that the proxies of a case have nothing of what came before it. Where istiod has ended it waits until
// that is back: the kubelet starts it again.
func (r *rules) Ready(ctx context.Context, c egress.Case) error {
	_, why, since := r.doubts.about(r.proxies(c, nil))
	if why == "" && len(r.left()) == 0 {
		return nil
	}
	if why == "" { // nothing is in doubt, and something is left all the same, see nudge
		since = time.Now()
	}
	var last error
	end := since.Add(r.limits.Cluster.Back)
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = r.assure(ctx, c)
		if last != nil && time.Now().After(end) {
			return false, last
		}
		return last == nil, nil
	})
	switch {
	case err == nil:
		return nil
	case why == "":
		return errors.Join(last, ctx.Err())
	}
	return fmt.Errorf("nobody knows what the proxies have, since %s: %w", strings.TrimSpace(why), errors.Join(last, ctx.Err()))
}

// assure removes what other cases of the lane have left, and frees the proxies of a case of doubt.
func (r *rules) assure(ctx context.Context, c egress.Case) error {
	if err := r.takeLeft(ctx); err != nil {
		return err
	}
	proxies := r.proxies(c, nil)
	n, why, _ := r.doubts.about(proxies)
	if why == "" {
		return nil
	}
	if _, err := r.nudge(ctx, c); err != nil {
		return err
	}
	r.doubts.free(n, proxies)
	return nil
}

// takeLeft removes what cases of the lane have left.
func (r *rules) takeLeft(ctx context.Context) error {
	left := r.left()
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if err := left[name](ctx); err != nil {
			return fmt.Errorf("remove what %s has left: %w", name, err)
		}
	}
	return nil
}

// left are cases whose objects could not be removed, and what tries it again.
func (r *rules) left() map[string]func(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]func(context.Context) error{}
	for name, t := range r.traces {
		if t.again != nil {
			out[name] = t.again
		}
	}
	return out
}

// removed notes how the removal of a case's objects came out; again tries it once more.
func (r *rules) removed(c egress.Case, acknowledged bool, err error, again func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(c)
	t.again = nil
	switch {
	case err != nil:
		t.again = again
		r.doubts.raise(fmt.Sprintf("the objects of %s could not be removed: %v", c.Name, err))
	case !acknowledged:
		r.doubts.raise("the removal of the objects of " + c.Name + " was not acknowledged")
	}
}

// nudge makes istiod compute a push that concerns every proxy of a case, and takes its cause away again.
func (r *rules) nudge(ctx context.Context, c egress.Case) (mesh.Settled, error) {
	proxies := r.proxies(c, nil)
	if len(proxies) == 0 { // nothing can be lost on the way to nobody
		return mesh.Settled{Acknowledged: true, Reached: true}, nil
	}
	objs := nudges(r.clients.namespaces(c), r.ours)
	r.complete(objs)
	var hiding, wider, made []*fixture.Object
	if !r.ours {
		var err error
		if hiding, err = r.sidecars(ctx, c); err != nil {
			return mesh.Settled{}, err
		}
		for _, o := range hiding {
			wider = append(wider, widened(o))
		}
	}
	s, err := r.changer.Do(ctx, mesh.Mutation{Proxies: proxies, Write: func(ctx context.Context) (_ mesh.Written, err error) {
		if made, err = r.fixtures.Apply(ctx, "", objs...); err != nil {
			return mesh.Written{Made: made}, err
		}
		others, err := r.fixtures.Apply(ctx, "", wider...)
		return mesh.Written{Made: slices.Concat(made, others)}, err
	}})
	// Whoever waits for the push may have no time left.
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.Probe.Restore)
	defer cancel()
	_, gone := r.changer.Do(later, mesh.Mutation{Proxies: proxies, Write: func(ctx context.Context) (mesh.Written, error) {
		again, err := r.fixtures.Apply(ctx, "", hiding...)
		return mesh.Written{Made: again, Removed: made}, errors.Join(err, r.fixtures.Remove(ctx, made...))
	}})
	if gone != nil { // they change nothing for anybody, and go before the lane's next case, or when the run ends
		r.mu.Lock()
		t := r.of(nudged)
		t.applied, t.again = append(t.applied, made...), r.takeNudges
		r.mu.Unlock()
	}
	if err == nil && !s.Reached {
		err = fmt.Errorf("a push that concerns %s was not acknowledged by each of them: %s", strings.Join(proxies, ", "), s.Note)
	}
	return s, err
}

// sidecars are the Sidecars of a case that there are now, as they can be applied again.
func (r *rules) sidecars(ctx context.Context, c egress.Case) ([]*fixture.Object, error) {
	r.mu.Lock()
	applied := slices.Clone(r.of(c).applied)
	r.mu.Unlock()
	seen := map[types.UID]bool{}
	var out []*fixture.Object
	for _, o := range applied {
		if o.GetKind() != "Sidecar" || seen[o.GetUID()] {
			continue
		}
		seen[o.GetUID()] = true
		now, err := r.fixtures.Get(ctx, o)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("look at %s: %w", fixture.Describe(o), err)
		case now.GetUID() == o.GetUID() && now.GetDeletionTimestamp() == nil:
			out = append(out, bare(now))
		}
	}
	return out, nil
}

// bare is an object without what the API server adds.
func bare(o *fixture.Object) *fixture.Object {
	out := &fixture.Object{Object: map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "spec": o.DeepCopy().Object["spec"]}}
	out.SetName(o.GetName())
	out.SetNamespace(o.GetNamespace())
	out.SetLabels(o.GetLabels())
	out.SetAnnotations(o.GetAnnotations())
	return out
}

// widened is a Sidecar that imports a host more, which nobody has: it changes nothing for the proxies that it is for, and all of them
// are told.
func widened(o *fixture.Object) *fixture.Object {
	out := o.DeepCopy()
	listeners, _, err := unstructured.NestedSlice(out.Object, "spec", "egress")
	if err != nil || len(listeners) == 0 { // it hides nothing
		return out
	}
	if first, ok := listeners[0].(map[string]any); ok {
		hosts, _ := first["hosts"].([]any)
		first["hosts"] = append(slices.Clone(hosts), "./nudge.invalid")
		_ = unstructured.SetNestedSlice(out.Object, listeners, "spec", "egress") // it has a spec
	}
	return out
}

// takeNudges removes what nudges have left.
func (r *rules) takeNudges(ctx context.Context) error {
	r.mu.Lock()
	objs := slices.Clone(r.of(nudged).applied)
	r.mu.Unlock()
	_, err := r.changer.Do(ctx, mesh.Mutation{Write: func(ctx context.Context) (mesh.Written, error) {
		return mesh.Written{Removed: objs}, r.fixtures.Remove(ctx, objs...)
	}})
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.traces[nudged.Name] = &trace{}
	}
	return err
}

// nudged stands for a case where objects wait to be removed that concern none.
var nudged = egress.Case{Name: "(nudge)"}

// nudges are objects that concern every sidecar of some namespaces, and every gateway, and change nothing for them. For a
// ServiceEntry istiod works out listeners, routes and the names that sidecars answer for, and beside a VirtualService all
// clusters too (shouldUseDelta, pilot/pkg/networking/core/cluster.go). A Sidecar may keep them from a proxy, but not an
// EnvoyFilter, whomever it selects (proxyDependentOnConfig, pilot/pkg/xds/proxy_dependencies.go). On somebody else's cluster
// nobody is asked for leave to make those: the Sidecar itself is changed for a moment there, see widened.
func nudges(namespaces []string, filters bool) []*fixture.Object {
	var out []*fixture.Object
	for _, ns := range namespaces {
		add := func(apiVersion, kind string, spec map[string]any) {
			out = append(out, &fixture.Object{Object: map[string]any{
				"apiVersion": "networking.istio.io/" + apiVersion, "kind": kind,
				"metadata": map[string]any{"name": fmt.Sprintf("nudge-%d", time.Now().UnixNano()), "namespace": ns}, "spec": spec,
			}})
		}
		host, here := "nudge."+ns+".invalid", []any{"."}
		add("v1", "ServiceEntry", map[string]any{
			"hosts": []any{host}, "exportTo": here, "location": "MESH_EXTERNAL", "resolution": "NONE",
			"ports": []any{map[string]any{"number": int64(80), "name": "http", "protocol": "HTTP"}},
		})
		add("v1", "VirtualService", map[string]any{
			"hosts": []any{host}, "exportTo": here,
			"http": []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}},
		})
		if !filters {
			continue
		}
		add("v1alpha3", "EnvoyFilter", map[string]any{
			"workloadSelector": map[string]any{"labels": map[string]any{"nudge": "nobody"}},
			"configPatches": []any{map[string]any{
				"applyTo": "VIRTUAL_HOST", "patch": map[string]any{"operation": "REMOVE"},
				"match": map[string]any{"context": "SIDECAR_OUTBOUND", "routeConfiguration": map[string]any{"vhost": map[string]any{"name": "nudge.invalid"}}},
			}},
		})
	}
	return out
}
