package mesh

import (
	"context"
	"sync"
	"time"
)

// ConfigStore is where the mesh configuration is kept.
type ConfigStore interface {
	// Write makes a configuration the one of the mesh, and says whether that changed anything.
	Write(ctx context.Context, c Config) (changed bool, err error)
}

// Overlay is the mesh-wide configuration: the installed one, the base that a group of cases lays over it, and the
// patch of a single case on top. Only one case runs while it changes.
type Overlay struct {
	store     ConfigStore
	installed Config

	mu        sync.Mutex
	endpoints time.Time // when endpoints were last known to change
	base      Config
}

// NewOverlay returns an overlay of the installed configuration.
func NewOverlay(installed Config, store ConfigStore) *Overlay {
	return &Overlay{store: store, installed: installed, endpoints: time.Now()}
}

// set lays a patch over the base; an empty one goes back to it. It says whether anything changed.
func (o *Overlay) set(ctx context.Context, patch Config) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store.Write(ctx, Merge(Merge(o.installed, o.base), patch))
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
