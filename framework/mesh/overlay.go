package mesh

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
)

// Overlay is the mesh-wide configuration: the installed one, the base that a group of cases lays over it, and the
// patch of a single case on top. Only one case runs while it changes.
type Overlay struct {
	cs     kubernetes.Interface
	istiod *Istiod
	// Mutate changes every configuration before it is written, for sabotage; it may be nil.
	Mutate func(Config) Config

	mu        sync.Mutex
	endpoints time.Time // when endpoints were last known to change
	installed Config
	base      Config
	last      string // istiod's own view before the latest change
}

// NewOverlay reads the installed configuration.
func NewOverlay(ctx context.Context, cs kubernetes.Interface, istiod *Istiod) (*Overlay, error) {
	mc, err := InstalledConfig(ctx, cs)
	if err != nil {
		return nil, err
	}
	return &Overlay{endpoints: time.Now(), cs: cs, istiod: istiod, installed: mc}, nil
}

// set lays a patch over the base; an empty one goes back to it. It says whether anything changed.
func (o *Overlay) set(ctx context.Context, patch Config) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last, err := o.istiod.MeshConfig(ctx)
	if err != nil {
		return false, err
	}
	o.last = last
	want := Merge(Merge(o.installed, o.base), patch)
	if o.Mutate != nil {
		want = o.Mutate(want)
	}
	err = WriteConfig(ctx, o.cs, want, o.installed)
	if errors.Is(err, ErrUnchanged) {
		return false, nil
	}
	return err == nil, err
}

// arrived says whether istiod works with the latest change.
func (o *Overlay) arrived(ctx context.Context) (bool, error) {
	now, err := o.istiod.MeshConfig(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	return now != o.last, err
}

// endpointsChange notes that something has been done of which istiod hears as a change of endpoints.
func (o *Overlay) endpointsChange() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endpoints = time.Now()
}

// endpointEcho is how long after a change of endpoints no push of it is expected any more, on a busy machine too.
const endpointEcho = 10 * time.Second

// quiet waits until the mesh configuration may be changed, see Istiod.Quiet.
func (o *Overlay) quiet(ctx context.Context) error {
	o.mu.Lock()
	recent := time.Since(o.endpoints) < egress.Patience(endpointEcho)
	o.mu.Unlock()
	if !recent {
		return nil
	}
	return o.istiod.Quiet(ctx)
}

// setBase changes what a group of cases stands on and waits until the proxies have it.
func (o *Overlay) setBase(ctx context.Context, base Config, proxies []string) error {
	if err := o.quiet(ctx); err != nil {
		return err
	}
	o.mu.Lock()
	o.base = base
	o.mu.Unlock()
	before, err := o.istiod.Computed(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	changed, err := o.set(ctx, Config{})
	if err != nil || !changed {
		return err
	}
	_, err = o.istiod.Settle(ctx, Change{Proxies: proxies, Seen: o.arrived, Before: before, Began: began})
	return err
}

// restore goes back to what was installed.
func (o *Overlay) restore(ctx context.Context) error {
	err := WriteConfig(ctx, o.cs, o.installed, o.installed)
	if errors.Is(err, ErrUnchanged) {
		return nil
	}
	return err
}
