package schedule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/isolation"
)

// fake is an environment and its workers. Each case takes the time that its name is given.
type fake struct {
	takes   map[string]time.Duration
	baseErr error
	joinErr map[int]error
	waits   func(lane int, name string) bool

	mu      sync.Mutex
	log     []string
	running []Plan
	most    int            // cases that ran at once
	lanes   map[string]int // in which a case ran
	joined  int
	clashes []string
}

func newFake() *fake {
	return &fake{takes: map[string]time.Duration{}, joinErr: map[int]error{}, lanes: map[string]int{}, waits: func(int, string) bool { return false }}
}

func (f *fake) note(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.running) > 0 && !strings.HasPrefix(format, "run") {
		f.clashes = append(f.clashes, fmt.Sprintf(format, a...)+" beside a case")
	}
	f.log = append(f.log, fmt.Sprintf(format, a...))
}

func (f *fake) SetBase(_ context.Context, base egress.Object) error {
	f.note("base %v", base)
	return f.baseErr
}

func (f *fake) Prepare(_ context.Context, plans []Plan) error {
	f.note("prepare %s", named(plans))
	return nil
}

func (f *fake) Release(_ context.Context, next, toCome []Plan) {
	f.note("next %s to come %s", named(next), named(toCome))
}

func named(plans []Plan) string {
	var names []string
	for _, p := range plans {
		names = append(names, p.Case.Name)
	}
	return strings.Join(names, " ")
}

func (f *fake) Settled(ctx context.Context) error { return ctx.Err() }

func (f *fake) NotRun(c egress.Case, v egress.Verdict, why string) egress.Result {
	return egress.Result{Case: c, Verdict: v, Why: why}
}

type lane struct {
	*fake
	n int
}

func (l lane) Join(context.Context) (func(), error) {
	if err := l.joinErr[l.n]; err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined++
	return func() { l.mu.Lock(); l.joined--; l.mu.Unlock() }, nil
}

func (l lane) Waits(p Plan) bool { return l.waits(l.n, p.Case.Name) }

func (l lane) Begin(ctx context.Context, p Plan, hear Listener) func() egress.Result {
	name := p.Case.Name
	l.mu.Lock()
	for _, other := range l.running {
		if other.Shares.Conflicts(p.Shares) || other.base() != p.base() {
			l.clashes = append(l.clashes, name+" beside "+other.Case.Name)
		}
	}
	l.running = append(l.running, p)
	l.most = max(l.most, len(l.running))
	l.lanes[name] = l.n
	l.log = append(l.log, "run "+name)
	l.mu.Unlock()
	hear.Hear(p.Case, StageBefore)
	select {
	case <-time.After(max(time.Second, l.takes[name])):
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.running = slices.DeleteFunc(l.running, func(o Plan) bool { return o.Case.Name == name })
	l.mu.Unlock()
	r := egress.Result{Case: p.Case, Verdict: egress.Conforms}
	if ctx.Err() != nil {
		r = Unfinished(ctx, r)
	}
	return func() egress.Result { return r }
}

func (f *fake) workers(n int) []Worker {
	out := make([]Worker, n)
	for i := range out {
		out[i] = lane{f, i}
	}
	return out
}

// A few plans in short.
func plain(name string) Plan { return Plan{Case: egress.Case{Name: name}} }

func holding(name string, holds ...string) Plan {
	p := plain(name)
	p.Shares.Holds = holds
	return p
}

func alone(name string) Plan {
	p := plain(name)
	p.Shares.Alone = "the mesh sees it"
	return p
}

func on(p Plan, base string) Plan {
	p.Case.BaseMeshConfig = egress.Object{"base": base}
	return p
}

func with(p Plan, change func(*Plan)) Plan {
	change(&p)
	return p
}

// revised needs an istiod beside the default one.
func revised(p Plan) Plan {
	p.Revisions = true
	return p
}

// batch runs all plans at once and returns their results by name.
func batch(ctx context.Context, f *fake, lanes int, plans []Plan) map[string]egress.Result {
	s := New(f, f.workers(lanes), plans)
	results := make([]<-chan egress.Result, len(plans))
	for i, p := range plans {
		results[i] = s.Submit(ctx, p, nil)
	}
	s.Close()
	s.Run(ctx)
	out := map[string]egress.Result{}
	for _, r := range results {
		for res := range r { // Run has returned, so they are there, and the channels closed
			out[res.Case.Name] = res
		}
	}
	return out
}

func TestOrder(t *testing.T) {
	old := with(plain("old"), func(p *Plan) { p.Verdict, p.Why = egress.NotApplicable, "claim held until Istio 1.20" })
	quick := with(plain("quick"), func(p *Plan) { p.Quick = true })
	mesh := with(alone("mesh"), func(p *Plan) { p.Case.Policy = egress.AllowAny })
	endpoints := with(alone("endpoints"), func(p *Plan) { p.Shares.Endpoints = true })
	for name, x := range map[string]struct {
		lanes int
		plans []Plan
		want  string
	}{
		"none":                          {2, nil, ""},
		"one lane, as they come":        {1, []Plan{plain("a"), plain("b")}, "prepare a b, run a, run b"},
		"those that are alone are last": {2, []Plan{endpoints, mesh, alone("entry"), plain("a")}, "prepare endpoints mesh entry a, run a, run entry, run mesh, run endpoints"},
		"a quick one is first":          {2, []Plan{plain("a"), quick}, "run quick, prepare a quick, run a"},
		"groups, and back":              {1, []Plan{on(plain("x"), "1"), plain("a"), on(plain("y"), "1")}, "prepare a, run a, next x y to come x y, base map[base:1], prepare x y, run x, run y, base map[]"},
		"alone in their group":          {1, []Plan{on(alone("x"), "1"), on(plain("y"), "1")}, "next x y to come x y, base map[base:1], prepare x y, run y, run x, base map[]"},
		"further istiods":               {1, []Plan{revised(plain("x")), plain("a"), revised(plain("y"))}, "prepare a, run a, next x y to come x y, base map[], prepare x y, run x, run y, base map[]"},
		"further istiods on two bases":  {1, []Plan{plain("a"), revised(plain("x")), revised(on(plain("y"), "1")), on(plain("z"), "1")}, "prepare a, run a, next z to come x y z, base map[base:1], prepare z, run z, next x to come x y, base map[], prepare x, run x, next y to come y, base map[base:1], prepare y, run y, base map[]"},
		"what does not apply":           {1, []Plan{old, plain("a")}, "prepare a, run a"},
		"nothing that applies":          {1, []Plan{old}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			results := batch(t.Context(), f, x.lanes, x.plans)
			if got := strings.Join(f.log, ", "); got != x.want {
				t.Errorf("%s: %s", name, got)
			}
			if len(results) != len(x.plans) || len(f.clashes) > 0 || f.joined != 0 {
				t.Errorf("%s: %d results, clashes %v, %d workers joined", name, len(results), f.clashes, f.joined)
			}
		})
	}
}

