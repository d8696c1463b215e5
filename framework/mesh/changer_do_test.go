package mesh

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// apiServer is the objects and the mesh configuration that a test's Changer writes.
type apiServer struct {
	mu     sync.Locker                // of the fake mesh, under which a test does what comes later
	status map[string]*fixture.Object // what Get returns
	config Config
	wrote  int
}

func (a *apiServer) Get(_ context.Context, o *fixture.Object) (*fixture.Object, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.status[o.GetName()]; s != nil {
		return s, nil
	}
	return o, nil
}

func (a *apiServer) Write(_ context.Context, c Config) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrote++
	changed := a.config["accessLogFile"] != c["accessLogFile"]
	a.config = c
	return changed, nil
}

// changer is a Changer over a fake mesh, and the API server behind it.
func changer(t *testing.T, f *fakeMesh) (*Changer, *apiServer) {
	t.Helper()
	a := &apiServer{mu: &f.mu, status: map[string]*fixture.Object{}, config: Config{"accessLogFile": "installed"}}
	o := NewOverlay(a.config, a)
	o.endpoints = time.Time{}
	return NewChanger(f.istiod(t), o, a, limits.Default().Push), a
}

// making is a mutation that makes objects; does is what istiod does about it from then on.
func making(f *fakeMesh, does func(), objs ...*fixture.Object) Mutation {
	return Mutation{Proxies: []string{"p.n"}, Write: func(context.Context) (Written, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		does()
		return Written{Made: objs}, nil
	}}
}

// What istiod tells must not make a change count as acknowledged before the proxies have it.
func TestDo(t *testing.T) {
	a, b := entry("a"), entry("b")
	addressed := entry("addressed")
	addressed.Object["spec"] = map[string]any{"hosts": []any{"x.example"}, "resolution": "DNS"}
	const ms = time.Millisecond
	for name, x := range map[string]struct {
		objs     []*fixture.Object
		does     func(*fakeMesh, *fakeReplica)
		acked    bool
		err      string
		earliest time.Duration // at which the proxy has the change
	}{
		"honest": {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) { f.honest(r, 10*ms, a) }, true, "", 130 * ms},
		"late":   {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) { f.honest(r, 8*time.Second, a) }, true, "", 8120 * ms},
		"never":  {[]*fixture.Object{a}, func(*fakeMesh, *fakeReplica) {}, false, "wait until istiod has seen the change", 0},
		"acknowledged without the content": {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) {
			for n := range 20 { // pushes for other reasons, all acknowledged
				f.after(time.Duration(n)*50*ms, func() { r.push("p.n"); r.ack() })
			}
			f.honest(r, 3*time.Second, a)
		}, true, "", 3120 * ms},
		"another push while it is written": {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) {
			r.push("p.n") // computed before istiod has heard of the change, and acknowledged late
			f.after(110*ms, r.ack)
			f.after(10*ms, func() { r.hold(a) })
			f.after(400*ms, func() { r.push("p.n") }) // others' changes hold istiod's debounce open
			f.after(410*ms, r.ack)
		}, true, "", 410 * ms},
		"held and never pushed": {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) {
			r.noMetrics = true
			f.after(10*ms, func() { r.hold(a) })
		}, false, "", 0},
		"half of it in one push, the rest in the next": {[]*fixture.Object{a, b}, func(f *fakeMesh, r *fakeReplica) {
			f.after(5*ms, func() { r.hold(a) })
			f.after(105*ms, func() { r.push("p.n") })
			f.after(110*ms, r.ack)
			f.after(120*ms, func() { r.hold(b) })
			f.after(225*ms, func() { r.push("p.n") })
			f.after(260*ms, r.ack)
		}, true, "", 260 * ms},
		"the rest comes as late as istiod may wait": {[]*fixture.Object{a, b}, func(f *fakeMesh, r *fakeReplica) {
			f.after(5*ms, func() { r.hold(a) })
			f.after(105*ms, func() { r.push("p.n") })
			f.after(110*ms, r.ack)
			f.after(112*ms, func() { r.hold(b) })
			f.after(300*ms, func() { r.push("p.n") })
			f.after(310*ms, r.ack)
		}, true, "", 310 * ms},
		"addresses are allocated later": {[]*fixture.Object{addressed}, func(f *fakeMesh, r *fakeReplica) {
			f.honest(r, 10*ms, addressed)
			f.after(600*ms, func() {
				v := r.held[fixture.Describe(addressed)]
				v.Addressed = true
				r.held[fixture.Describe(addressed)] = v
			})
			f.after(710*ms, func() { r.push("p.n"); r.ack() })
		}, true, "", 710 * ms},
		"addresses are never allocated": {[]*fixture.Object{addressed}, func(f *fakeMesh, r *fakeReplica) { f.honest(r, 10*ms, addressed) }, true, "", 3 * time.Second},
		"an older version": {[]*fixture.Object{a}, func(f *fakeMesh, r *fakeReplica) {
			old := a.DeepCopy()
			old.SetUID("of an earlier object")
			f.after(10*ms, func() { r.hold(old) })
			f.honest(r, time.Second, a)
		}, true, "", 1120 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, r := newFakeMesh()
				c, _ := changer(t, f)
				start := time.Now()
				s, err := c.Do(t.Context(), making(f, func() { x.does(f, r) }, x.objs...))
				if x.err != "" {
					if err == nil || !strings.Contains(err.Error(), x.err) {
						t.Errorf("got %v, wanted %q", err, x.err)
					}
					return
				}
				if err != nil || s.Acknowledged != x.acked || (s.Note == "") != x.acked {
					t.Errorf("%+v %v", s, err)
				}
				if passed := time.Since(start); passed < x.earliest || s.Took != passed {
					t.Errorf("done after %s (it says %s), and the proxy had the change after %s", passed, s.Took, x.earliest)
				}
			})
		})
	}
}

