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
