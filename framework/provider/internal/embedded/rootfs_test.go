//go:build linux

package embedded

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
)

// makeTree makes files, with the folders above them.
func makeTree(t *testing.T, root string, files ...string) {
	t.Helper()
	for _, f := range files {
		f = filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte("x"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// What is large is shared and not copied; what a cluster changes is a copy and no link, or it would be changed for all.
func TestCopyRoot(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "dst")
	shared, own, sticky := filepath.Join(snapshots, "1"), filepath.Join(snapshots, "2"), filepath.Join(snapshots, "2", "tmp")
	makeTree(t, src, "meta.db", filepath.Join(blobs, "sha256/a"), filepath.Join(shared, "fs/usr/bin/curl"), filepath.Join(own, "fs", components.TrustMarker))
	if err := os.Mkdir(filepath.Join(src, sticky), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, sticky), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(blobs, "sha256/a")
	dirs, err := sharedParts(src)
	if err != nil || !slices.Equal(dirs, []string{blob, shared}) {
		t.Errorf("shared: %v %v", dirs, err)
	}
	if err := copyRoot(src, dst); err != nil {
		t.Fatal(err)
	}
	if in, err := os.ReadDir(filepath.Join(dst, shared)); err != nil || len(in) > 0 {
		t.Errorf("%s is a mount point, and must be an empty folder: %v %v", shared, in, err)
	}
	if st, err := os.Stat(filepath.Join(dst, blob)); err != nil || st.Size() > 0 {
		t.Errorf("%s is a mount point, and must be an empty file: %v %v", blob, st, err)
	}
	if err := os.WriteFile(filepath.Join(dst, blobs, "sha256/new"), nil, 0o600); err != nil {
		t.Errorf("a cluster must have room for further archives: %v", err)
	}
	for _, f := range []string{"meta.db", filepath.Join(own, "fs", components.TrustMarker)} {
		a, err1 := os.Lstat(filepath.Join(src, f))
		b, err2 := os.Lstat(filepath.Join(dst, f))
		if err1 != nil || err2 != nil || os.SameFile(a, b) || a.Mode() != b.Mode() || a.Size() != b.Size() {
			t.Errorf("%s must be a copy: %v %v", f, err1, err2)
		}
	}
	if st, err := os.Stat(filepath.Join(dst, sticky)); err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
		t.Errorf("%s: %v", sticky, err)
	}
	if to, err := os.Readlink(filepath.Join(dst, "link")); err != nil || to != "nowhere" {
		t.Errorf("link: %q %v", to, err)
	}
}

func TestOpenLog(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "logs/real.log", "secret")
	for name, to := range map[string]string{"out": "../secret", "absolute": filepath.Join(dir, "secret"), "inside": "real.log", "folder": "."} {
		if err := os.Symlink(to, filepath.Join(dir, "logs", name+".log")); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"real": true, "inside": true, "out": false, "absolute": false, "folder": false, "none": false} {
		f, err := openLog(filepath.Join(dir, "logs", name+".log"))
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			f.Close()
		}
	}
	if got := logTail(filepath.Join(dir, "logs", "out.log"), 3); !strings.HasPrefix(got, "(no log") {
		t.Errorf("the end of a link out of the folder: %q", got)
	}
}

// A program of the machine is of use in the sandbox only with all its libraries.
func TestLibraries(t *testing.T) {
	sh, err := lookPath("sh", "/usr/bin:/bin")
	if err != nil {
		t.Skip(err)
	}
	libs, loaders, err := libraries([]string{sh, filepath.Join(t.TempDir(), "missing")}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	need, loader, _, err := linkage(sh)
	if err != nil {
		t.Fatal(err)
	}
	if loader != "" && !slices.Contains(loaders, loader) {
		t.Errorf("loaders %v lack %s", loaders, loader)
	}
	for _, n := range need {
		if _, err := os.Stat(libs[n]); err != nil {
			t.Errorf("library %s: %v", n, err)
		}
	}
}

// What iptables loads when a rule has it is of use only with its libraries, too: without them kube-proxy writes no rules at all
// once a Service has several endpoints.
func TestExtensionsHaveTheirLibraries(t *testing.T) {
	tools := t.TempDir()
	s := &spec{Parts: map[string]string{"node-tools": tools}}
	has := func() []string {
		b := rootBuilder{root: t.TempDir()}
		if err := b.programs(s); err != nil {
			t.Skip(err) // the machine cannot have a cluster
		}
		var out []string
		_ = filepath.WalkDir(b.root, func(path string, _ fs.DirEntry, _ error) error {
			out = append(out, filepath.Base(path))
			return nil
		})
		return out
	}
	without := has()
	all, err := filepath.Glob("/usr/lib/*-linux-gnu/*.so.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		need, _, _, err := linkage(f)
		i := slices.IndexFunc(need, func(l string) bool { return !slices.Contains(without, l) })
		if err != nil || i < 0 {
			continue
		}
		if _, _, err := libraries([]string{f}, tools); err != nil { // it is of use to nobody here
			continue
		}
		if err := os.Mkdir(filepath.Join(tools, "xtables"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(f, filepath.Join(tools, "xtables", "libxt_it.so")); err != nil {
			t.Fatal(err)
		}
		if with := has(); !slices.Contains(with, need[i]) {
			t.Errorf("%s is missing, which %s needs", need[i], f)
		}
		return
	}
	t.Skip("no library here needs one that the programs do not")
}

func TestSandboxSpec(t *testing.T) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	s := &spec{Name: "a", Dir: "/d", Hosts: hosts}
	if got := etcFiles(s)["resolv.conf"]; got != "nameserver "+hosts.DNS.String()+"\n" {
		t.Errorf("resolv.conf: %q", got)
	}
	if attr := sandboxAttr(); attr.UidMappings[0].HostID == 0 || attr.GidMappings[0].HostID == 0 {
		t.Error("root in the sandbox is root on the machine")
	}
}

func TestPodPolicy(t *testing.T) {
	policy, binding, err := podPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if binding.Spec.PolicyName != policy.Name || len(binding.Spec.ValidationActions) != 1 || binding.Spec.ValidationActions[0] != "Deny" {
		t.Errorf("the binding does not enforce the policy: %+v", binding.Spec)
	}
	for _, v := range policy.Spec.Validations {
		if !strings.Contains(v.Message, "docs/security.md") {
			t.Errorf("a refusal does not say where it is explained: %q", v.Message)
		}
	}
}
