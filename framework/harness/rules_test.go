package harness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
)

func TestOrdered(t *testing.T) {
	named := func(kind, name string) *fixture.Object {
		return &fixture.Object{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name}}}
	}
	in := []*fixture.Object{named("Secret", "s"), named("ServiceEntry", "a"), named("VirtualService", "v"), named("DestinationRule", "d"), named("ServiceEntry", "b"), named("DestinationRule", "e")}
	var got []string
	for _, o := range ordered(in) {
		got = append(got, o.GetName())
	}
	if want := []string{"s", "d", "e", "a", "v", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %v, wanted %v", got, want)
	}
}

// caseOf is a case of the client with objects of these names.
func caseOf(name string, objects ...string) egress.Case {
	c := egress.Case{Name: name, Probes: []egress.Probe{{From: "client", URL: "http://httpbin.org/"}}}
	for _, o := range objects {
		c.Objects = append(c.Objects, egress.Object{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": map[string]any{"name": o}, "spec": map[string]any{"hosts": []any{o + ".example"}}})
	}
	return c
}

// What a case has applied carries the run's label, lies in its client's namespace, and is gone after it; proxies are waited for.
func TestApplyAndRemove(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	c := caseOf("c", "a", "b")
	c.Policy = egress.AllowAny
	ch, err := r.Apply(t.Context(), c)
	if err != nil || !ch.Acknowledged || len(ch.Applied) != 2 || !slices.Equal(w.names(), []string{"a", "b"}) {
		t.Fatalf("%v, %+v, there: %q", err, ch, w.names())
	}
	for _, o := range w.there {
		if o.GetNamespace() != "egress-client" || o.GetLabels()[fixture.RunLabel] != "run-1" {
			t.Errorf("%s in %q with labels %v", o.GetName(), o.GetNamespace(), o.GetLabels())
		}
	}
	if ch, err = r.Remove(t.Context(), c); err != nil || !ch.Acknowledged || len(w.there) != 0 {
		t.Errorf("%v, %+v, left: %q", err, ch, w.names())
	}
	// The mesh configuration is changed by both, and after the second as it was installed.
	if len(w.did) != 2 || !slices.Equal(w.did[0].Proxies, []string{"client.egress-client"}) || w.did[0].Config["outboundTrafficPolicy"] == nil || w.did[1].Config == nil || len(w.did[1].Config) != 0 {
		t.Errorf("%+v", w.did)
	}
	if err := r.Ready(t.Context(), caseOf("next")); err != nil || len(w.did) != 2 {
		t.Errorf("%v: no proxy was in doubt, and there were %d changes", err, len(w.did))
	}
}

// Only of a case that says so are proxies at work on a push not waited for.
func TestHaste(t *testing.T) {
	for _, hasty := range []bool{false, true} {
		w := &lyingWorld{}
		r := rulesIn(t, w)
		c := caseOf("c", "a")
		c.Unacknowledged = hasty
		if _, err := r.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Remove(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if len(w.did) != 2 || w.did[0].Hasty != hasty || w.did[1].Hasty != hasty {
			t.Errorf("unacknowledged %v: %+v", hasty, w.did)
		}
	}
}

// Where the API server refuses one of several objects, those that were made before it are known, and go.
func TestApplyRefusedHalfWay(t *testing.T) {
	w := &lyingWorld{refuses: "b"}
	r := rulesIn(t, w)
	c := caseOf("c", "a", "b", "d")
	if _, err := r.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), "ServiceEntry b: a webhook refuses it") || !slices.Equal(w.names(), []string{"a"}) {
		t.Fatalf("%v, there: %q", err, w.names())
	}
	if _, err := r.Remove(t.Context(), c); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
}

// Where istiod does not answer after the objects were written, or the gateways are not known, they go as well.
func TestApplyUnheard(t *testing.T) {
	for name, w := range map[string]*lyingWorld{"istiod": {silent: errors.New("nobody answers")}, "gateways": {gateways: errors.New("nobody answers")}} {
		r := rulesIn(t, w)
		c := caseOf("c", "a")
		if ch, err := r.Apply(t.Context(), c); err == nil || err.Error() != "nobody answers" || ch.Acknowledged || len(w.there) != 1 {
			t.Errorf("%s: %v, %+v, there: %q", name, err, ch, w.names())
		}
		w.silent, w.gateways = nil, nil
		if _, err := r.Remove(t.Context(), c); err != nil || len(w.there) != 0 {
			t.Errorf("%s: %v, left: %q", name, err, w.names())
		}
	}
}

// Where a removal fails, the next case does not begin beside what was left: the removal is tried again first, and every proxy
// must acknowledge a further push then.
func TestRemovalFails(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	c, next := caseOf("c", "a"), caseOf("next")
	if _, err := r.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.keeps = errors.New("the API server is away")
	if _, err := r.Remove(t.Context(), c); err == nil || !strings.Contains(err.Error(), "the API server is away") {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context(), next); err == nil || !strings.Contains(err.Error(), "remove what c has left: the API server is away") || !strings.Contains(err.Error(), "the objects of c could not be removed") {
		t.Errorf("the next case: %v", err)
	}
	w.keeps = nil
	before := len(w.did)
	if err := r.Ready(t.Context(), next); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
	// The removal, and the nudge, which comes and goes.
	if got := w.did[before:]; len(got) != 3 || !slices.Equal(got[1].Proxies, []string{"client.egress-client"}) {
		t.Errorf("%+v", got)
	}
	before = len(w.did)
	if err := r.Ready(t.Context(), next); err != nil || len(w.did) != before {
		t.Errorf("%v: what is sure is looked at again", err)
	}
}

// A removal that no proxy has acknowledged leaves each in doubt, until it has acknowledged a further push.
func TestRemovalUnheard(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	c := caseOf("c", "a")
	if _, err := r.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.unheard = true
	if ch, err := r.Remove(t.Context(), c); err != nil || ch.Acknowledged {
		t.Fatalf("%v, %+v", err, ch)
	}
	if err := r.Ready(t.Context(), caseOf("next")); err == nil || !strings.Contains(err.Error(), "was not acknowledged") {
		t.Errorf("still unheard: %v", err)
	}
	w.unheard = false
	if err := r.Ready(t.Context(), caseOf("next")); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
}

// Where the time of a removal is over while a further push carries it, everything is gone all the same, what made that push too: that is
// no error of the case, and other cases wait until their proxies are free of doubt.
func TestRemovalOutOfTime(t *testing.T) {
	for name, take := range map[string]func(context.Context, *rules, egress.Case) error{
		"objects": func(ctx context.Context, r *rules, c egress.Case) error { _, err := r.Remove(ctx, c); return err },
		"setup":   func(ctx context.Context, r *rules, c egress.Case) error { return r.Clean(ctx, c) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := &lyingWorld{beside: true}
			r := rulesIn(t, w)
			c := caseOf("c", "a")
			if name == "setup" {
				c.Setup, c.Objects = c.Objects, nil
				if err := r.Setup(ctx, c); err != nil {
					t.Fatal(err)
				}
			} else if _, err := r.Apply(ctx, c); err != nil {
				t.Fatal(err)
			}
			before := len(w.did)
			w.impatient = func(n int) {
				if n == before+2 { // the removal is the first, what carries it the second
					cancel()
				}
			}
			if err := take(ctx, r, c); !errors.Is(err, engine.ErrUntold) || !errors.Is(err, context.Canceled) || len(w.there) != 0 {
				t.Errorf("%v, left: %q", err, w.names())
			}
			before = len(w.did)
			if err := r.Ready(t.Context(), caseOf("next")); err != nil || len(w.did) < before+2 {
				t.Errorf("%v, and %d further changes", err, len(w.did)-before)
			}
		})
	}
}

