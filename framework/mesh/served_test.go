package mesh

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Which istiod serves a proxy is what the istiods say, and not to whom it was bound.
func TestServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFakeMesh()
		a.version = "1.31.0-unknown-Clean"
		c, _ := changer(t, f)
		next, b := newFakeMesh()
		b.version, b.proxies = "1.30-alpha.1-5f3a-Modified", map[string]*fakeProxy{"q.n": {}}
		c.Join("next", next.istiod(t))
		c.Bind("p.n", "next")
		got, err := c.Serving(t.Context())
		want := map[string]Control{"p.n": {DefaultRevision, "1.31.0"}, "q.n": {"next", "1.30-alpha.1"}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v %v", got, err)
		}
		next.after(0, func() { b.away = true })
		synctest.Wait()
		if got, err = c.Serving(t.Context()); err == nil || got["p.n"].Version != "1.31.0" || len(got) != 1 {
			t.Errorf("one istiod does not answer: %v %v", got, err)
		}
	})
}

// An istiod without metrics tells no version, and still whom it serves.
func TestServingWithoutVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFakeMesh()
		a.noMetrics = true
		c, _ := changer(t, f)
		if got, err := c.Serving(t.Context()); err != nil || got["p.n"] != (Control{Revision: DefaultRevision}) {
			t.Errorf("%v %v", got, err)
		}
	})
}

// A proxy is waited for until its own istiod knows it, whatever that says of it, and whether it answers all the time.
func TestConnected(t *testing.T) {
	const within = 45 * time.Second
	for name, x := range map[string]struct {
		proxies []string
		happens func(c *Changer, first, next *fakeMesh, a, b *fakeReplica)
		took    time.Duration // at least
		err     []string
	}{
		"it is connected":      {proxies: []string{"p.n", "q.n"}},
		"there is none":        {},
		"it is not up to date": {proxies: []string{"p.n"}, happens: func(_ *Changer, _, _ *fakeMesh, a, _ *fakeReplica) { a.proxies["p.n"].acked = 1 }},
		"it comes after a pause": {proxies: []string{"late.n"}, took: 30 * time.Second, happens: func(_ *Changer, first, _ *fakeMesh, a, _ *fakeReplica) {
			first.after(30*time.Second, func() { a.proxies["late.n"] = &fakeProxy{sent: 1} })
		}},
		"istiod is restarted": {proxies: []string{"p.n"}, took: 5 * time.Second, happens: func(_ *Changer, first, _ *fakeMesh, a, _ *fakeReplica) {
			a.away = true
			first.after(5*time.Second, func() { a.away = false })
		}},
		"a further replica knows it": {proxies: []string{"late.n"}, took: time.Second, happens: func(_ *Changer, first, _ *fakeMesh, _, _ *fakeReplica) {
			time.AfterFunc(time.Second, func() { first.add("istiod-b", 5, "late.n") })
		}},
		"it never comes":    {proxies: []string{"p.n", "gone.n"}, took: within, err: []string{"the istiod of revision default", "not connected to it after 45s: gone.n: ", "deadline exceeded"}},
		"two never come":    {proxies: []string{"x.n", "gone.n"}, took: within, err: []string{": x.n, gone.n: "}},
		"istiod stays away": {proxies: []string{"p.n"}, took: within, err: []string{": p.n: ", "no ready pod"}, happens: func(_ *Changer, _, _ *fakeMesh, a, _ *fakeReplica) { a.away = true }},
		"another one has it": {proxies: []string{"mine.n"}, took: within, err: []string{"the istiod of revision next", ": mine.n: "}, happens: func(c *Changer, _, _ *fakeMesh, a, _ *fakeReplica) {
			a.proxies["mine.n"] = &fakeProxy{}
			c.Bind("mine.n", "next")
		}},
		"it was sent away": {proxies: []string{"p.n", "q.n"}, happens: func(c *Changer, _, _ *fakeMesh, _, b *fakeReplica) { b.away = true; c.Away("next", true) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, first, next, a, b := two(t)
				defer func() { <-time.After(time.Minute) }() // a question that is under way ends too
				if x.happens != nil {
					x.happens(c, first, next, a, b)
				}
				start := time.Now()
				err := c.Connected(t.Context(), x.proxies, within)
				if (err == nil) != (len(x.err) == 0) {
					t.Fatal(err)
				}
				for _, want := range x.err {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v lacks %q", err, want)
					}
				}
				if took := time.Since(start); took < x.took || took > x.took+5*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{"1.31.0-unknown-Clean\n": "1.31.0", "1.32-alpha.9-abc-Modified": "1.32-alpha.9"} {
		if got, err := parseVersion([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1.31.0", "unknown-Clean", "--"} {
		if got, err := parseVersion([]byte(text)); err == nil || !strings.Contains(err.Error(), "version page") {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}
