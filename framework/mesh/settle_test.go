package mesh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/limits"
)

// settled is what comes of a change that concerns p.n.
func settled(t *testing.T, does func(*fakeMesh, *fakeReplica), hasty bool) (Settled, error) {
	t.Helper()
	f, r := newFakeMesh()
	does(f, r)
	i := f.istiod(t)
	before, err := i.computed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i.settle(t.Context(), pending{proxies: []string{"p.n"}, before: before, began: time.Now(), hasty: hasty})
}

func TestSettle(t *testing.T) {
	for name, x := range map[string]struct {
		does  func(*fakeMesh, *fakeReplica)
		acked bool
		nacks int
	}{
		"acknowledged":         {func(f *fakeMesh, r *fakeReplica) { f.honest(r, 0) }, true, 0},
		"not yet acknowledged": {func(f *fakeMesh, r *fakeReplica) { f.after(100*time.Millisecond, func() { r.push("p.n") }) }, false, 0},
		"acknowledged late, on a busy machine": {func(f *fakeMesh, r *fakeReplica) {
			f.after(100*time.Millisecond, func() { r.push("p.n") })
			f.after(12*time.Second, func() { r.ack() })
		}, true, 0},
		"no later push": {func(*fakeMesh, *fakeReplica) {}, false, 0},
		"endpoints alone": {func(f *fakeMesh, r *fakeReplica) {
			r.noMetrics = true
			f.after(100*time.Millisecond, func() { r.push("p.n"); r.proxies["p.n"].endpoints = true; r.ack() })
		}, false, 0},
		"another proxy's push": {func(f *fakeMesh, r *fakeReplica) {
			r.noMetrics, r.proxies["q.n"] = true, &fakeProxy{}
			f.after(100*time.Millisecond, func() { r.push("q.n"); r.ack() })
		}, false, 0},
		"rejected by the proxy": {func(f *fakeMesh, r *fakeReplica) {
			f.after(100*time.Millisecond, func() { r.push("p.n"); r.proxies["p.n"].refused = "bad listener" })
		}, false, 1},
		"rejected and sent anew": {func(f *fakeMesh, r *fakeReplica) {
			f.after(100*time.Millisecond, func() { r.push("p.n"); r.proxies["p.n"].refused = "bad listener" })
			f.after(500*time.Millisecond, func() { r.push("p.n"); r.ack() })
		}, true, 1},
		"computed for nobody": {func(f *fakeMesh, r *fakeReplica) { f.after(100*time.Millisecond, func() { r.push() }) }, true, 0},
		"computed for nobody, without metrics": {func(f *fakeMesh, r *fakeReplica) {
			r.noMetrics = true
			f.after(100*time.Millisecond, func() { r.push() })
		}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := settled(t, x.does, false)
				if nobody := name == "computed for nobody"; s.Unconcerned != nobody || s.Reached != (x.acked && !nobody) {
					t.Errorf("unconcerned: %t, reached: %t", s.Unconcerned, s.Reached)
				}
				if err != nil || s.Acknowledged != x.acked || len(s.Rejections) != x.nacks || (s.Note == "") != x.acked {
					t.Errorf("%+v %v", s, err)
				}
			})
		})
	}
}

// A proxy that works on a push is waited for long; one that has refused it, or was sent none, is not.
func TestOwed(t *testing.T) {
	for name, x := range map[string]struct {
		does func(*fakeMesh, *fakeReplica)
		long bool
	}{
		"it does not answer": {func(f *fakeMesh, r *fakeReplica) { f.after(100*time.Millisecond, func() { r.push("p.n") }) }, true},
		"nobody waits":       {func(f *fakeMesh, r *fakeReplica) { f.after(100*time.Millisecond, func() { r.push("p.n") }) }, false},
		"it refuses": {func(f *fakeMesh, r *fakeReplica) {
			f.after(100*time.Millisecond, func() { r.push("p.n"); r.proxies["p.n"].refused = "bad listener" })
		}, false},
		"it was sent nothing": {func(*fakeMesh, *fakeReplica) {}, false},
		"it is another one that does not answer": {func(f *fakeMesh, r *fakeReplica) {
			r.noMetrics, r.proxies["q.n"] = true, &fakeProxy{}
			f.after(100*time.Millisecond, func() { r.push("q.n") })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := settled(t, x.does, name == "nobody waits")
				sent := limits.Limits{}.OrDefault().Push.Sent
				if err != nil || s.Acknowledged || (s.Took >= sent.Answered.Time) != x.long || !x.long && s.Took > 2*sent.Acknowledged.Time {
					t.Errorf("%+v %v", s, err)
				}
			})
		})
	}
}