// What istiod does not list is still waited for: by its status, or by the push alone.
func TestDoUnlisted(t *testing.T) {
	route := object("gateway.networking.k8s.io/v1", "HTTPRoute", "route")
	route.Object["spec"] = map[string]any{"parentRefs": []any{map[string]any{"name": "g"}}}
	observed := route.DeepCopy()
	observed.Object["status"] = map[string]any{"parents": []any{map[string]any{
		"controllerName": "istio.io/gateway-controller", "conditions": []any{map[string]any{"type": "Accepted", "status": "True", "observedGeneration": int64(1)}},
	}}}
	for name, x := range map[string]struct {
		o         *fixture.Object
		endpoints bool
		waits     bool
	}{
		"a route":   {route, false, true},
		"a Service": {object("v1", "Service", "s"), true, true},
		"a Secret":  {object("v1", "Secret", "s"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, r := newFakeMesh()
				c, a := changer(t, f)
				start := time.Now()
				s, err := c.Do(t.Context(), making(f, func() {
					f.after(500*time.Millisecond, func() { a.status["route"] = observed })
					f.honest(r, 490*time.Millisecond)
				}, x.o))
				if err != nil || !s.Acknowledged {
					t.Errorf("%+v %v", s, err)
				}
				if waits := time.Since(start) >= 600*time.Millisecond; waits != x.waits {
					t.Errorf("it took %s", time.Since(start))
				}
				if got := c.overlay.endpointsChanged(time.Hour); got != x.endpoints {
					t.Errorf("endpoints changed: %t", got)
				}
				// The next change comes after the push of this one, whether that was waited for or not.
				if _, err := c.Do(t.Context(), making(f, func() { f.honest(r, 0, entry("next")) }, entry("next"))); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Changes that come together are one batch; the next one waits until istiod has computed its push.
func TestDoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, _ := changer(t, f)
		c.AddWorkers(2)
		start := time.Now()
		var wrote [3]time.Duration
		done := make(chan error, 3)
		for n, name := range []string{"a", "b", "late"} {
			go func() {
				<-time.After(time.Duration(n) * 20 * time.Millisecond)
				_, err := c.Do(t.Context(), making(f, func() {
					wrote[n] = time.Since(start)
					if name != "b" {
						f.honest(r, 10*time.Millisecond, entry("a"), entry("b"), entry(name))
					}
				}, entry(name)))
				done <- err
			}()
		}
		for range wrote {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if wrote[0] != wrote[1] || wrote[2] < wrote[0]+120*time.Millisecond {
			t.Errorf("written after %v", wrote)
		}
	})
}

// While a change may be split, the next one waits: the rest of it is pushed later.
func TestDoAfterSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, _ := changer(t, f)
		const ms = time.Millisecond
		var first, second time.Time
		done := make(chan error)
		go func() {
			_, err := c.Do(t.Context(), making(f, func() {
				first = time.Now()
				f.after(5*ms, func() { r.hold(entry("a")) })
				f.after(105*ms, func() { r.push("p.n"); r.ack() })
				f.after(120*ms, func() { r.hold(entry("b")) })
				f.after(225*ms, func() { r.push("p.n") })
				f.after(500*ms, r.ack)
			}, entry("a"), entry("b")))
			done <- err
		}()
		<-time.After(60 * ms)
		_, err := c.Do(t.Context(), making(f, func() { second = time.Now(); f.honest(r, 0, entry("c")) }, entry("c")))
		if err := errors.Join(err, <-done); err != nil {
			t.Error(err)
		}
		if passed := second.Sub(first); passed < 225*ms {
			t.Errorf("the next change was written after %s, beside the push of the rest", passed)
		}
	})
}

