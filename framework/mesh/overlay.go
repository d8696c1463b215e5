package mesh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// ConfigStore is where the mesh configuration of one istiod is kept.
type ConfigStore interface {
	// Write makes a configuration the one of the mesh, and says whether that changed anything.
	Write(ctx context.Context, c Config) (changed bool, err error)
}

// Overlay is the mesh-wide configuration: the installed one, the base that a group of cases lays over it, and the
// patch of a single case on top. Each istiod has an installed one of its own, and base and patch are laid over all of
// them. Only one case runs while it changes.
type Overlay struct {
	mu        sync.Mutex
	kept      map[string]kept // by revision
	endpoints time.Time       // when endpoints were last known to change
	base      Config
}

// kept is the configuration of one istiod.
type kept struct {
	installed Config
	store     ConfigStore
}

// NewOverlay returns an overlay of the default istiod's installed configuration.
func NewOverlay(installed Config, store ConfigStore) *Overlay {
	return &Overlay{kept: map[string]kept{DefaultRevision: {installed, store}}, endpoints: time.Now()}
}

// Join adds the configuration of a further istiod, and lays the base over it.
func (o *Overlay) Join(ctx context.Context, revision string, installed Config, store ConfigStore) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := store.Write(ctx, Merge(installed, o.base)); err != nil {
		return fmt.Errorf("revision %s: %w", revision, err)
	}
	o.kept[revision] = kept{installed, store}
	return nil
}

// Leave forgets the configuration of a further istiod.
func (o *Overlay) Leave(revision string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.kept, revision)
}

// set lays a patch over the base; an empty one goes back to it. It names the revisions whose configuration has changed.
func (o *Overlay) set(ctx context.Context, patch Config) (changed []string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, revision := range slices.Sorted(maps.Keys(o.kept)) {
		k := o.kept[revision]
		did, err := k.store.Write(ctx, Merge(Merge(k.installed, o.base), patch))
		if err != nil {
			return changed, err
		}
		if did {
			changed = append(changed, revision)
		}
	}
	return changed, nil
}

// setBase makes another base the one on which patches are laid. It writes nothing.
func (o *Overlay) setBase(base Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.base = base
}

// endpointsChange notes that something has been done of which istiod hears as a change of endpoints.
func (o *Overlay) endpointsChange() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endpoints = time.Now()
}

// endpointsChanged says whether that was so short a time ago.
func (o *Overlay) endpointsChanged(within time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.endpoints) < within
}
