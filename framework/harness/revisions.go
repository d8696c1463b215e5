package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
)

// revisions are the istiods beside the default one that the session has installed. Each is a set of objects like any
// other that a run makes: noted in its journal before they are made, and removed one and all.
type revisions struct {
	way      mesh.Way
	cs       kubernetes.Interface
	fixtures *fixture.Client
	limits   limits.Limits
	// installer renders the chart of a revision's istiod, and proxies is the tag of the images of the proxies that it injects; an error
	// says why it cannot be installed here.
	installer func(v egress.Revision) (in *mesh.Installer, proxies string, err error)
	// keep makes the store of a revision's mesh configuration, which follows the run's base; nil where the run changes none.
	keep    func(revision string, installed mesh.Config) mesh.ConfigStore
	overlay *mesh.Overlay
	changer *mesh.Changer

	mu        sync.Mutex
	installed map[string]*revision
}

// revision is an istiod that was installed.
type revision struct {
	objects []*fixture.Object
	istiod  *mesh.Istiod // nil until it serves
}

// newRevisions can install further istiods. The overlay is nil where the mesh configuration is not the session's to change, own see
// connectIstiods.
func newRevisions(s *site, overlay *mesh.Overlay, changer *mesh.Changer, own *mesh.Installer) *revisions {
	return &revisions{
		way: s.conn.way, cs: s.conn.cs, fixtures: s.conn.fix, limits: s.opts.Limits, installer: s.revisionInstaller(own),
		keep: s.configStore, overlay: overlay, changer: changer, installed: map[string]*revision{},
	}
}

// revisionInstaller renders further istiods, where the Istio of the cluster is the harness's. Those of one version share
// the charts that were read.
func (s *site) revisionInstaller(own *mesh.Installer) func(v egress.Revision) (*mesh.Installer, string, error) {
	var mu sync.Mutex
	of := map[string]*mesh.Installer{} // by tag
	return func(v egress.Revision) (*mesh.Installer, string, error) {
		if !s.env.ours && own == nil {
			return nil, "", errors.New("the Istio of this cluster belongs to somebody else, and no istiod is put beside it")
		}
		istiod, proxy, err := versionsOf(v, s.env.facts)
		if err != nil || !s.env.ours {
			return own, "", err
		}
		mu.Lock()
		defer mu.Unlock()
		if of[istiod.Tag] == nil {
			of[istiod.Tag] = s.installer(istiod)
		}
		return of[istiod.Tag], proxy.Tag, nil
	}
}

// configStore is where the mesh configuration of a revision is kept, spoiled where the session has such a sabotage.
func (s *site) configStore(revision string, installed mesh.Config) mesh.ConfigStore {
	var store mesh.ConfigStore = mesh.NewRevisionStore(s.conn.cs, revision, installed)
	if spoil := actions[s.opts.Sabotage].config; spoil != nil {
		store = spoil(store)
	}
	return store
}

// install installs the istiod of a revision and waits until it serves.
func (r *revisions) install(ctx context.Context, v egress.Revision) error {
	in, proxies, err := r.installer(v)
	if err != nil {
		return fmt.Errorf("install the istiod of revision %s: %w", v.Name, err)
	}
	objs, err := in.Revision(v, proxies)
	if err != nil {
		return err
	}
	config, err := mesh.InstalledBy(objs, v.Name)
	if err != nil {
		return err
	}
	made, err := r.fixtures.Apply(ctx, mesh.SystemNamespace, objs...)
	r.mu.Lock()
	r.installed[v.Name] = &revision{objects: made}
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("install the istiod of revision %s: %w", v.Name, err)
	}
	if r.overlay != nil {
		if err := r.overlay.Join(ctx, v.Name, config, r.keep(v.Name, config)); err != nil {
			return err
		}
	}
	if err := mesh.AwaitRevision(ctx, r.cs, v.Name, r.limits.Pods.Slow); err != nil {
		return err
	}
	istiod, err := mesh.ConnectIstiod(ctx, r.way, v.Name, r.limits.Push)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.installed[v.Name].istiod = istiod
	r.mu.Unlock()
	r.changer.Join(v.Name, istiod)
	r.changer.EndpointsChange()
	return nil
}

