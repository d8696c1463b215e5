// Package cluster says what a running Kubernetes cluster must offer to the harness, wherever its
// nodes are. The implementations live below framework/provider.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Provider makes and finds clusters.
type Provider interface {
	// Name is what --provider calls it.
	Name() string
	// Up brings a cluster up. It returns a healthy cluster, or an error and nothing left behind.
	Up(ctx context.Context, o Options) (Cluster, error)
	// Open finds a running cluster by its name; ErrNotFound when there is none.
	Open(ctx context.Context, name string) (Cluster, error)
	// Down removes a cluster and everything of it.
	Down(ctx context.Context, name string) error
	// List names the running clusters.
	List(ctx context.Context) ([]Status, error)
	// Doctor says what this machine lacks.
	Doctor(ctx context.Context) []Check
}

// Pruner is a Provider that keeps things in the cache which Prune removes once nothing needs them.
type Pruner interface {
	Prune() (removed []string, err error)
}

// Cluster is a running cluster.
type Cluster interface {
	Name() string
	// RESTConfig is for client-go; callers get a copy of their own.
	RESTConfig() *rest.Config
	// Kubeconfig is a file that plain kubectl can use.
	Kubeconfig() string
	// Facts describe the cluster.
	Facts() Facts
	// Internet is the outside that this cluster's pods reach; nil for the live one, which nobody observes.
	Internet() Internet
	// Failure explains why the cluster died; nil while it lives.
	Failure() error
	// Program is the path of a program that fits the cluster ("kubectl", "istioctl"); "" if unknown.
	Program(name string) string
	// Close takes the cluster down, unless it was detached or only opened.
	Close(ctx context.Context) error
}

// Mortal is a Cluster whose death is noticed.
type Mortal interface {
	// Gone is closed when the cluster has died or was taken down.
	Gone() <-chan struct{}
}

// Gone is closed when the cluster has died or was taken down; never where nobody notices.
func Gone(c Cluster) <-chan struct{} {
	if m, ok := c.(Mortal); ok {
		return m.Gone()
	}
	return nil
}

// While is a context that ends with a cluster, too; why says what its cause is then. The returned function frees it.
func While(ctx context.Context, c Cluster, why func() error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-Gone(c):
			cancel(why())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Detacher is a Cluster that ends with the process that has made it, unless it is detached.
type Detacher interface {
	// Detach lets the cluster live on after this process.
	Detach() error
}

// Detach lets a cluster live on after this process, as one does anyway that this program has not made.
func Detach(c Cluster) error {
	if d, ok := c.(Detacher); ok {
		return d.Detach()
	}
	return nil
}

// Logger is a Cluster whose parts' logs can be read.
type Logger interface {
	// Log opens the log of a part of the cluster ("kubelet", "kube-apiserver", ...).
	Log(part string) (io.ReadCloser, error)
}

// Loader is a Cluster whose nodes take further images.
type Loader interface {
	// LoadImages puts the images of an archive, as docker save writes it, into every node: a pod that names one is started
	// from it, without a registry.
	LoadImages(ctx context.Context, file string) error
}

// Bare is a Cluster whose API server is a process on the node and no pod.
type Bare interface {
	// APIServer is that process's command line.
	APIServer() []string
}

// PodDialer makes connections from inside pods.
type PodDialer interface {
	// DialPod connects to a port of a pod's loopback address ("15000"), as a port-forward does, or to an abstract unix socket ("@name"),
	// from inside that pod, and without the API server on the way.
	DialPod(ctx context.Context, namespace, pod, address string) (net.Conn, error)
}

// Inside returns what connects from inside a cluster's pods; nil where only the API server leads there.
func Inside(c Cluster) PodDialer {
	if i, ok := c.(interface{ Inside() PodDialer }); ok {
		return i.Inside()
	}
	return nil
}

// Guarded is a Cluster that refuses pods which could reach more of its machine than their own network.
type Guarded interface {
	// AwaitGuard waits until it does: an API server uses a policy up to seconds after it has it.
	AwaitGuard(ctx context.Context) error
}

// Internet is a hermetic outside whose arrivals can be read.
type Internet interface {
	Arrivals(ctx context.Context, since int64) (log []egress.Arrival, next int64, err error)
	// Secrets are the PEM texts that placeholders of cases stand for: certificates and keys.
	Secrets(ctx context.Context) (map[string]string, error)
	// Break spoils it on purpose: "down" (every host is dead), "dns" (no name resolves), "ca" (foreign
	// certificates); "mend" undoes all of it.
	Break(ctx context.Context, what string) error
	// Answer makes a name resolve to a host from now on, or fail with NXDOMAIN or SERVFAIL; "" forgets it.
	Answer(ctx context.Context, name, host string) error
	// Asked is how often the name was asked for since then.
	Asked(ctx context.Context, name string) (int, error)
}

// Extensible is an Internet that takes further hosts while it runs.
type Extensible interface {
	// Hosts are those that it serves.
	Hosts(ctx context.Context) (*internet.Hosts, error)
	// Add adds hosts and client certificates. Those that it has already, alike in all, stay as they are; another one of
	// the same name, or at the same address, is an error.
	Add(ctx context.Context, more *internet.Hosts) error
	// SetGuests makes others the hosts that are there for a while, and sends all former ones away; see internet.Hosts.WithGuests.
	SetGuests(ctx context.Context, guests *internet.Hosts) error
}

// InternetKind says which internet a cluster's pods reach.
type InternetKind string

// The hermetic internet is this program; the live one is whatever the machine itself reaches.
const (
	Hermetic InternetKind = "hermetic"
	Live     InternetKind = "live"
)

// ParseInternet reads a --internet flag; "" stays "", which means the default or what is there already.
func ParseInternet(s string) (InternetKind, error) {
	switch o := InternetKind(s); o {
	case "", Hermetic, Live:
		return o, nil
	}
	return "", fmt.Errorf("internet %q is unknown: use %s or %s", s, Hermetic, Live)
}

// Profile is what a cluster is made for.
type Profile string

// The standard profile is for cases and the pages of this repository. IstioDocs is for people who follow the egress pages of
// istio.io: what is installed has the names and settings that those count on.
const (
	Standard  Profile = ""
	IstioDocs Profile = "istio-docs"
)

// ParseProfile reads a --profile flag.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case Standard, IstioDocs:
		return p, nil
	}
	return "", fmt.Errorf("profile %q is unknown: use %s, or leave it out", s, IstioDocs)
}

