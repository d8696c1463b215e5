package harness

import (
	"context"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
)

// istiods are those of the mesh: the default one, and those that the session installs beside it. The mesh is changed through them.
type istiods struct {
	*site
	first     *mesh.Istiod
	changer   *mesh.Changer
	revisions *revisions
	doubts    *doubts // of the proxies
}

// connectIstiods connects to the default istiod. own has installed the Istio of somebody else's cluster; it is nil where that is
// theirs, and where the cluster is the harness's.
func connectIstiods(ctx context.Context, s *site, own *mesh.Installer) (*istiods, error) {
	first, err := mesh.ConnectIstiod(ctx, s.conn.way, s.env.revision, s.opts.Limits.Push)
	if err != nil {
		first.Close() // some of its pods may have answered
		return nil, err
	}
	var overlay *mesh.Overlay
	if s.env.ours && !s.opts.Watch { // else it is not ours to change
		installed, err := mesh.InstalledConfig(ctx, s.conn.cs)
		if err != nil {
			first.Close()
			return nil, err
		}
		overlay = mesh.NewOverlay(installed, s.configStore(mesh.DefaultRevision, installed))
	}
	changer := mesh.NewChanger(first, overlay, s.conn.fix, s.opts.Limits.Push)
	changer.Follow(s.conn.followed)
	return &istiods{site: s, first: first, changer: changer, revisions: newRevisions(s, overlay, changer, own), doubts: newDoubts()}, nil
}

// install installs the istiod of a revision and waits until it serves.
func (s *istiods) install(ctx context.Context, v egress.Revision) error {
	return s.revisions.install(ctx, v)
}

// bind says which revision's istiod serves a proxy.
func (s *istiods) bind(proxy, revision string) { s.changer.Bind(proxy, revision) }

// connected waits until the istiods that serve proxies know them.
func (s *istiods) connected(ctx context.Context, proxies ...string) error {
	return s.changer.Connected(ctx, proxies, s.opts.Limits.Pods.Connected)
}

// installGatewayAPI makes the cluster know the Gateway API.
func (s *istiods) installGatewayAPI(ctx context.Context) error {
	if err := installGatewayAPI(ctx, s.conn.fix, s.env.facts, s.opts.Limits.Cluster.GatewayAPI); err != nil {
		return err
	}
	return s.first.Quiet(ctx)
}

// setBase makes a mesh configuration the one that cases stand on; nil is the installed one.
func (s *istiods) setBase(ctx context.Context, base egress.Object) error {
	reached, err := s.changer.SetBase(ctx, base, s.conn.proxies())
	if err == nil && !reached {
		const why = "a change of the mesh configuration may not have reached every proxy"
		s.opts.logf(why)
		s.doubts.raise(why)
	}
	return err
}

// close ends the connections.
func (s *istiods) close() {
	s.first.Close()
	s.revisions.close()
}