// A proxy that has no istiod, or whose istiod was restarted, keeps what it had: nothing is proven by what it does.
func TestInterrupted(t *testing.T) {
	for name, x := range map[string]struct {
		does  func(*fakeMesh, *fakeReplica)
		acked bool
		want  string
	}{
		"restarted":                             {func(f *fakeMesh, r *fakeReplica) { f.restart(r, 1) }, false, "was restarted"},
		"restarted, and it counts further":      {func(f *fakeMesh, r *fakeReplica) { f.restart(r, 6) }, true, "was restarted"},
		"restarted, and it pushes to the proxy": {func(f *fakeMesh, r *fakeReplica) { f.restart(r, 5); f.honest(r, 50*time.Millisecond) }, true, "was restarted"},
		"another connection was made":           {func(f *fakeMesh, r *fakeReplica) { f.asker.connections.Add(1); f.honest(r, 0) }, true, ""},
		"the proxy has no istiod":               {func(_ *fakeMesh, r *fakeReplica) { delete(r.proxies, "p.n") }, false, "connected to no istiod"},
		"the proxy asks for its clusters alone": {func(f *fakeMesh, r *fakeReplica) { r.proxies["p.n"].connecting = true; f.honest(r, 0) }, false, ""},
		"it merely sent nothing":                {func(*fakeMesh, *fakeReplica) {}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, r := newFakeMesh()
				i := f.istiod(t)
				before, err := i.computed(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				f.after(50*time.Millisecond, func() { x.does(f, r) })
				s, err := i.settle(t.Context(), pending{proxies: []string{"p.n"}, before: before, began: time.Now()})
				if s.Acknowledged != x.acked || (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
					t.Errorf("%+v %v", s, err)
				}
			})
		})
	}
}

// Whether another push was computed between the writing of a change and its own push is told by istiod's count.
func TestBeside(t *testing.T) {
	for name, x := range map[string]struct {
		does func(*fakeMesh, *fakeReplica)
		want bool
	}{
		"its own push alone":     {func(f *fakeMesh, r *fakeReplica) { f.honest(r, 0) }, false},
		"another one for nobody": {func(f *fakeMesh, r *fakeReplica) { f.after(10*time.Millisecond, func() { r.push() }); f.honest(r, 0) }, true},
		"another one for the proxy": {func(f *fakeMesh, r *fakeReplica) {
			f.after(10*time.Millisecond, func() { r.push("p.n") })
			f.honest(r, 0)
		}, true},
		"another one afterwards": {func(f *fakeMesh, r *fakeReplica) { f.honest(r, 0); f.after(900*time.Millisecond, func() { r.push() }) }, false},
		"its own for nobody":     {func(f *fakeMesh, r *fakeReplica) { f.after(100*time.Millisecond, func() { r.push() }) }, false},
		"its own for nobody, and one": {func(f *fakeMesh, r *fakeReplica) {
			f.after(10*time.Millisecond, func() { r.push() })
			f.after(100*time.Millisecond, func() { r.push() })
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, r := newFakeMesh()
				i := f.istiod(t)
				before, err := i.computed(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				x.does(f, r)
				seen := time.Now().Add(30 * time.Millisecond)
				s, err := i.settle(t.Context(), pending{proxies: []string{"p.n"}, before: before, began: time.Now(), seen: func(context.Context) (bool, error) { return !time.Now().Before(seen), nil }})
				if err != nil || !s.Acknowledged || s.Beside != x.want {
					t.Errorf("%+v %v, wanted beside %t", s, err, x.want)
				}
			})
		})
	}
}