// What is submitted one by one is fastest in the order in which all at once would run.
func TestOrderOfPlans(t *testing.T) {
	plans := []Plan{
		revised(plain("skew")), on(plain("allow"), "1"), with(alone("starts pods"), func(p *Plan) { p.Shares.Endpoints = true }),
		with(alone("mode"), func(p *Plan) { p.Case.Policy = "ALLOW_ANY" }), alone("everywhere"), plain("a"), on(plain("other"), "2"),
		on(alone("allow alone"), "1"), plain("b"), on(plain("allow too"), "1"),
	}
	Order(plans)
	got := make([]string, len(plans))
	for i, p := range plans {
		got[i] = p.Case.Name
	}
	want := "a, b, everywhere, mode, starts pods, allow, allow too, allow alone, other, skew"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

// Order is the order of a scheduler that has all plans at once, whatever they are.
func TestOrderIsTheSchedulers(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var plans []Plan
		for i := range 12 {
			p := plain(fmt.Sprintf("%02d", i))
			if r.IntN(2) == 0 {
				p = on(p, fmt.Sprint(r.IntN(2)))
			}
			p.Revisions = r.IntN(3) == 0
			if r.IntN(2) == 0 {
				p.Shares.Alone, p.Shares.Endpoints = "the mesh sees it", r.IntN(3) == 0
				if r.IntN(3) == 0 {
					p.Case.Policy = egress.AllowAny
				}
			}
			plans = append(plans, p)
		}
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			batch(t.Context(), f, 1, plans)
			ordered := slices.Clone(plans)
			Order(ordered)
			var want []string
			for _, p := range ordered {
				want = append(want, "run "+p.Case.Name)
			}
			ran := slices.DeleteFunc(f.log, func(l string) bool { return !strings.HasPrefix(l, "run ") })
			if !slices.Equal(ran, want) {
				t.Errorf("seed %d: it ran %q, and the order is %q", seed, ran, want)
			}
		})
	}
}