// What carried a push and could not be taken away goes before the lane's next case, which tries it more than once, and when the run ends.
func TestNudgesLeft(t *testing.T) {
	for name, x := range map[string]struct {
		later    func(*rules) error
		attempts int
	}{
		"next case": {func(r *rules) error { return r.Ready(t.Context(), caseOf("next")) }, 2},
		"end":       {func(r *rules) error { return r.takeLeft(t.Context()) }, 1},
	} {
		w := &lyingWorld{keeps: errors.New("the API server is away")}
		r := rulesIn(t, w)
		if _, err := r.nudge(t.Context(), caseOf("c")); err != nil || len(w.there) == 0 {
			t.Fatalf("%s: %v, there: %q", name, err, w.names())
		}
		if err := x.later(r); err == nil || err.Error() != "remove what (nudge) has left: the API server is away" {
			t.Errorf("%s: still away: %v", name, err)
		}
		r.limits.Cluster.Back, w.keepsFor = time.Minute, x.attempts-1
		if w.keepsFor == 0 {
			w.keeps = nil
		}
		if err := x.later(r); err != nil || len(w.there) != 0 || len(r.left()) != 0 {
			t.Errorf("%s: %v, left: %q", name, err, w.names())
		}
	}
}

// A change deletes what it names and nothing else; what the case has not applied it cannot delete.
func TestChangeDeletes(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	c := caseOf("c", "a", "b")
	if _, err := r.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.Delete = []string{"ServiceEntry/a", "ServiceEntry/z"}
	if _, err := r.Change(t.Context(), c); err == nil || !strings.Contains(err.Error(), "case c deletes ServiceEntry/a, ServiceEntry/z, of which it has applied 1") || len(w.there) != 2 {
		t.Errorf("%v, there: %q", err, w.names())
	}
	c.Delete, c.Change = []string{"ServiceEntry/a"}, caseOf("c", "b", "d").Objects
	if ch, err := r.Change(t.Context(), c); err != nil || !ch.Acknowledged || !slices.Equal(w.names(), []string{"b", "d"}) {
		t.Errorf("%v, %+v, there: %q", err, ch, w.names())
	}
	if _, err := r.Remove(t.Context(), c); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
}

