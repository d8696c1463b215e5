package mesh

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// two is a Changer over two istiods: the default one serves proxy p.n, that of revision "next" serves q.n.
func two(t *testing.T) (c *Changer, first, next *fakeMesh, a, b *fakeReplica) {
	t.Helper()
	first, a = newFakeMesh()
	next, b = newFakeMesh()
	b.proxies = map[string]*fakeProxy{"q.n": {sent: 5, acked: 5}}
	c, _ = changer(t, first)
	c.Join("next", next.istiod(t))
	c.Bind("q.n", "next")
	return c, first, next, a, b
}

// write is a mutation for some proxies that makes objects; does is what the istiods do about it.
func write(proxies []string, does func(), objs ...*fixture.Object) Mutation {
	return Mutation{Proxies: proxies, Write: func(context.Context) (Written, error) {
		does()
		return Written{Made: objs}, nil
	}}
}

// Each proxy's own istiod says whether it has a change, and no other one can.
func TestDoOnTwo(t *testing.T) {
	const ms = time.Millisecond
	mine := entry("a")
	mine.SetLabels(map[string]string{egress.RevisionLabel: "next"})
	for name, x := range map[string]struct {
		proxies     []string
		o           *fixture.Object
		first, next time.Duration // when each istiod sees the change; 0 for never
		away        bool
		acked       bool
		earliest    time.Duration
		note, err   string
	}{
		"the other one is faster":          {proxies: []string{"q.n"}, o: entry("a"), first: 10 * ms, next: 900 * ms, acked: true, earliest: 1000 * ms},
		"the default one is slower":        {proxies: []string{"q.n"}, o: entry("a"), first: 2 * time.Second, next: 10 * ms, acked: true, earliest: 120 * ms},
		"on both":                          {proxies: []string{"p.n", "q.n"}, o: entry("a"), first: 10 * ms, next: 700 * ms, acked: true, earliest: 800 * ms},
		"on both, the other way round":     {proxies: []string{"p.n", "q.n"}, o: entry("a"), first: 700 * ms, next: 10 * ms, acked: true, earliest: 800 * ms},
		"its own one never sees it":        {proxies: []string{"q.n"}, o: entry("a"), first: 10 * ms, err: "istiod of revision next: wait until istiod has seen the change"},
		"the default one never sees it":    {proxies: []string{"q.n"}, o: entry("a"), next: 10 * ms, acked: true, earliest: 120 * ms},
		"labelled for it":                  {proxies: []string{"q.n"}, o: mine, next: 10 * ms, acked: true, earliest: 120 * ms},
		"labelled for the other one alone": {proxies: []string{"p.n"}, o: mine, next: 10 * ms, acked: true},
		"its own one is away":              {proxies: []string{"q.n"}, o: entry("a"), first: 10 * ms, away: true, note: "the istiod of revision next is away, so nobody can tell what q.n has"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, first, next, a, b := two(t)
				defer func() { <-time.After(time.Minute) }() // the other istiod's part ends too
				c.Away("next", x.away)
				start := time.Now()
				s, err := c.Do(t.Context(), write(x.proxies, func() {
					if x.first > 0 {
						first.honest(a, x.first, x.o)
					}
					if x.next > 0 {
						next.honest(b, x.next, x.o)
					}
				}, x.o))
				if x.err != "" {
					if err == nil || !strings.Contains(err.Error(), x.err) {
						t.Errorf("got %v, wanted %q", err, x.err)
					}
					return
				}
				if err != nil || s.Acknowledged != x.acked || !strings.Contains(s.Note, x.note) || (s.Note == "") != (x.note == "") {
					t.Errorf("%+v %v", s, err)
				}
				if passed := time.Since(start); passed < x.earliest || passed > x.earliest+time.Second {
					t.Errorf("done after %s, and the proxies had the change after %s", passed, x.earliest)
				}
			})
		})
	}
}

// A gateway is asked for at the istiod that serves it, which nobody has told but its pod. One of an istiod that is none of the
// mesh's is the default one's, which does not know it.
func TestGatewayOnTwo(t *testing.T) {
	const ms = time.Millisecond
	deployment := &fixture.Object{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "gw", "namespace": "n"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "gw"}},
			"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"inject.istio.io/templates": "gateway"}}, "spec": map[string]any{"containers": []any{}}},
		},
	}}
	for name, x := range map[string]struct {
		revision string
		serves   string // "first" or "next"
		away     bool
		err      string
		note     string
	}{
		"of the further one":       {revision: "next", serves: "next"},
		"of the default one":       {revision: DefaultRevision, serves: "first"},
		"it does not say":          {serves: "first"},
		"of nobody's":              {revision: "elsewhere", serves: "first"},
		"it is connected to none":  {revision: "next", err: "istiod of revision next: the proxy gw.n is connected to no istiod"},
		"its istiod was sent away": {revision: "next", away: true, note: "the istiod of revision next is away, so nobody can tell what gw.n has"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, first, next, a, b := two(t)
				defer func() { <-time.After(time.Minute) }()
				c.Away("next", x.away)
				c.Follow(&Gateways{limits: limits.Default(), changed: make(chan struct{}), known: []*gateway{
					{Gateway: Gateway{Namespace: "n", Pod: "gw", Log: "n/gw", Labels: map[string]string{"app": "gw"}, Revision: x.revision, Ready: true}},
				}})
				switch x.serves {
				case "first":
					a.proxies["gw.n"] = &fakeProxy{sent: 5, acked: 5}
				case "next":
					b.proxies["gw.n"] = &fakeProxy{sent: 5, acked: 5}
				}
				first.honest(a, 10*ms)
				next.honest(b, 10*ms)
				s, err := c.AwaitGateways(t.Context(), c.planes.gateways, []*fixture.Object{deployment}, nil)
				if x.err != "" {
					if err == nil || !strings.Contains(err.Error(), x.err) {
						t.Errorf("got %v, wanted %q", err, x.err)
					}
					return
				}
				if err != nil || s.Acknowledged != (x.note == "") || !strings.Contains(s.Note, x.note) {
					t.Errorf("%+v %v", s, err)
				}
			})
		})
	}
}