// istiod's metrics tell whether the push began when it had seen the whole change.
func TestFollow(t *testing.T) {
	sawAll := time.Now()
	at := func(ms int) time.Time { return sawAll.Add(time.Duration(ms) * time.Millisecond) }
	took := func(pushes int64, ms int) computed {
		return computed{pushes: pushes, took: time.Duration(ms) * time.Millisecond}
	}
	type answer struct {
		asked time.Time
		c     computed
	}
	for name, x := range map[string]struct {
		answers []answer
		split   bool
	}{
		"it began after that":           {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(6, 104)}}, false},
		"it may have begun before that": {[]answer{{at(1), took(5, 100)}, {at(31), took(6, 104)}}, true},
		"it took long":                  {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(6, 140)}}, true},
		"nobody asked before it":        {[]answer{{at(1), took(6, 104)}}, true},
		"there were two":                {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(7, 104)}}, true},
		"none came":                     {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}}, true},
	} {
		w := watch{before: counts{"a": 5}, sawAll: sawAll, split: true, followers: map[string]*follower{}}
		for _, a := range x.answers {
			w.follow(a.asked, map[string]computed{"a": a.c})
		}
		if w.split != x.split {
			t.Errorf("%s: split %t", name, w.split)
		}
	}
}

// With two replicas, a change is whole when the pushes of both are.
func TestFollowReplicas(t *testing.T) {
	sawAll := time.Now()
	later := sawAll.Add(time.Second)
	w := watch{before: counts{"a": 5, "b": 700}, sawAll: sawAll, split: true, followers: map[string]*follower{}}
	w.follow(later, map[string]computed{"a": {pushes: 5}, "b": {pushes: 700}})
	w.follow(later, map[string]computed{"a": {pushes: 6}, "b": {pushes: 700}})
	if !w.split {
		t.Error("one replica of two has computed the push, and the change counts as whole")
	}
	w.follow(later, map[string]computed{"a": {pushes: 6}, "b": {pushes: 701}})
	if w.split {
		t.Error("both replicas have begun the push when they had seen everything, and the change counts as split")
	}
}

func TestParseComputed(t *testing.T) {
	for text, ok := range map[string]bool{
		"# HELP x\nprocess_start_time_seconds 1.7e+09\npilot_pushcontext_init_seconds_sum 0.01\npilot_pushcontext_init_seconds_count 7\n":                                 true,
		"process_start_time_seconds 1.7e+09\nother_pilot_pushcontext_init_seconds_sum 3\npilot_pushcontext_init_seconds_sum 0.01\npilot_pushcontext_init_seconds_count 7": true,
		"pilot_pushcontext_init_seconds_sum 0.01\npilot_pushcontext_init_seconds_countless 7\n":                                                                           false,
		"pilot_pushcontext_init_seconds_count 7\n": false,
		"pilot_something 8\n":                      false,
		"pilot_pushcontext_init_seconds_sum x\npilot_pushcontext_init_seconds_count 7\n": false,
	} {
		c, err := parseComputed([]byte(text))
		if (err == nil) != ok || ok && (c != computed{7, 10 * time.Millisecond, "1.7e+09"}) {
			t.Errorf("%q: %+v %v", text, c, err)
		}
	}
}

func TestSettleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newFakeMesh()
		i := f.istiod(t)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if _, err := i.settle(ctx, pending{seen: func(context.Context) (bool, error) { return false, nil }}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		i.Close()
		f.mu.Lock()
		f.replicas["istiod-a"].away = true
		f.mu.Unlock()
		if _, err := i.settle(t.Context(), pending{proxies: []string{"p.n"}, began: time.Now()}); err == nil {
			t.Error("an istiod that is away goes unnoticed")
		}
	})
}

// A change of the mesh configuration waits for the end of all pushes.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		for n := range 10 {
			f.after(time.Duration(n)*100*time.Millisecond, func() { r.push("p.n") })
		}
		i, start := f.istiod(t), time.Now()
		if err := i.Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(start); passed < 900*time.Millisecond+limits.Default().Push.Rest.Quiet.Time {
			t.Errorf("quiet after %s, while pushes came for 900 ms", passed)
		}
	})
}

// Pods that come and go without an end are no ground on which a mesh configuration is changed.
func TestNeverQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := newFakeMesh()
		var again func()
		again = func() { r.push("p.n"); f.after(50*time.Millisecond, again) }
		f.after(0, again)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := f.istiod(t).Quiet(ctx); !errors.Is(err, errPatience) {
			t.Errorf("got %v", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		again = func() {}
	})
}