// An error of the API server is returned, and holds nobody else up.
func TestDoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, _ := changer(t, f)
		refused := errors.New("refused")
		_, err := c.Do(t.Context(), Mutation{Write: func(context.Context) (Written, error) { return Written{}, refused }})
		if !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Do(t.Context(), making(f, func() { f.honest(r, 0, entry("a")) }, entry("a"))); err != nil {
			t.Error(err)
		}
		if s, err := c.Do(t.Context(), Mutation{}); err != nil || !s.Acknowledged || s.Took != 0 {
			t.Errorf("no change at all: %+v %v", s, err)
		}
	})
}

// The mesh configuration is the installed one, the base over it, and a case's patch on top.
func TestDoConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, a := changer(t, f)
		arrives := func(text string, d time.Duration) {
			f.after(150*time.Millisecond, func() { r.push("p.n"); r.ack() }) // for another reason
			f.after(d, func() { r.mesh = text })
			f.after(d+110*time.Millisecond, func() { r.push("p.n"); r.ack() })
		}
		arrives("base", 300*time.Millisecond)
		start := time.Now()
		if reached, err := c.SetBase(t.Context(), Config{"accessLogFile": "base", "more": "x"}, []string{"p.n"}); err != nil || !reached {
			t.Fatal(reached, err)
		}
		if passed := time.Since(start); passed < 400*time.Millisecond || a.config["accessLogFile"] != "base" {
			t.Errorf("%v after %s", a.config, passed)
		}
		for _, patch := range []Config{{"accessLogFile": "case"}, {}} {
			arrives("patched with "+strings.Repeat("x", len(patch)), 300*time.Millisecond)
			start = time.Now()
			s, err := c.Do(t.Context(), Mutation{Proxies: []string{"p.n"}, Config: patch})
			if passed := time.Since(start); err != nil || !s.Acknowledged || passed < 400*time.Millisecond {
				t.Errorf("%v: %+v %v after %s", patch, s, err, passed)
			}
		}
		if a.config["accessLogFile"] != "base" || a.config["more"] != "x" {
			t.Errorf("after the case: %v", a.config)
		}
		// What changes nothing is not waited for.
		start = time.Now()
		if s, err := c.Do(t.Context(), Mutation{Config: Config{"accessLogFile": "base"}}); err != nil || !s.Acknowledged || time.Since(start) > 100*time.Millisecond {
			t.Errorf("no difference: %+v %v after %s", s, err, time.Since(start))
		}
	})
}

// istiod may lose a change of the mesh configuration: it computes a push for nobody.
func TestBaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, _ := changer(t, f)
		f.after(300*time.Millisecond, func() { r.mesh = "base" })
		f.after(410*time.Millisecond, func() { r.push() })
		if reached, err := c.SetBase(t.Context(), Config{"accessLogFile": "base"}, []string{"p.n"}); reached || err != nil {
			t.Errorf("a lost base has reached the proxy: %t %v", reached, err)
		}
	})
}

// Somebody else's mesh configuration stays as it is.
func TestDoConfigOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newFakeMesh()
		c := NewChanger(f.istiod(t), nil, &apiServer{mu: &f.mu}, limits.Default().Push)
		c.EndpointsChange()
		if _, err := c.SetBase(t.Context(), Config{"x": "y"}, nil); err != nil {
			t.Error(err)
		}
		if _, err := c.Do(t.Context(), Mutation{Config: Config{"x": "y"}}); err == nil {
			t.Error("it is changed")
		}
	})
}

// After a change of endpoints, the mesh configuration is changed only once istiod is quiet.
func TestConfigAfterEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		c, a := changer(t, f)
		c.EndpointsChange()
		for n := range 5 {
			f.after(time.Duration(n)*100*time.Millisecond, func() {
				r.push("p.n")
				r.ack()
				if a.wrote > 0 {
					t.Errorf("the configuration was written beside push %d", n)
				}
			})
		}
		f.after(time.Second, func() { r.mesh = "base"; r.push("p.n"); r.ack() })
		if _, err := c.SetBase(t.Context(), Config{"accessLogFile": "base"}, []string{"p.n"}); err != nil || a.wrote != 1 {
			t.Errorf("written %d times: %v", a.wrote, err)
		}
	})
}
