package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/schedule"
)

// site is what all parts of a session stand on: what was asked for, where that is done, and the pods that do it.
type site struct {
	opts    Options
	env     environment
	conn    *connection // nil until the cluster is there
	starter *starter
	times   *recorder
	// versions are what the clients' proxies have said of themselves.
	versions clientVersions
}

// alive returns a context that also ends when the cluster dies, with its failure as the cause.
func (s *site) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	return cluster.While(ctx, s.env.cluster, func() error { return fmt.Errorf("the cluster died: %w", s.env.failure()) })
}

// over says whether a run is cut short. That the cluster is gone ctx knows a moment later than the cluster.
func (s *site) over(ctx context.Context) bool {
	select {
	case <-cluster.Gone(s.env.cluster):
		<-ctx.Done()
	default:
	}
	return ctx.Err() != nil
}

// because adds the cluster's own explanation to an error that its death has caused.
func (s *site) because(ctx context.Context, err error) error {
	if err == nil || s.env.cluster == nil || ctx.Err() != nil && schedule.Ended(ctx) == schedule.Interrupted {
		return err
	}
	s.awaitDeath(ctx)
	if cause := s.env.cluster.Failure(); cause != nil {
		return fmt.Errorf("%w\n(seen as: %w)", cause, err)
	}
	return err
}

// awaitDeath waits until it is known whether the cluster has died. A connection that breaks may be seen before the death of
// whoever was at its other end, so it waits a moment for that; and where the API server does not answer either, until that
// death is known or the API server answers again.
func (s *site) awaitDeath(ctx context.Context) {
	gone := cluster.Gone(s.env.cluster)
	select {
	case <-gone:
	case <-s.starter.life.Done():
	case <-time.After(s.opts.Limits.Cluster.Death):
	}
	_ = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, s.opts.Limits.Cluster.APIServer, true, func(ctx context.Context) (bool, error) {
		if s.env.cluster.Failure() != nil || s.conn == nil {
			return true, nil
		}
		ctx, cancel := context.WithTimeout(ctx, s.opts.Limits.Cluster.Answer)
		defer cancel()
		err := s.conn.ready(ctx)
		var status apierrors.APIStatus
		return err == nil || errors.As(err, &status), nil // a refusal is an answer, too
	}) // if nothing is known by then, nothing is
}

// installer installs one of the Istios whose images the session's cluster has, which must be one of the harness's own. The
// CRDs are those of the newest, as before any upgrade.
func (s *site) installer(i cluster.Istio) *mesh.Installer {
	f := s.env.facts
	o := mesh.Options{Module: i.Module, Base: newest(f).Module, Tag: i.Tag, OfficialProxy: slices.Contains(f.Features, egress.IstioFilters), Policy: egress.RegistryOnly, Limits: s.opts.Limits}
	if f.Profile == cluster.IstioDocs {
		forDocs(&o)
	}
	return mesh.NewInstaller(s.env.cluster.RESTConfig(), o)
}