// Options for Up.
type Options struct {
	Name     string
	Set      *components.Set
	Internet InternetKind // "" is Hermetic
	Profile  Profile
	// Hosts are those of the hermetic internet; nil means those that are built in.
	Hosts *internet.Hosts
	Port  int // loopback port of the API server; 0 picks one
	// Progress hears about what a provider must make before it can begin; it may be nil.
	Progress components.Progress
}

// Facts are what a report says about a cluster.
type Facts struct {
	Provider   string           `json:"provider"`
	Kubernetes string           `json:"kubernetes"`
	Istio      string           `json:"istio"`
	Envoy      string           `json:"envoy"`
	Source     string           `json:"source"`
	Notes      []string         `json:"notes,omitempty"`
	Features   []egress.Feature `json:"features,omitempty"`
	Module     string           `json:"-"` // folder with the charts of this Istio
	IstioTag   string           `json:"istioTag"`
	// Also are further Istios whose istiod and proxy can run in it.
	Also     []Istio            `json:"also,omitempty"`
	Foreign  bool               `json:"foreign,omitempty"` // it belongs to somebody else
	Internet InternetKind       `json:"internet"`
	Profile  Profile            `json:"profile,omitempty"`
	Timings  map[string]float64 `json:"timings,omitempty"` // seconds since the start of Up
	// Components are what the cluster is made of; none are known of somebody else's.
	Components []components.Component `json:"components,omitempty"`
}

// Istio is a version of Istio whose images a cluster has.
type Istio struct {
	Version string `json:"version"` // minor, such as "1.31"
	Tag     string `json:"tag"`     // of its images
	Module  string `json:"module"`  // folder with its charts
}

// Istios are those whose images the cluster has, its own first.
func (f Facts) Istios() []Istio {
	return append([]Istio{{f.Istio, f.IstioTag, f.Module}}, f.Also...)
}

// FactsOf are the facts of a cluster that a provider makes by the options.
func FactsOf(o Options, provider string) Facts {
	set := o.Set
	f := Facts{
		Provider: provider, Kubernetes: set.Parts["kubernetes"].Manifest.Version, Module: set.Module,
		Istio: set.Istio.Version, IstioTag: set.Istio.Release, Envoy: set.Istio.Envoy, Source: string(set.Source), Notes: set.Notes,
		Features: []egress.Feature{egress.MeshConfig}, Internet: o.Internet, Profile: o.Profile, Components: set.Components(),
	}
	for _, x := range set.Also {
		f.Also = append(f.Also, Istio{x.Istio.Version, x.Istio.Release, x.Module})
	}
	if o.Internet == Live {
		f.Notes = append(slices.Clone(f.Notes), "the internet is the live one: no arrival log, two witnesses and the control client")
	} else {
		f.Internet, f.Features = Hermetic, append(f.Features, egress.Hermetic)
	}
	if set.OfficialProxy() {
		f.Features = append(f.Features, egress.IstioFilters)
	}
	return f
}

// Status is one line of `egressctl status`.
type Status struct {
	Name       string    `json:"name"`
	Provider   string    `json:"provider"`
	State      string    `json:"state"` // running, starting, dead
	Since      time.Time `json:"since"`
	Kubeconfig string    `json:"kubeconfig"`
	Memory     int64     `json:"memoryBytes"`
	Note       string    `json:"note,omitempty"`
}

// ErrNotFound says that there is no cluster of that name.
var ErrNotFound = errors.New("no such cluster")

// ErrExists says that a cluster of that name is already there.
var ErrExists = errors.New("cluster already exists")

// Check is one line of `egressctl doctor`.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Warning bool   `json:"warning,omitempty"` // it is OK for a cluster, and may not be enough for all that is done with one
	Detail  string `json:"detail,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Package string `json:"package,omitempty"` // distribution packages that mend it
}
