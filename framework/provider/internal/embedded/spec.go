//go:build linux

// Package embedded runs a real single-node Kubernetes without Docker: every part is a child of one
// supervisor, which is PID 1 in namespaces of its own, so that its death is the death of everything
// in it.
//
// Six processes share the work. The tool (egressctl or a test binary) asks for a cluster. The
// reaper stays on the host's side: it owns the cgroups, forwards one loopback port, and cleans up
// when the supervisor is gone or when the tool that owned the cluster has died. The watchdog does
// nothing but clean up after a reaper that was killed. Init makes the sandbox's root file system and its user
// namespace, in which the supervisor sets up mounts and network and starts the parts. The internet is one of its
// children, in a network namespace of its own. All six are this program under another first argument.
package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
)

// Modes in which the sandbox is started.
const (
	modeCluster = "cluster"
	modeBake    = "bake" // only containerd: unpack the images once, for all clusters
)

// spec is what the tool tells reaper and supervisor. It holds no secret.
type spec struct {
	Name    string            `json:"name"`
	Dir     string            `json:"dir"`
	Mode    string            `json:"mode"`
	Port    int               `json:"port"`
	Base    string            `json:"base,omitempty"` // root folder with the unpacked images, to copy
	Root    string            `json:"root"`           // containerd's root folder
	Pause   string            `json:"pause"`
	Images  []string          `json:"images,omitempty"` // archives to unpack, when baking
	Parts   map[string]string `json:"parts"`            // part name → folder
	Hosts   *internet.Hosts   `json:"hosts"`
	Facts   cluster.Facts     `json:"facts"`
	Module  string            `json:"module"`
	Created time.Time         `json:"created"`
	Kube    string            `json:"kube"`
	Cgroups map[string]string `json:"cgroups,omitempty"` // mount point → options, in the sandbox's copy alone
	IPv6    bool              `json:"ipv6,omitempty"`    // it has addresses of both families
	Trust   string            `json:"trust,omitempty"`   // CA bundle of this machine, for pods that reach the live internet
}

// live says whether the pods reach the real internet.
func (s *spec) live() bool { return s.Facts.Internet == cluster.Live }

func (s *spec) logs() string { return filepath.Join(s.Dir, "logs") }

// describe says what a sandbox is, for messages.
func (s *spec) describe() string {
	if s.Mode == modeBake {
		return "the sandbox that unpacks images"
	}
	return "cluster " + s.Name
}

func (s *spec) logFile(part string) string { return filepath.Join(s.logs(), part+".log") }
func (s *spec) apiSocket() string          { return filepath.Join(s.Dir, "connections.sock") }
func (s *spec) podsSocket() string         { return filepath.Join(s.Dir, "pods.sock") }
func (s *spec) internetSocket() string     { return filepath.Join(s.Dir, "internet.sock") }
func (s *spec) imagesSocket() string       { return filepath.Join(s.Dir, "images.sock") }
func (s *spec) kubeconfig() string         { return filepath.Join(s.Dir, "kubeconfig") }

// cgroup is the name of the cluster's cgroups. Clusters of one name below two caches have different ones.
func (s *spec) cgroup() string {
	sum := sha256.Sum256([]byte(s.Dir))
	return cgroupPrefix + filepath.Base(s.Dir) + "-" + hex.EncodeToString(sum[:4])
}

// specFile is the spec's file in the cluster's folder.
const specFile = "spec.json"

// causeFile is where a supervisor that gives up says why; it is empty while it does not.
func causeFile(dir string) string { return filepath.Join(dir, "cause") }

const cgroupPrefix = "mesh-egress-"

var clusterName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// home is where clusters live: below the component cache, like the unpacked images that they use.
type home struct{ store *components.Store }

func (h home) clusters() string            { return filepath.Join(h.store.Root, "clusters") }
func (h home) dir(name string) string      { return filepath.Join(h.clusters(), name) }
func (h home) lockFile(name string) string { return filepath.Join(h.clusters(), name+".lock") }
func (h home) note(name string) string     { return filepath.Join(h.clusters(), name+".failure") }

// cause says why a cluster died: as its supervisor wrote it, or, when its folder is gone, as its
// reaper or watchdog kept it. It is empty for a cluster that has not died.
func (h home) cause(name string) string {
	for _, f := range []string{causeFile(h.dir(name)), h.note(name)} {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

func readSpec(dir string) (*spec, error) {
	b, err := os.ReadFile(filepath.Join(dir, specFile))
	if err != nil {
		return nil, err
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the description of the cluster in %s: %w", dir, err)
	}
	return &s, nil
}

func (s *spec) write() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, specFile), b, 0o600)
}
