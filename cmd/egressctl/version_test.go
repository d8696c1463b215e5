package main

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/components"
)

func TestVersion(t *testing.T) {
	code, out, _ := egressctl(t, "version", "--json")
	var a buildInfo
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != exitOK {
		t.Fatalf("exit %d, %v in %s", code, err, out)
	}
	if a.Version == "" || a.Go != runtime.Version() || len(a.Istio) < 4 || a.Istio[0].Release == "" {
		t.Errorf("%+v", a)
	}
	code, out, _ = egressctl(t, "version")
	if code != exitOK || !strings.Contains(out, a.Go) || !strings.Contains(out, a.Istio[0].Release) || strings.Count(out, "the default") != 1 {
		t.Errorf("exit %d, %s", code, out)
	}
}

// The linker's word is stronger than the go command's, which is stronger than nothing.
func TestBuildInfoOf(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.2.0"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	module := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}}
	}
	for name, x := range map[string]struct {
		info            *debug.BuildInfo
		version, commit string // of the linker
		want            string
	}{
		"linker":                    {info, "v1.0.0", "def", "egressctl v1.0.0, commit def\n"},
		"go install of a tag":       {module("v0.2.0"), "", "", "egressctl v0.2.0, the commit with that tag\n"},
		"go install of a branch":    {module("v0.2.1-0.20260826214018-9739e10eb9d7"), "", "", "egressctl v0.2.1-0.20260826214018-9739e10eb9d7, commit 9739e10eb9d7\n"},
		"go install before any tag": {module("v0.0.0-20260826214018-9739e10eb9d7"), "", "", "egressctl v0.0.0-20260826214018-9739e10eb9d7, commit 9739e10eb9d7\n"},
		"go build without git":      {module("(devel)"), "", "", "egressctl (devel), commit unknown: the build has noted neither a version nor a commit; build in a checkout with git, or go install a version\n"},
		"checkout":                  {info, "", "", "egressctl v0.2.0, commit abc with changes\n"},
		"nothing":                   {nil, "", "", "egressctl (devel), commit unknown: the build has noted neither a version nor a commit; "},
	} {
		t.Run(name, func(t *testing.T) {
			version, commit = x.version, x.commit
			defer func() { version, commit = "", "" }()
			var out strings.Builder
			if err := buildInfoOf(x.info, []components.Istio{{Version: "1.31", Release: "1.31.1", Envoy: "1.39.0"}}).write(&out); err != nil || !strings.HasPrefix(out.String(), x.want) {
				t.Errorf("%v %q", err, out.String())
			}
		})
	}
}