func TestSideBySide(t *testing.T) {
	first := with(plain("first lane"), func(p *Plan) { p.Shares.FirstLane = "it names the namespace" })
	uses := with(plain("uses"), func(p *Plan) { p.Shares.Uses = []string{"host a"} })
	for name, x := range map[string]struct {
		lanes int
		plans []Plan
		most  int
		took  time.Duration // each case takes a second
	}{
		"lanes are used":                   {3, []Plan{plain("a"), plain("b"), plain("c")}, 3, time.Second},
		"no more than there are":           {2, []Plan{plain("a"), plain("b"), plain("c")}, 2, 2 * time.Second},
		"holders one by one":               {3, []Plan{holding("a", "ns"), holding("b", "ns"), plain("c")}, 2, 2 * time.Second},
		"a user waits for the holder":      {3, []Plan{holding("a", "host a"), uses}, 1, 2 * time.Second},
		"users together":                   {3, []Plan{uses, with(uses, func(p *Plan) { p.Case.Name = "uses too" })}, 2, time.Second},
		"alone":                            {3, []Plan{alone("a"), alone("b"), plain("c")}, 1, 3 * time.Second},
		"the first lane's, one by one":     {3, []Plan{first, with(first, func(p *Plan) { p.Case.Name = "too" })}, 1, 2 * time.Second},
		"the first lane's beside others":   {2, []Plan{plain("a"), first}, 2, time.Second},
		"different bases are never beside": {3, []Plan{on(plain("a"), "1"), on(plain("b"), "2")}, 1, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, start := newFake(), time.Now()
			batch(t.Context(), f, x.lanes, x.plans)
			if took := time.Since(start); f.most != x.most || took != x.took || len(f.clashes) > 0 {
				t.Errorf("%s: %d at once, took %s, clashes %v", name, f.most, took, f.clashes)
			}
			if l, ran := f.lanes["first lane"]; ran && l != 0 {
				t.Errorf("%s: ran in lane %d", name, l)
			}
		})
	}
}

// What has its clients comes before what would wait for them, and a lane that does not start is done without.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.waits = func(_ int, name string) bool { return name == "waits" }
		f.joinErr[1] = errors.New("its client did not start")
		results := batch(t.Context(), f, 2, []Plan{plain("waits"), plain("has all")})
		if got := strings.Join(f.log[1:], ", "); got != "run has all, run waits" || len(results) != 2 || f.lanes["waits"] != 0 {
			t.Errorf("%s, lanes %v", got, f.lanes)
		}
	})
}

func TestBaseCannotBeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.baseErr = errors.New("no such field")
		results := batch(t.Context(), f, 2, []Plan{on(plain("x"), "1"), on(alone("y"), "1"), plain("a")})
		for _, n := range []string{"x", "y"} {
			if r := results[n]; r.Verdict != egress.Inconclusive || !strings.Contains(r.Why, "no such field") || r.Unfinished {
				t.Errorf("%s: %+v", n, r)
			}
		}
		if results["a"].Verdict != egress.Conforms {
			t.Errorf("a: %+v", results["a"])
		}
	})
}

// all has plans of every kind that is treated in a way of its own.
func all() []Plan {
	return []Plan{
		with(plain("quick"), func(p *Plan) { p.Quick = true }), plain("a"), plain("b"), holding("c", "ns"), holding("d", "ns"),
		with(plain("first lane"), func(p *Plan) { p.Shares.FirstLane = "it names the namespace" }), alone("e"), alone("f"),
		on(plain("g"), "1"), on(alone("h"), "1"),
		with(plain("old"), func(p *Plan) { p.Verdict = egress.NotApplicable }),
	}
}

// Whenever a run ends, every case has one result, and the channels are closed.
func TestEveryCaseHasAResult(t *testing.T) {
	for after := range 10 { // seconds, in which cases end
		for why, cause := range map[string]error{Interrupted: nil, "the cluster died: etcd ended": errors.New("the cluster died: etcd ended")} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Duration(after)*time.Second+time.Millisecond, func() { cancel(cause) })
				f := newFake()
				results := batch(ctx, f, 3, all())
				conform := 0
				for _, p := range all() {
					r, have := results[p.Case.Name]
					switch {
					case !have:
						t.Errorf("%s after %d s: %s has no result", why, after, p.Case.Name)
					case r.Verdict == egress.Conforms:
						conform++
					case p.Verdict == "" && (!r.Unfinished || r.Verdict != egress.Inconclusive || r.Why != why):
						t.Errorf("%s after %d s: %+v", why, after, r)
					}
				}
				if ran := len(f.lanes); conform < ran-3 {
					t.Errorf("%s after %d s: %d of %d conform", why, after, conform, ran)
				}
			})
		}
	}
}

// ask submits cases one after another, as a caller does that waits for each.
func ask(t *testing.T, s *Scheduler, wg *sync.WaitGroup, plans ...Plan) {
	wg.Go(func() {
		for _, p := range plans {
			if r := <-s.Submit(t.Context(), p, nil); r.Verdict != egress.Conforms {
				t.Errorf("%s: %+v", p.Case.Name, r)
			}
		}
	})
}

