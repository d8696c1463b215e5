package verify

import (
	"strings"
	"testing"
)

// Pods that run without the sidecar that their stand-in has are told, workload by workload; where the stand-in has none, that is what
// is told.
func TestNotRestarted(t *testing.T) {
	for name, x := range map[string]struct {
		running  Running
		captured bool
		want     string
	}{
		"some of them":    {Running{3, 2}, true, "2 of 3 running pods of shop/cart have no sidecar; its stand-in has one"},
		"all have one":    {Running{3, 0}, true, ""},
		"the stand-in is": {Running{3, 3}, false, ""},
		"nothing runs":    {Running{}, true, ""},
	} {
		set := clustered(t, nsShop+cart+deployment("shop", "pay", "app: pay", "", "")+entryWide)
		m := NewModel(set, ModelOptions{Running: map[string]Running{"Deployment shop/cart": x.running}})
		var heard []Heard
		for _, c := range m.Classes(false) {
			h := Heard{Class: c}
			h.Around.Captured = x.captured
			heard = append(heard, h)
		}
		var got []string
		for _, s := range m.Surprises(&Outside{}, heard, nil) {
			if s.Name == NotRestarted {
				got = append(got, s.Proof...)
				if s.Objects[0].String() != "Deployment shop/cart" {
					t.Errorf("%s: %s", name, s.Objects)
				}
			}
		}
		if strings.Join(got, "|") != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

func TestHasSidecar(t *testing.T) {
	for spec, want := range map[string]bool{
		"containers: [{name: c}]": false, "containers: [{name: c}, {name: istio-proxy}]": true, "initContainers: [{name: istio-proxy}], containers: [{name: c}]": true,
		"initContainers: [{name: istio-init}], containers: [{name: c}]": false,
	} {
		pod := clustered(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {"+spec+"}\n").Objects[0]
		if HasSidecar(pod) != want {
			t.Errorf("%s: %t", spec, !want)
		}
	}
}
