package egress

import (
	"strings"
	"testing"
)

func TestRevisionCheck(t *testing.T) {
	for want, r := range map[string]Revision{
		"":                         {Name: "canary", CompatibilityVersion: "1.28", Environment: map[string]string{"PILOT_HTTP10": "true"}},
		"lower-case words":         {Name: "Canary"},
		"30 characters":            {Name: strings.Repeat("a", 31)},
		"every cluster has":        {Name: "default"},
		"not of the form 1.31":     {Name: "canary", CompatibilityVersion: "old"},
		`version: "N"`:             {Name: "canary", Version: "N"},
		`proxy: "1.30.4"`:          {Name: "canary", Version: "own", Proxy: "1.30.4"},
		"is no name of a variable": {Name: "canary", Environment: map[string]string{"PILOT HTTP10": "true"}},
	} {
		if err := r.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestRevisionsOf(t *testing.T) {
	bound := func(name, namespace, revision string, as *Revision) Client {
		c := Client{Name: name, Namespace: namespace, Revision: revision, Istiod: as}
		c.Default()
		return c
	}
	flags := &Revision{Name: "flags", Environment: map[string]string{"A": "1"}}
	for want, clients := range map[string][]Client{
		"":                         {bound("a", "", "flags", flags), bound("b", "", "flags", &Revision{Name: "flags", Environment: map[string]string{"A": "1"}}), bound("c", "", "", nil)},
		"nobody describes":         {bound("a", "", "flags", nil)},
		"two ways":                 {bound("a", "", "flags", flags), bound("b", "", "flags", &Revision{Name: "flags", Environment: map[string]string{"A": "1"}, Proxy: "N-1"})},
		"described in two ways":    {bound("a", "", "flags", flags), bound("b", "", "flags", &Revision{Name: "flags"})},
		"share namespace together": {bound("a", "together", "flags", flags), bound("b", "together", "", nil)},
	} {
		got, err := RevisionsOf(clients)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if err == nil && (len(got) != 1 || got["flags"].Environment["A"] != "1") {
			t.Errorf("got %v", got)
		}
	}
}

// Versions may be counted from the cluster's own.
func TestRevisionVersions(t *testing.T) {
	for want, x := range map[string]struct {
		cluster string
		r       Revision
	}{
		"1.31 1.31":                {"1.31", Revision{}},
		"1.30 1.30":                {"1.31", Revision{Version: "N-1"}},
		"1.31 1.29":                {"1.31", Revision{Proxy: "N-2"}},
		"1.29 1.30":                {"1.30", Revision{Version: "1.29", Proxy: "own"}},
		"1.32 1.28":                {"1.31.2", Revision{Version: "N+1", Proxy: "1.28"}},
		"no Istio is N-1 of 1.0":   {"1.0", Revision{Version: "N-1"}},
		"no Istio is N-9 of 1.8":   {"1.8", Revision{Proxy: "N-9"}},
		"count from the cluster's": {"main", Revision{Proxy: "N-1"}},
	} {
		istiod, proxy, err := x.r.Versions(x.cluster)
		if got := istiod + " " + proxy; err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v in a cluster of %s: %s %v, wanted %s", x.r, x.cluster, got, err, want)
		}
	}
}
