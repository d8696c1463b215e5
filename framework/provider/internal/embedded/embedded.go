//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/lockfile"
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
	base, err := p.bakedRoot(ctx, o.Set, o.Hosts)
	if err != nil {
		return nil, err
	}
	s, err := p.prepare(o, base)
	if err != nil {
		return nil, err
	}
	h, err := launch(s, lock)
	if err != nil {
		return nil, err
	}
	lock.Close() // from here on a free lock means that reaper and watchdog are gone
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

// claim locks a cluster's name and clears away what a dead cluster of that name has left. It waits for one
// that is ending.
func (p *Provider) claim(ctx context.Context, name string) (*os.File, error) {
	for {
		lock, err := takeLock(p.home.lockFile(name))
		if err == nil {
			if err := p.sweep(name); err != nil {
				lock.Close()
				return nil, fmt.Errorf("clear away the remains of an earlier cluster %q: %w", name, err)
			}
			return lock, ignoreMissing(os.Remove(p.home.note(name)))
		}
		if !errors.Is(err, lockfile.ErrHeld) {
			return nil, err
		}
		switch h, err := look(p.home.lockFile(name)); {
		case err != nil:
			return nil, err
		case h.phase == starting:
			return nil, errStarting(name)
		case h.phase == living:
			return nil, fmt.Errorf("cluster %q: %w; use it, take it down with egressctl down --name %s, or choose another --name", name, cluster.ErrExists, name)
		}
		if err := pauseIn(ctx); err != nil {
			return nil, fmt.Errorf("wait for the end of an earlier cluster %q: %w", name, err)
		}
	}
}

// sweep removes the remains of a cluster whose reaper and watchdog were killed. The caller holds the lock.
func (p *Provider) sweep(name string) error {
	s := &spec{Name: name, Dir: p.home.dir(name)}
	return errors.Join(killCgroup(s.cgroup()), removeCgroups(s.cgroup(), cleanPatience), os.RemoveAll(s.Dir))
}

// settle returns when nothing of an ended cluster is left; it sweeps where nobody else does any more.
func (p *Provider) settle(ctx context.Context, name string, reaper int) error {
	for {
		h, err := look(p.home.lockFile(name))
		if err != nil {
			return err
		}
		if h.phase != absent && h.reaper != reaper {
			return nil // a later cluster has the name, whose claim has swept
		}
		if h.phase == absent {
			lock, err := takeLock(p.home.lockFile(name))
			if err == nil {
				return errors.Join(p.sweep(name), lock.Close())
			}
			if !errors.Is(err, lockfile.ErrHeld) {
				return err
			}
		}
		if err := pauseIn(ctx); err != nil {
			return fmt.Errorf("wait until nothing of cluster %q is left: %w", name, err)
		}
	}
}

// pauseIn waits between two looks at a lock, which gives no event.
func pauseIn(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
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
	if o.Internet != cluster.Live {
		if err := checkRanges(o.Hosts); err != nil {
			return nil, fmt.Errorf("hosts of cluster %s: %w", o.Name, err)
		}
	}
	var err error
	port := o.Port
	if port == 0 {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	s := &spec{
		Name: o.Name, Dir: dir, Mode: modeCluster, Port: port, Base: base, Root: filepath.Join(dir, "containerd"), Pause: components.PauseImage,
		Parts: partDirs(o.Set), Hosts: o.Hosts, Module: o.Set.Module, Created: time.Now(),
		Kube:  o.Set.Parts["kubernetes"].Manifest.Version,
		Facts: cluster.FactsOf(o, p.Name()),
	}
	s.Facts.Features = append(s.Facts.Features, kernelFeatures()...)
	if s.IPv6 = haveIPv6() && !s.live(); s.IPv6 {
		s.Facts.Features = append(s.Facts.Features, egress.IPv6)
	}
	if s.live() {
		pem, err := components.MachineTrust()
		if err != nil {
			return nil, err
		}
		s.Trust = string(pem)
	}
	return s, nil
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

func errStarting(name string) error {
	return fmt.Errorf("cluster %q is being brought up by another command; wait for it or interrupt it, or choose another --name", name)
}

// Open finds a running cluster. It waits for the end of one that is ending.
func (p *Provider) Open(ctx context.Context, name string) (cluster.Cluster, error) {
	for {
		h, err := look(p.home.lockFile(name))
		if err != nil {
			return nil, err
		}
		switch h.phase {
		case absent:
			if cause := p.home.cause(name); cause != "" {
				return nil, fmt.Errorf("cluster %q: %w: it died: %s", name, cluster.ErrNotFound, cause)
			}
			return nil, fmt.Errorf("cluster %q: %w (egressctl status lists the running ones, egressctl up makes one)", name, cluster.ErrNotFound)
		case starting:
			return nil, errStarting(name)
		case living:
			if p.home.cause(name) != "" {
				break // it has died, and its reaper is about to say so
			}
			s, err := readSpec(p.home.dir(name))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, errStarting(name)
			}
			if err != nil {
				return nil, fmt.Errorf("open cluster %q: %w", name, err)
			}
			if _, err := os.Stat(s.kubeconfig()); errors.Is(err, fs.ErrNotExist) {
				return nil, errStarting(name)
			}
			c := &embeddedCluster{spec: s, home: p.home, opened: h.reaper, gone: make(chan struct{})}
			return c, c.load()
		case ending:
		}
		if err := pauseIn(ctx); err != nil {
			return nil, fmt.Errorf("wait for the end of an earlier cluster %q: %w", name, err)
		}
	}
}

// Down ends a cluster, whoever started it.
func (p *Provider) Down(ctx context.Context, name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %q is not one of ours", name)
	}
	h, err := look(p.home.lockFile(name))
	if err != nil {
		return err
	}
	there := h.phase != absent
	switch h.phase {
	case starting:
		return errStarting(name)
	case living:
		if err := unix.Kill(h.reaper, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the reaper of cluster %q (process %d): %w", name, h.reaper, err)
		}
	case ending, absent:
	}
	for {
		_, statErr := os.Stat(p.home.dir(name))
		lock, err := takeLock(p.home.lockFile(name))
		if err == nil {
			err = errors.Join(p.sweep(name), ignoreMissing(os.Remove(p.home.note(name))), lockfile.Remove(lock))
			if err == nil && !there && errors.Is(statErr, fs.ErrNotExist) {
				return fmt.Errorf("cluster %q: %w", name, cluster.ErrNotFound)
			}
			return err
		}
		if !errors.Is(err, lockfile.ErrHeld) {
			return err
		}
		if err := pauseIn(ctx); err != nil {
			return fmt.Errorf("wait for cluster %q to end: %w", name, err)
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
		h, err := look(l)
		if err != nil {
			return nil, err
		}
		st := cluster.Status{Name: name, Provider: p.Name(), State: "dead"}
		if s, err := readSpec(p.home.dir(name)); err == nil {
			st.Since, st.Kubeconfig, st.Memory = s.Created, s.kubeconfig(), cgroupMemory(s.cgroup())
		}
		cause := p.home.cause(name)
		st.Note, _, _ = strings.Cut(cause, "\n")
		switch h.phase {
		case starting:
			st.State = "starting"
		case ending:
			st.State = "ending"
		case living:
			st.State = "running"
			if cause != "" {
				st.State = "ending" // the kernel is still letting go of its processes
			}
		case absent:
			if st.Since.IsZero() && st.Note == "" {
				continue // taken down; only its empty lock file is left
			}
		}
		out = append(out, st)
	}
	return out, nil
}
