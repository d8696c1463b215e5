package kind

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
)

// scripted puts a docker command first in PATH that does what a shell script says.
func scripted(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func up(t *testing.T, name string) error {
	t.Helper()
	p := New(&components.Store{Root: t.TempDir()}, Options{Image: "node"})
	file := p.livesOn(name) // what is there of that name is no remains of a killed run
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := p.Up(t.Context(), cluster.Options{Name: name, Set: &components.Set{}})
	return err
}

// Without a usable Docker nothing is made, and the error says what to do.
func TestUpWithoutDocker(t *testing.T) {
	for name, x := range map[string]struct{ script, want string }{
		"no daemon":     {"echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1", "start it"},
		"no permission": {"echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1", "docker group"},
		"not ours": {`case "$*" in
*network=mesh-egress*) ;;
*label=io.x-k8s.kind.cluster*) echo egress-a;;
*) ;;
esac`, "will not touch"},
		"ours": {`case "$*" in
*name=^egress-a-internet*) echo 0123;;
*) ;;
esac`, "already exists"},
		"not a node image": {`case "$1" in run) echo 'cat: /kind/version: No such file or directory' >&2; exit 1;; esac`, "cannot be used as a node"},
		"old node image":   {`case "$1" in run) echo v1.20.1;; esac`, "v1.31 or later"},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, x.script)
			if err := up(t, "a"); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, wanted %q", err, x.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	scripted(t, "exit 0")
	for _, n := range []string{"", "A", "a_b", "-a", strings.Repeat("a", 33)} {
		if err := up(t, n); err == nil || !strings.Contains(err.Error(), "cluster name") {
			t.Errorf("%q: %v", n, err)
		}
	}
}

// A cluster that this program did not make is neither opened nor removed.
func TestNotFound(t *testing.T) {
	scripted(t, `case "$1" in rm|network) echo removed >>"$0.log";; esac`)
	p := New(&components.Store{Root: t.TempDir()}, Options{})
	if _, err := p.Open(t.Context(), "a"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	if err := p.Down(t.Context(), "a"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("down: %v", err)
	}
	bin, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	if _, err := os.Stat(bin + "/docker.log"); err == nil {
		t.Error("down removed something")
	}
}

// What docker fails to remove of a killed run is an error of that round and tried again in the next, also where no container is
// left: a network alone is something that was left, too.
func TestRemoveOnceFails(t *testing.T) {
	scripted(t, `case "$*" in
"network ls"*) [ -e "$0.gone" ] || echo 0123;;
"network rm"*) [ -e "$0.tried" ] && : >"$0.gone" && exit 0; : >"$0.tried"; echo "has active endpoints" >&2; exit 1;;
esac`)
	bin, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	if err := os.WriteFile(bin+"/iptables", []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	p := New(&components.Store{Root: t.TempDir()}, Options{})
	was, err := p.removeOnce(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "has active endpoints") {
		t.Errorf("%t, %v: the failure is not told", was, err)
	}
	if was, err := p.removeOnce(t.Context(), "a"); was || err != nil {
		t.Errorf("the next round: %t, %v", was, err)
	}
	if _, err := os.Stat(bin + "/docker.gone"); err != nil {
		t.Error("the network is still there")
	}
}

// The library reads the process's environment; afterwards it is as it was.
func TestEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "mine")
	_ = withEnvironment(network, func() error {
		if _, set := os.LookupEnv("HTTPS_PROXY"); set || os.Getenv("KIND_EXPERIMENTAL_DOCKER_NETWORK") != network {
			t.Error("kind would see the proxy, or another network")
		}
		return nil
	})
	if os.Getenv("HTTPS_PROXY") == "" || os.Getenv("KIND_EXPERIMENTAL_DOCKER_NETWORK") != "mine" {
		t.Error("the environment is not as it was")
	}
}

func TestConfig(t *testing.T) {
	c := New(nil, Options{Nodes: 3}).config(7443)
	if len(c.Nodes) != 3 || c.Nodes[0].Role != "control-plane" || c.Nodes[2].Role != "worker" || c.Networking.APIServerPort != 7443 || c.Networking.APIServerAddress != "127.0.0.1" {
		t.Errorf("%+v", c)
	}
}
