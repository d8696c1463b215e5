package mesh

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
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
