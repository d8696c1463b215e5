package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Provider makes embedded clusters.
type Provider struct{ home home }

// New returns the provider; its clusters live below the component store.
func New(store *components.Store) *Provider { return &Provider{home{store}} }

// Name is "embedded".
func (*Provider) Name() string { return "embedded" }

// Up brings a cluster up: nodes Ready to be used by client-go, internet listening. What runs in it is
// the caller's business.
func (p *Provider) Up(ctx context.Context, o cluster.Options) (cluster.Cluster, error) {
	if err := checkUp(o.Name); err != nil {
		return nil, err
	}
	start := time.Now()
	lock, err := p.claim(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the reaper has its own copy by then
	base, err := p.bakedRoot(ctx, o.Set)
	if err != nil {
		return nil, err
	}
	s, err := p.prepare(o, base)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.home.dir(o.Name)))
	}
	h, err := launch(s, lock)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.Dir))
	}
	c := &embeddedCluster{spec: s, reaper: h, owned: true, home: p.home}
	c.spec.Facts.Timings = map[string]float64{"prepared": time.Since(start).Seconds()}
	if err := h.await(ctx, "step"); err != nil {
		return nil, errors.Join(fmt.Errorf("bring up cluster %s: %w", o.Name, err), c.Close(context.WithoutCancel(ctx)))
	}
	c.spec.Facts.Timings["started"] = time.Since(start).Seconds()
	if err := c.load(); err != nil {
		return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func checkUp(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %q: use lower-case letters, digits and dashes, 32 at most", name)
	}
	if os.Geteuid() != 0 {
		return errors.New("the embedded provider needs root: it makes network, mount, PID and cgroup namespaces and runs a kubelet in them. " +
			"Run it with sudo, in a privileged container or VM, or use another provider: --provider kind (needs Docker) or --provider existing --kubeconfig FILE")
	}
	return nil
}

// claim locks a cluster's name and clears away what a dead cluster of that name has left.
func (p *Provider) claim(ctx context.Context, name string) (*os.File, error) {
	lock, err := takeLock(p.home.lockFile(name))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("cluster %q: %w; use it, take it down with egressctl down --name %s, or choose another --name", name, cluster.ErrExists, name)
	}
	if err != nil {
		return nil, err
	}
	if err := p.sweep(ctx, name); err != nil {
		lock.Close()
		return nil, fmt.Errorf("clear away the remains of an earlier cluster %q: %w", name, err)
	}
	return lock, nil
}