// The next change waits until every istiod has computed the last one: each of them may lose a deletion beside a push.
func TestBatchOnTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, next, a, b := two(t)
		defer func() { <-time.After(time.Minute) }()
		const ms = time.Millisecond
		start := time.Now()
		var second time.Duration
		if _, err := c.Do(t.Context(), write([]string{"p.n"}, func() {
			first.honest(a, 10*ms, entry("a"))
			next.honest(b, 1500*ms, entry("a"))
		}, entry("a"))); err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(start); passed > time.Second {
			t.Errorf("the case of the default istiod waited %s, for the other one", passed)
		}
		if _, err := c.Do(t.Context(), write([]string{"p.n"}, func() {
			second = time.Since(start)
			first.honest(a, 10*ms, entry("b"))
			next.honest(b, 10*ms, entry("b"))
		}, entry("b"))); err != nil {
			t.Fatal(err)
		}
		if second < 1610*ms {
			t.Errorf("the next change was written after %s, beside the other istiod's push", second)
		}
	})
}

// A further istiod that does not answer is the business of those alone whose proxies it serves.
func TestFurtherDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, _, a, b := two(t)
		defer func() { <-time.After(time.Minute) }()
		b.away = true
		s, err := c.Do(t.Context(), write([]string{"p.n"}, func() { first.honest(a, 10*time.Millisecond, entry("a")) }, entry("a")))
		if err != nil || !s.Acknowledged {
			t.Errorf("%+v %v", s, err)
		}
		if _, err := c.Do(t.Context(), write([]string{"q.n"}, func() { first.honest(a, 10*time.Millisecond, entry("b")) }, entry("b"))); err == nil {
			t.Error("the proxy of an istiod that does not answer has a change")
		}
		c.Leave("next")
		s, err = c.Do(t.Context(), write([]string{"p.n"}, func() { first.honest(a, 10*time.Millisecond, entry("c")) }, entry("c")))
		if err != nil || !s.Acknowledged {
			t.Errorf("after it has left: %+v %v", s, err)
		}
	})
}

// The mesh configuration is that of every istiod, each with what it was installed with, and all of them must work with it.
func TestConfigOnTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, first, next, a, b := two(t)
		defer func() { <-time.After(time.Minute) }()
		own := &apiServer{mu: &next.mu, config: Config{}}
		if err := c.overlay.Join(t.Context(), "next", Config{"accessLogFile": "of next", "discoveryAddress": "istiod-next"}, own); err != nil {
			t.Fatal(err)
		}
		arrives := func(text string) { // later than the Changer writes it, which paces its questions
			first.after(100*time.Millisecond, func() { a.mesh = text })
			first.after(210*time.Millisecond, func() { a.push("p.n"); a.ack() })
			next.after(time.Second, func() { b.mesh = text })
			next.after(1120*time.Millisecond, func() { b.push("q.n"); b.ack() })
		}
		for _, set := range []func(Config) error{
			func(x Config) error {
				reached, err := c.SetBase(t.Context(), x, []string{"p.n", "q.n", "gone.n"})
				if reached {
					t.Error("a proxy that is gone has the base")
				}
				return err
			},
			func(x Config) error {
				_, err := c.Do(t.Context(), Mutation{Proxies: []string{"p.n", "q.n"}, Config: x})
				return err
			},
		} {
			arrives(time.Now().String())
			start := time.Now()
			if err := set(Config{"accessLogFile": time.Now().String()}); err != nil {
				t.Fatal(err)
			}
			if passed := time.Since(start); passed < 1100*time.Millisecond {
				t.Errorf("done after %s, and the other istiod did not work with it", passed)
			}
			if own.config["discoveryAddress"] != "istiod-next" || own.config["accessLogFile"] == "of next" {
				t.Errorf("the other istiod has %v", own.config)
			}
		}
		c.overlay.Leave("next")
		wrote := own.wrote
		if _, err := c.overlay.set(t.Context(), Config{}); err != nil || own.wrote != wrote {
			t.Errorf("written to one that has left: %v", err)
		}
	})
}
