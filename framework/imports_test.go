// Package framework has no code of its own; its test guards the direction of imports.
package framework

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// tiers, lowest first: a package may import only packages of lower tiers, and those listed beside it.
var tiers = [][]string{
	{"framework/probe/wire"},
	{"framework/egress", "framework/limits", "framework/probe", "framework/lockfile", "framework/procgroup", "framework/input", "framework/printable", "framework/terminal", "framework/terminal/terminaltest", "framework/report/csp", "framework/report/junit", "framework/report/page", "fixtures", "samples", "docs"},
	{"framework/internet", "framework/report/reporttest", "framework/report/browsertest"},
	{"framework/casefile", "framework/manifest", "framework/pages", "framework/isolation", "framework/components", "framework/fixture", "framework/kube", "framework/why"},
	{"framework/cluster", "framework/pods", "framework/check", "framework/release", "framework/verify"},
	{"framework/mesh", "framework/enforcer", "framework/snapshot"},
	{"framework/engine", "framework/schedule", "framework/existing", "framework/live", "framework/provider/internal/embedded", "framework/provider/internal/existing", "framework/provider/internal/kind"},
	{"framework/report", "framework/provider", "framework/migrate", "framework/upgrade"},
	{"framework/harness", "framework/matchers", "framework/compare", "framework/report/html", "framework/upgrade/html"},
	{"framework/remote", "suites", "framework/compare/html"},
	{"cmd/egressctl", "samples/e2e", "scripts/world", "scripts/release"},
}

func tierOf(path string) int {
	return slices.IndexFunc(tiers, func(t []string) bool { return slices.Contains(t, path) })
}

func TestImportsPointDown(t *testing.T) {
	path, err := exec.CommandContext(t.Context(), "go", "list", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSpace(string(path)) + "/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == module+"framework" || p.ImportPath == module+"samples/egresshttpbin" || p.ImportPath == module+"framework/probe/agent" {
			continue
		}
		own := tierOf(strings.TrimPrefix(p.ImportPath, module))
		if own < 0 {
			t.Errorf("%s is in no tier: add it to this test and to docs/architecture.md", p.ImportPath)
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && tierOf(ours) >= own {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, i)
			}
		}
	}
}