// sweep removes the remains of a cluster whose reaper was killed. The caller holds the lock.
func (p *Provider) sweep(_ context.Context, name string) error {
	dir := p.home.dir(name)
	s := &spec{Name: name, Dir: dir}
	err := removeCgroups(s.cgroup(), cleanPatience)
	return errors.Join(err, os.RemoveAll(dir), ignoreMissing(os.Remove(p.home.note(name))))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (p *Provider) prepare(o cluster.Options, base string) (*spec, error) {
	dir := p.home.dir(o.Name)
	if n := len(filepath.Join(dir, "internet.sock")); n > 100 {
		return nil, fmt.Errorf("the cache folder's path is too long for a unix socket (%d of 107 bytes): set XDG_CACHE_HOME to a shorter one or choose a shorter --name", n)
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	port := o.Port
	if port == 0 {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	s := &spec{
		Name: o.Name, Dir: dir, Mode: modeCluster, Port: port, Base: base, Root: filepath.Join(dir, "containerd"), Pause: components.PauseImage,
		Parts: partDirs(o.Set), Hosts: hosts, Module: o.Set.Module, Created: time.Now(),
		Kube:  o.Set.Parts["kubernetes"].Manifest.Version,
		Facts: facts(o.Set),
	}
	return s, s.write()
}

func facts(set *components.Set) cluster.Facts {
	f := cluster.Facts{
		Provider: "embedded", Kubernetes: set.Parts["kubernetes"].Manifest.Version,
		Istio: set.Istio.Version, IstioTag: set.Istio.Release, Envoy: set.Istio.Envoy, Source: string(set.Source), Notes: set.Notes,
		Features: []egress.Feature{egress.Hermetic, egress.MeshConfig},
	}
	if set.OfficialProxy() {
		f.Features = append(f.Features, egress.IstioFilters)
	}
	return f
}

func partDirs(set *components.Set) map[string]string {
	out := map[string]string{}
	for n, e := range set.Parts {
		out[n] = e.Dir
	}
	return out
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return 0, fmt.Errorf("find a free loopback port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// handle is the tool's end of the pipes to a reaper.
type handle struct {
	cmd      *exec.Cmd
	lifeline *os.File
	events   chan event
	gone     chan struct{}

	mu     sync.Mutex
	failed error
}

// launch starts the reaper of a prepared cluster.
func launch(s *spec, lock *os.File) (*handle, error) {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeR.Close()
	evR, evW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer evW.Close()
	log, err := os.OpenFile(s.logFile("reaper"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(selfExe, argReaper, s.Dir) //nolint:noctx // outlives every context: the lifeline ends it
	cmd.Args[0] = "egressctl"
	cmd.Dir, cmd.Env = "/", baseEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = lifeR, log, log
	cmd.ExtraFiles = []*os.File{evW, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C at the terminal is the tool's business
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	h := &handle{cmd: cmd, lifeline: lifeW, events: make(chan event, 16), gone: make(chan struct{})}
	go h.listen(evR)
	return h, nil
}

func (h *handle) listen(r *os.File) {
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			continue
		}
		if e.Kind == "failed" {
			h.fail(errors.New(e.Text))
		}
		select {
		case h.events <- e:
		default: // nobody waits for it any more
		}
	}
	_ = h.cmd.Wait() // its status is in the events
	close(h.gone)
}

func (h *handle) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil { // the first is the cause
		h.failed = err
	}
}

func (h *handle) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// await waits for an event of a kind, or for the end.
func (h *handle) await(ctx context.Context, kind string) error {
	for {
		select {
		case e := <-h.events:
			switch e.Kind {
			case kind:
				return nil
			case "failed":
				return errors.New(e.Text)
			}
		case <-h.gone:
			if err := h.failure(); err != nil {
				return err
			}
			return errors.New("the sandbox ended without a word")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type embeddedCluster struct {
	spec   *spec
	reaper *handle // nil when the cluster was only opened
	owned  bool
	config *rest.Config
	home   home
	gone   chan struct{} // of a cluster that was only opened
	watch  sync.Once
}

func (c *embeddedCluster) load() error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.spec.kubeconfig())
	if err != nil {
		return fmt.Errorf("read the kubeconfig of cluster %s: %w", c.spec.Name, err)
	}
	cfg.QPS = -1 // the API server has its own limits, and nobody else to serve
	socket := c.spec.apiSocket()
	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			if cause := c.Failure(); cause != nil {
				return nil, cause
			}
		}
		return conn, err
	}
	c.config = cfg
	return nil
}

func (c *embeddedCluster) Name() string             { return c.spec.Name }
func (c *embeddedCluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }
func (c *embeddedCluster) Kubeconfig() string       { return c.spec.kubeconfig() }

func (c *embeddedCluster) Facts() cluster.Facts {
	f := c.spec.Facts
	f.Module = c.spec.Module
	return f
}

func (c *embeddedCluster) Internet() cluster.Internet {
	return internet.NewClient(c.spec.internetSocket())
}

func (c *embeddedCluster) Log(part string) (io.ReadCloser, error) {
	f, err := os.Open(c.spec.logFile(filepath.Base(part)))
	if errors.Is(err, fs.ErrNotExist) {
		have, _ := filepath.Glob(c.spec.logFile("*"))
		for i := range have {
			have[i] = strings.TrimSuffix(filepath.Base(have[i]), ".log")
		}
		return nil, fmt.Errorf("cluster %s has no part %q; it has %s", c.spec.Name, part, strings.Join(have, ", "))
	}
	return f, err
}

// Gone watches the reaper: through its pipe if this process started it, else through its lock.
func (c *embeddedCluster) Gone() <-chan struct{} {
	if c.reaper != nil {
		return c.reaper.gone
	}
	c.watch.Do(func() {
		go func() {
			defer close(c.gone)
			for {
				if pid, err := holder(c.home.lockFile(c.spec.Name)); err != nil || pid <= 0 {
					return
				}
				pause(200 * time.Millisecond)
			}
		}()
	})
	return c.gone
}

func (c *embeddedCluster) Failure() error {
	if c.reaper != nil {
		return c.reaper.failure()
	}
	select {
	case <-c.Gone():
	default:
		return nil
	}
	if b, err := os.ReadFile(c.home.note(c.spec.Name)); err == nil {
		return errors.New(strings.TrimSpace(string(b)))
	}
	return fmt.Errorf("cluster %s was taken down", c.spec.Name)
}

func (c *embeddedCluster) Detach() error {
	if c.reaper == nil || !c.owned {
		return nil
	}
	if err := c.spec.write(); err != nil { // with the timings
		return err
	}
	if _, err := c.reaper.lifeline.Write([]byte{detachByte}); err != nil {
		return fmt.Errorf("let cluster %s live on: %w", c.spec.Name, err)
	}
	c.owned = false
	return nil
}

func (c *embeddedCluster) Close(ctx context.Context) error {
	if c.reaper == nil || !c.owned {
		return nil
	}
	c.owned = false
	if err := c.reaper.lifeline.Close(); err != nil {
		return err
	}
	select {
	case <-c.reaper.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for cluster %s to end: %w", c.spec.Name, ctx.Err())
	}
}

func errStarting(name string) error {
	return fmt.Errorf("cluster %q is being brought up by another command; wait for it or interrupt it", name)
}

// Open finds a running cluster.
func (p *Provider) Open(_ context.Context, name string) (cluster.Cluster, error) {
	pid, err := holder(p.home.lockFile(name))
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		if b, err := os.ReadFile(p.home.note(name)); err == nil {
			return nil, fmt.Errorf("cluster %q: %w: it died: %s", name, cluster.ErrNotFound, strings.TrimSpace(string(b)))
		}
		return nil, fmt.Errorf("cluster %q: %w (egressctl status lists the running ones, egressctl up makes one)", name, cluster.ErrNotFound)
	}
	if pid == starting {
		return nil, errStarting(name)
	}
	s, err := readSpec(p.home.dir(name))
	if err != nil {
		return nil, fmt.Errorf("open cluster %q: %w", name, err)
	}
	c := &embeddedCluster{spec: s, home: p.home, gone: make(chan struct{})}
	return c, c.load()
}

// Down ends a cluster, whoever started it.
func (p *Provider) Down(ctx context.Context, name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %q is not one of ours", name)
	}
	pid, err := holder(p.home.lockFile(name))
	if err != nil {
		return err
	}
	if pid == 0 {
		_, statErr := os.Stat(p.home.dir(name))
		lock, err := p.claim(ctx, name) // sweeps
		if err != nil {
			return err
		}
		lock.Close()
		if err := ignoreMissing(os.Remove(p.home.lockFile(name))); err != nil {
			return err
		}
		if errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("cluster %q: %w", name, cluster.ErrNotFound)
		}
		return nil
	}
	if pid == starting {
		return errStarting(name)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return fmt.Errorf("end the reaper of cluster %q (process %d): %w", name, pid, err)
	}
	for {
		lock, err := takeLock(p.home.lockFile(name))
		if err == nil {
			defer lock.Close()
			return errors.Join(p.sweep(ctx, name), os.Remove(p.home.lockFile(name)))
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for cluster %q to end: %w", name, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// List names every cluster that has left a trace.
func (p *Provider) List(context.Context) ([]cluster.Status, error) {
	locks, err := filepath.Glob(p.home.lockFile("*"))
	if err != nil {
		return nil, err
	}
	var out []cluster.Status
	for _, l := range locks {
		name := strings.TrimSuffix(filepath.Base(l), ".lock")
		pid, err := holder(l)
		if err != nil {
			return nil, err
		}
		st := cluster.Status{Name: name, Provider: p.Name(), State: "dead"}
		if s, err := readSpec(p.home.dir(name)); err == nil {
			st.Since, st.Kubeconfig, st.Memory = s.Created, s.kubeconfig(), cgroupMemory(s.cgroup())
		}
		if b, err := os.ReadFile(p.home.note(name)); err == nil {
			st.Note, _, _ = strings.Cut(string(b), "\n")
		}
		if pid == starting {
			st.State = "starting"
		} else if pid != 0 {
			st.State = "running"
		} else if st.Since.IsZero() && st.Note == "" {
			continue // taken down; only its empty lock file is left
		}
		out = append(out, st)
	}
	return out, nil
}

// Program is the path of a program that came with the cluster's components.
func (c *embeddedCluster) Program(name string) string {
	for _, dir := range c.spec.Parts {
		if f := filepath.Join(dir, name); name != "" {
			if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
				return f
			}
		}
	}
	return ""
}
