package harness

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
)

// meshConfig is the mesh-wide configuration: the installed one, what a group of cases lays over it,
// and what a single case does. Only one case runs while it changes.
type meshConfig struct {
	cs     kubernetes.Interface
	istiod *mesh.Istiod
	// bend changes every configuration before it is set, for sabotage.
	bend func(mesh.Config) mesh.Config

	mu        sync.Mutex
	stirred   time.Time // when something was last done that makes istiod hear of endpoints
	installed mesh.Config
	ground    egress.Object
	last      string // istiod's own view before the latest change
}

func newMeshConfig(ctx context.Context, cs kubernetes.Interface, istiod *mesh.Istiod) (*meshConfig, error) {
	mc, err := mesh.InstalledConfig(ctx, cs)
	return &meshConfig{stirred: time.Now(), cs: cs, istiod: istiod, installed: mc, bend: func(c mesh.Config) mesh.Config { return c }}, err
}

// set lays a patch over the ground; an empty one goes back to it. It says whether anything changed.
func (m *meshConfig) set(ctx context.Context, patch egress.Object) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, err := m.istiod.MeshConfig(ctx)
	if err != nil {
		return false, err
	}
	m.last = last
	err = mesh.WriteConfig(ctx, m.cs, m.bend(mesh.Merge(mesh.Merge(m.installed, m.ground), patch)), m.installed)
	if errors.Is(err, mesh.ErrUnchanged) {
		return false, nil
	}
	return err == nil, err
}

// arrived says whether istiod works with the latest change.
func (m *meshConfig) arrived(ctx context.Context) (bool, error) {
	now, err := m.istiod.MeshConfig(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	return now != m.last, err
}

// stir notes that something has been done of which istiod hears as a change of endpoints.
func (m *meshConfig) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stirred = time.Now()
}

// calm is how long after that no echo of it is expected any more, on a busy machine too.
const calm = 10 * time.Second

// quiet waits until the mesh configuration may be changed, see mesh.Istiod.Quiet.
func (m *meshConfig) quiet(ctx context.Context) error {
	m.mu.Lock()
	recent := time.Since(m.stirred) < egress.Patience(calm)
	m.mu.Unlock()
	if !recent {
		return nil
	}
	return m.istiod.Quiet(ctx)
}

// setGround changes what a group of cases stands on and waits until the proxies have it.
func (m *meshConfig) setGround(ctx context.Context, ground egress.Object, proxies []string) error {
	if m.cs == nil { // somebody else's; cases that want another one are skipped
		return nil
	}
	if err := m.quiet(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	m.ground = ground
	m.mu.Unlock()
	before, err := m.istiod.Computed(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	changed, err := m.set(ctx, egress.Object{})
	if err != nil || !changed {
		return err
	}
	_, err = m.istiod.Settle(ctx, mesh.Change{Proxies: proxies, Seen: m.arrived, Before: before, Began: began})
	return err
}

// restore goes back to what was installed.
func (m *meshConfig) restore(ctx context.Context) error {
	if m.cs == nil {
		return nil
	}
	err := mesh.WriteConfig(ctx, m.cs, m.installed, m.installed)
	if errors.Is(err, mesh.ErrUnchanged) {
		return nil
	}
	return err
}