// names are the revisions that are installed, sorted.
func (r *revisions) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.installed))
}

// remove removes a revision's istiod. Its clients keep what they have, and nobody tells them of changes any more.
func (r *revisions) remove(ctx context.Context, name string) error {
	r.mu.Lock()
	v := r.installed[name]
	delete(r.installed, name)
	r.mu.Unlock()
	if v == nil {
		return nil
	}
	r.changer.Leave(name)
	if r.overlay != nil {
		r.overlay.Leave(name)
	}
	if v.istiod != nil {
		v.istiod.Close()
	}
	err := r.fixtures.Remove(ctx, v.objects...) // in reverse order: webhooks go before what they call
	if err == nil {
		err = mesh.ForgetRevision(ctx, r.cs, name, r.limits.Pods.Ready)
	}
	r.changer.EndpointsChange()
	if err != nil {
		return fmt.Errorf("remove the istiod of revision %s: %w", name, err)
	}
	return nil
}

// close ends the connections.
func (r *revisions) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.installed {
		if v.istiod != nil {
			v.istiod.Close()
		}
	}
}

// forget completes the removal of all revisions, after their objects went with everything else of the run's.
func (r *revisions) forget(ctx context.Context) error {
	var all error
	for _, name := range r.names() {
		all = errors.Join(all, mesh.ForgetRevision(ctx, r.cs, name, r.limits.Pods.Ready))
	}
	return all
}

// scale gives the istiod of a revision so many replicas. One that was away serves the proxies again when it returns.
func (r *revisions) scale(ctx context.Context, name string, replicas int, proxies []string) error {
	r.mu.Lock()
	v := r.installed[name]
	r.mu.Unlock()
	if v == nil {
		return fmt.Errorf("the istiod of revision %s is not installed", name)
	}
	r.changer.EndpointsChange()
	if replicas == 0 {
		r.changer.Away(name, true)
	}
	if err := mesh.ScaleRevision(ctx, r.cs, name, replicas, r.limits.Pods.Slow); err != nil {
		return err
	}
	if replicas == 0 {
		v.istiod.Close()
		return nil
	}
	if err := mesh.AwaitRevision(ctx, r.cs, name, r.limits.Pods.Slow); err != nil {
		return err
	}
	r.changer.Away(name, false)
	return r.changer.Synced(ctx, name, proxies, r.limits.Pods.Slow)
}

// scaler gives the istiod of a revision so many replicas, and waits until that is so, for its proxies too.
type scaler interface {
	scale(ctx context.Context, name string, replicas int, proxies []string) error
}

// istiods does what a case says of istiods in a phase.
func (r *rules) istiods(ctx context.Context, c egress.Case, ph egress.Phase) error {
	for _, name := range slices.Sorted(maps.Keys(c.Istiod[ph])) {
		r.mu.Lock()
		t := r.of(c)
		t.scaled = append(t.scaled, name) // also where it is only half done
		r.mu.Unlock()
		if err := r.revisions.scale(ctx, name, c.Istiod[ph][name], r.clients.servedBy(c, name)); err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	return nil
}

// restore brings the istiods back that a case has sent away.
func (r *rules) restore(ctx context.Context, c egress.Case) error {
	r.mu.Lock()
	names := slices.Compact(slices.Sorted(slices.Values(r.of(c).scaled)))
	r.mu.Unlock()
	for _, name := range names {
		if err := r.revisions.scale(ctx, name, 1, r.clients.servedBy(c, name)); err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	r.mu.Lock()
	r.of(c).scaled = nil
	r.mu.Unlock()
	return nil
}

// servedBy names the proxies of a case's clients that the istiod of a revision serves.
func (c clients) servedBy(k egress.Case, revision string) []string {
	var out []string
	for _, n := range k.Clients() {
		if p, err := c.get(n); err == nil && p.Proxied() && p.Revision == revision {
			out = append(out, mesh.Proxy(p.PodName, p.Namespace))
		}
	}
	return out
}