// Objects that must be refused and are taken are named; one of which the API server says nothing is an error.
func TestRefused(t *testing.T) {
	for name, x := range map[string]struct {
		world lyingWorld
		want  []string
		err   string
	}{
		"all are refused":    {lyingWorld{}, nil, ""},
		"one is taken":       {lyingWorld{takes: "b"}, []string{"ServiceEntry b"}, ""},
		"nobody says of one": {lyingWorld{refuses: "b"}, nil, "the API server does not answer"},
	} {
		c := caseOf("c")
		c.Refused = caseOf("c", "a", "b").Objects
		ch, err := rulesIn(t, &x.world).Apply(t.Context(), c)
		if (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) || !slices.Equal(ch.Accepted, x.want) || len(x.world.there) != 0 {
			t.Errorf("%s: %v, %q, there: %q", name, err, ch.Accepted, x.world.names())
		}
	}
}

// A setup stays until Clean, whatever is removed meanwhile, and a Clean that fails is tried again before the next case.
func TestSetup(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	c := caseOf("c", "a")
	c.Setup = []egress.Object{{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}}}
	err := r.Setup(t.Context(), c)
	if err == nil {
		_, err = r.Apply(t.Context(), c)
	}
	if err == nil {
		_, err = r.Remove(t.Context(), c)
	}
	if err != nil || !slices.Equal(w.names(), []string{"s"}) {
		t.Fatalf("%v, there: %q", err, w.names())
	}
	w.keeps = errors.New("the API server is away")
	if err := r.Clean(t.Context(), c); err == nil {
		t.Error("it could not be removed, and nobody says so")
	}
	w.keeps = nil
	if err := r.Ready(t.Context(), caseOf("next")); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
}

// Whatever cases have left goes at the end of a run that was cut short.
func TestRemoveAll(t *testing.T) {
	w := &lyingWorld{}
	r := rulesIn(t, w)
	for _, c := range []egress.Case{caseOf("c", "a"), caseOf("d", "b")} {
		if _, err := r.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.removeAll(t.Context()); err != nil || len(w.there) != 0 {
		t.Errorf("%v, left: %q", err, w.names())
	}
}
