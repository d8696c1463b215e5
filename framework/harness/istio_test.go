package harness

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/provider"
)

// running is a cluster with an Istio.
type running struct {
	cluster.Cluster
	facts cluster.Facts
}

func (running) Name() string           { return "mine" }
func (r running) Facts() cluster.Facts { return r.facts }

// A running cluster with another Istio than the one that was asked for is refused.
func TestSameIstio(t *testing.T) {
	source, releases := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": "module istio.io/istio\n", "VERSION": "1.31\n"} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	local, err := components.Find(t.Context(), components.Options{IstioSource: source, Releases: releases})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		version, tag  string // of the cluster
		istio, source string // asked for
		same          bool
	}{
		"nothing was asked for":      {"1.29", "1.29.0", "", "", true},
		"its minor version":          {"1.31", "1.31.0", "1.31", "", true},
		"its release":                {"1.31", "1.31.0", "1.31.0", "", true},
		"another version":            {"1.31", "1.31.0", "1.29", "", false},
		"another tag":                {"1.31", "1.31.0", "1.31.4", "", false},
		"that tag":                   {"1.31", "1.31.4", "1.31.4", "", true},
		"the minor version of a tag": {"1.31", "1.31.4", "1.31", "", true},
		"a source, and a release":    {"1.31", "1.31.0", "", source, false},
		"that source":                {"1.31", local.Release, "", source, true},
		"an earlier state of it":     {"1.31", "1.31.0-local.0123456789ab", "1.31", source, false},
	} {
		c := running{facts: cluster.Facts{Istio: x.version, IstioTag: x.tag}}
		err := sameIstio(t.Context(), c, Options{Components: components.Options{Istio: x.istio, IstioSource: x.source, Releases: releases}})
		if (err == nil) != x.same || err != nil && !strings.Contains(err.Error(), "take it down, or choose another --name") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = sameIstio(t.Context(), running{}, Options{Components: components.Options{Istio: "0.8", Releases: releases}})
	if err == nil || !strings.Contains(err.Error(), "not in the component catalogue") {
		t.Errorf("an unknown version: %v", err)
	}
	if err := sameIstio(t.Context(), running{}, Options{Components: components.Options{IstioSource: filepath.Join(source, "missing"), Releases: releases}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a source that is not there: %v", err)
	}
}

func TestIstioSourceElsewhere(t *testing.T) {
	_, err := Open(t.Context(), Options{Provider: provider.Existing, Components: components.Options{IstioSource: t.TempDir()}})
	if err == nil || !strings.Contains(err.Error(), "cannot be installed on an existing cluster") {
		t.Errorf("got %v", err)
	}
}
