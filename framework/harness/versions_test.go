package harness

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/report"
)

// carries is a cluster of 1.31 with the images of further versions.
func carries(more ...string) cluster.Facts {
	f := cluster.Facts{Istio: "1.31", IstioTag: "1.31.0"}
	for _, v := range more {
		f.Also = append(f.Also, cluster.Istio{Version: v, Tag: v + ".4"})
	}
	return f
}

// A case is skipped where the cluster lacks an image of its clients, and the reason says how to get it.
func TestLacksVersions(t *testing.T) {
	all := []egress.Client{
		{Name: "plain"},
		{Name: "old", Istiod: &egress.Revision{Name: "proxy-old", Proxy: "N-1"}},
		{Name: "new", Istiod: &egress.Revision{Name: "istiod-old", Version: "N-2", Proxy: "own"}},
		{Name: "same", Istiod: &egress.Revision{Name: "flags", Version: "1.31"}},
	}
	for name, x := range map[string]struct {
		client string
		facts  cluster.Facts
		want   string
	}{
		"no revision":           {"plain", carries(), ""},
		"the cluster's own":     {"same", carries(), ""},
		"no image of the proxy": {"old", carries("1.29"), "the proxy of revision proxy-old is Istio 1.30, and the cluster has only images of 1.31, 1.29; one that is made with --also-istio 1.30 has them"},
		"it has it":             {"old", carries("1.29", "1.30"), ""},
		"no image of istiod":    {"new", carries("1.30"), "the istiod of revision istiod-old is Istio 1.29"},
		"it has that, too":      {"new", carries("1.29"), ""},
		"unknown to the list":   {"nobody", carries(), ""},
		"of somebody else":      {"old", cluster.Facts{Istio: "unknown"}, "count from the cluster's own Istio"},
	} {
		why, err := lacksVersions{x.facts, all}.skipReason(egress.Case{Probes: []egress.Probe{{From: x.client}}})
		if err != nil || (why == "") != (x.want == "") || !strings.Contains(why, x.want) {
			t.Errorf("%s: %q %v, wanted %q", name, why, err, x.want)
		}
	}
}

func TestVersionsFor(t *testing.T) {
	all := []egress.Client{
		{Name: "plain"},
		{Name: "old", Istiod: &egress.Revision{Name: "proxy-old", Proxy: "N-1"}},
		{Name: "new", Istiod: &egress.Revision{Name: "istiod-old", Version: "N-2", Proxy: "own"}},
		{Name: "flags", Istiod: &egress.Revision{Name: "flags"}},
	}
	cases := func(clients ...string) []egress.Case {
		var out []egress.Case
		for _, n := range clients {
			out = append(out, egress.Case{Probes: []egress.Probe{{From: n}}})
		}
		return out
	}
	for want, x := range map[string][]egress.Case{"": cases("plain", "flags", "nobody"), "1.30": cases("old", "plain", "old"), "1.29 1.30": cases("old", "new")} {
		if got := strings.Join(versionsFor(x, all, "1.31"), " "); got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	}
	if got := versionsFor(cases("old"), all, "unknown"); got != nil {
		t.Errorf("of an unknown version: %v", got)
	}
}

func TestVersionsOf(t *testing.T) {
	f := carries("1.29", "1.30")
	i, p, err := versionsOf(egress.Revision{Name: "x", Version: "N-1", Proxy: "1.29"}, f)
	if err != nil || i.Tag != "1.30.4" || p.Tag != "1.29.4" {
		t.Errorf("%v %v %v", i, p, err)
	}
	if n := newest(f); n.Tag != "1.31.0" {
		t.Errorf("the newest is %s", n.Tag)
	}
	if n := newest(carries("1.32", "1.30")); n.Tag != "1.32.4" {
		t.Errorf("the newest is %s", n.Tag)
	}
}

// A running cluster without the further images is refused.
func TestSameAlso(t *testing.T) {
	c := running{facts: carries("1.30")}
	for _, ok := range [][]string{nil, {"1.30"}, {"1.30.4"}, {"1.31"}} {
		if err := sameIstio(t.Context(), c, Options{Components: components.Options{Also: ok}}); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	err := sameIstio(t.Context(), c, Options{Components: components.Options{Also: []string{"1.30", "1.29"}}})
	if err == nil || !strings.Contains(err.Error(), "no images of Istio 1.29, only of 1.31, 1.30: take it down") {
		t.Errorf("%v", err)
	}
}

const serverInfo = `{"version": "2d1f7f9d1b5d35b2a/1.37.0/Clean/RELEASE/BoringSSL", "node": {"id": "sidecar~10.0.0.1", "metadata": {"LABELS": {"version": "v1"}, "ISTIO_VERSION": "1.29.0"}}}`

// What a client is comes from its proxy and from whoever serves it, and stays when that one is gone.
func TestServed(t *testing.T) {
	v := clientVersions{}
	p := &pods.Pod{Client: egress.Client{Name: "old"}}
	want := report.Client{Name: "old", Proxy: "1.29.0", Envoy: "1.37.0", Revision: "canary", Istiod: "1.31.0"}
	for _, by := range []mesh.Control{{Revision: "canary", Version: "1.31.0"}, {}} {
		if err := v.add(p, serverInfo, by); err != nil || len(v.clients()) != 1 || v.clients()[0] != want {
			t.Errorf("%v %v", v.clients(), err)
		}
	}
	for _, bad := range []string{"", "no proxy", `{"version": "1.37.0"}`, `{"version": "a/1.37.0/Clean", "node": {}}`} {
		if err := v.add(p, bad, mesh.Control{}); err == nil || !strings.Contains(err.Error(), "/server_info") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
