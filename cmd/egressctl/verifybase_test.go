package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// The former version has the mesh settings and values of its commit.
func TestFormerSettings(t *testing.T) {
	repo, outside := t.TempDir(), t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write := func(dir, name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const closed, open = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", "outboundTrafficPolicy: {mode: ALLOW_ANY}\n"
	mesh, values := write(repo, "mesh.yaml", closed), write(repo, "prod.yaml", "space: before\n")
	write(repo, "chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")
	write(repo, "chart/templates/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: '{{ .Values.space }}'}\n")
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "x")
	write(repo, "mesh.yaml", open)
	write(repo, "prod.yaml", "space: now\n")
	fresh, elsewhere := write(repo, "new.yaml", "space: new\n"), write(outside, "mesh.yaml", open)
	chart := []string{filepath.Join(repo, "chart")}
	for name, x := range map[string]struct {
		mesh                    string
		values                  []string
		policy                  egress.Policy
		space, mistakes, notice string
	}{
		"both are in the repository": {mesh, []string{values}, egress.RegistryOnly, "before", "", ""},
		"values that came later":     {mesh, []string{values, fresh}, egress.RegistryOnly, "before", "", "does not have it"},
		"settings that have none":    {elsewhere, []string{values}, egress.AllowAny, "before", "in no Git repository", ""},
	} {
		v := &verifyFlags{base: "main", meshConfig: x.mesh, read: manifest.Options{Values: x.values, Namespace: "default"}}
		was, err := v.former(t.Context(), chart)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := false
		for _, n := range was.model.Namespaces {
			found = found || n.Name == x.space
		}
		mistakes, notices := was.model.Mistakes.Error(), was.notices.Error()
		if was.model.Mesh.Policy != x.policy || !found || !strings.Contains(mistakes, x.mistakes) || (mistakes == "") != (x.mistakes == "") || !strings.Contains(notices, x.notice) || (notices == "") != (x.notice == "") {
			t.Errorf("%s: policy %s, %v, mistakes %q, notices %q", name, was.model.Mesh.Policy, was.model.Namespaces, mistakes, notices)
		}
	}
	v := &verifyFlags{base: "main", meshConfig: mesh, read: manifest.Options{Values: []string{values}}}
	if was, err := v.former(t.Context(), chart); err != nil || was.model.Mesh.Where != "main:mesh.yaml:1" {
		t.Errorf("%v %+v", err, was)
	}
}
