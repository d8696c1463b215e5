package egress

import (
	"strings"
	"testing"
)

// A client whose commands run in an init container says whether its sidecar runs beside it.
func TestInitClient(t *testing.T) {
	native := func(v string) map[string]string { return map[string]string{NativeSidecarAnnotation: v} }
	for name, x := range map[string]struct {
		c       Client
		proxied bool
		wrong   string
	}{
		"native sidecar":             {Client{Annotations: native("true")}, true, ""},
		"a sidecar that comes later": {Client{Annotations: native("false"), Escapes: true}, false, ""},
		"one that is said to see it": {Client{Annotations: native("false")}, false, "escapes must be set"},
		"nobody knows which":         {Client{}, true, "annotate it"},
		"without sidecar":            {Client{Injection: NoInjection}, false, ""},
		"it has a Service":           {Client{Annotations: native("true"), Service: true}, true, "no Service"},
		"nothing runs in it":         {Client{Annotations: native("true"), Manifest: "other.yaml"}, true, "it needs a container"},
	} {
		x.c.Name, x.c.Init = "c", true
		x.c.Default()
		err := x.c.Check()
		if x.c.Proxied() != x.proxied || (err == nil) != (x.wrong == "") || err != nil && !strings.Contains(err.Error(), x.wrong) {
			t.Errorf("%s: proxied %t, %v", name, x.c.Proxied(), err)
		}
	}
}