// Cases may be submitted while others run.
func TestOneByOne(t *testing.T) {
	for range 500 { // who comes first of those that wait is different each time
		synctest.Test(t, oneByOne)
	}
}

func oneByOne(t *testing.T) {
	f, start := newFake(), time.Now()
	s := New(f, f.workers(3), []Plan{plain("a"), plain("b"), plain("c"), plain("d")})
	done := make(chan struct{})
	go func() { s.Run(t.Context()); close(done) }()
	var wg sync.WaitGroup
	ask(t, s, &wg, plain("a"), plain("b"))
	ask(t, s, &wg, plain("c"), plain("d"))
	wg.Wait()
	if took := time.Since(start); took != 2*time.Second || f.most != 2 {
		t.Errorf("took %s, %d at once", took, f.most)
	}
	ask(t, s, &wg, on(plain("e"), "1"), alone("f"), plain("not expected"))
	wg.Wait()
	s.Close()
	<-done
	want := "prepare a b c d, next e to come e, base map[base:1], prepare e, next f to come f, base map[], prepare f, prepare not expected"
	got := slices.DeleteFunc(slices.Clone(f.log), func(l string) bool { return strings.HasPrefix(l, "run ") })
	if strings.Join(got, ", ") != want || len(f.clashes) > 0 {
		t.Errorf("%s; clashes %v", strings.Join(got, ", "), f.clashes)
	}
	if r := <-s.Submit(t.Context(), plain("late"), nil); !r.Unfinished {
		t.Errorf("late: %+v", r)
	}
}

// A case that must be alone is not overtaken for ever by those that come after it.
func TestNobodyStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := New(f, f.workers(2), nil)
		go s.Run(t.Context())
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 2 {
			var many []Plan
			for n := range 20 {
				many = append(many, plain(fmt.Sprintf("%d-%d", i, n)))
			}
			ask(t, s, &wg, many...)
		}
		<-time.After(500 * time.Millisecond)
		if r := <-s.Submit(t.Context(), alone("alone"), nil); r.Verdict != egress.Conforms || time.Since(start) > 4*time.Second {
			t.Errorf("%+v after %s", r, time.Since(start))
		}
		wg.Wait()
		s.Close()
		if len(f.clashes) > 0 {
			t.Errorf("clashes %v", f.clashes)
		}
	})
}

// Who does not wait any more gets an unfinished result, and the others are not disturbed.
func TestWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := New(f, f.workers(1), nil)
		go s.Run(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		first := s.Submit(t.Context(), plain("a"), nil)
		running, waiting := s.Submit(ctx, plain("b"), nil), s.Submit(ctx, plain("c"), nil)
		last := s.Submit(t.Context(), plain("d"), nil)
		for name, r := range map[string]egress.Result{"b": <-running, "c": <-waiting} {
			if !r.Unfinished || r.Why != context.DeadlineExceeded.Error() {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if a, d := <-first, <-last; a.Verdict != egress.Conforms || d.Verdict != egress.Conforms {
			t.Errorf("%+v, %+v", a, d)
		}
		if _, ran := f.lanes["c"]; ran {
			t.Error("c ran though nobody waited for it")
		}
		s.Close()
	})
}

func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := New(f, f.workers(1), nil)
		go s.Run(t.Context())
		var heard []string
		<-s.Submit(t.Context(), plain("a"), func(e Event) { heard = append(heard, e.Case+" "+string(e.Stage)) })
		if strings.Join(heard, ", ") != "a started, a before, a verdict" {
			t.Errorf("heard %v", heard)
		}
		s.Close()
	})
}

func TestConflicts(t *testing.T) {
	a := isolation.Footprint{Holds: []string{"x"}, Uses: []string{"y"}}
	for name, x := range map[string]struct {
		b    isolation.Footprint
		want bool
	}{
		"nothing":    {isolation.Footprint{}, false},
		"alone":      {isolation.Footprint{Alone: "why"}, true},
		"both hold":  {isolation.Footprint{Holds: []string{"x"}}, true},
		"it uses":    {isolation.Footprint{Uses: []string{"x"}}, true},
		"it holds":   {isolation.Footprint{Holds: []string{"y"}}, true},
		"both use":   {isolation.Footprint{Uses: []string{"y"}}, false},
		"other ones": {isolation.Footprint{Holds: []string{"z"}, Uses: []string{"z"}}, false},
	} {
		if a.Conflicts(x.b) != x.want || x.b.Conflicts(a) != x.want {
			t.Errorf("%s", name)
		}
	}
}
