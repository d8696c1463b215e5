package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/existing"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// casesPart is the part of the journal that cases make.
const casesPart = "cases"

// hold is what a session has of its cluster until it is closed: a lock, and what it has made.
type hold struct {
	run  string       // by whose name it is known; "" for what belongs to the cluster and not to a run
	lock *clusterLock // nil for a watcher
	// journal is nil for what stays in the cluster.
	journal *fixture.Journal
	// temporary says that the session has brought the cluster up, which goes with it and takes everything along.
	temporary bool
	// istio has installed the Istio of an existing cluster for this session; nil where it is somebody else's.
	istio *mesh.Installer
}

// journals is the folder with the journals of runs in a cluster.
func journals(ctx context.Context, store *components.Store, cs kubernetes.Interface) (string, error) {
	uid, err := clusterUID(ctx, cs)
	return filepath.Join(store.Root, "runs", uid), err
}

// beginJournal begins to note what this run makes in a cluster that outlives it, and removes what earlier ones have left
// there. The session must be connected; it is connected anew, since what it makes from here on is noted.
func (s *opening) beginJournal(ctx context.Context) error {
	dir, err := journals(ctx, s.store, s.conn.cs)
	if err != nil {
		return err
	}
	if s.hold.journal, err = fixture.CreateJournal(dir, s.hold.run); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	if s.opts.Watch {
		return nil
	}
	return s.cleanUpPrevious(ctx, dir)
}

// cleanUpPrevious removes the objects that runs which were killed have left in the cluster: they would be taken for
// verdicts. In an existing cluster it goes by the journals alone, since a run may be at work on another machine.
func (s *opening) cleanUpPrevious(ctx context.Context, dir string) error {
	swept, err := existing.Clean(ctx, s.conn.cs, s.conn.fix, dir, "", s.hold.lock.follows())
	if err == nil && s.env.ours {
		err = pods.Return(ctx, s.conn.cs)
	}
	if err != nil {
		return fmt.Errorf("remove what runs that were cut off have left in cluster %s: %w", s.env.cluster.Name(), err)
	}
	if len(swept.Removed) > 0 {
		s.opts.logf("removed what %s, which was cut off, had left: %s", strings.Join(swept.Runs, ", "), strings.Join(swept.Removed, ", "))
	}
	return nil
}

// remove removes what the session has made over a connection, nil where it never had one, unless it went with its cluster.
func (h *hold) remove(ctx context.Context, c *connection, dead bool) error {
	if dead || h.temporary || c == nil {
		return h.journal.Discard()
	}
	err := c.fix.RemoveAll(ctx)
	if err == nil && h.istio != nil {
		err = existing.Uninstalled(ctx, c.cs)
	}
	if err != nil {
		return errors.Join(err, h.journal.Close())
	}
	return h.journal.Discard()
}

// checkLeftovers demands that nothing is left in the cluster of what cases have made.
func checkLeftovers(ctx context.Context, fix *fixture.Client) error {
	left, err := fix.Left(ctx, casesPart)
	if err != nil {
		return fmt.Errorf("look for objects of cases that were left: %w", err)
	}
	if len(left) == 0 {
		return nil
	}
	names := make([]string, len(left))
	for i, o := range left {
		names[i] = fixture.Describe(o)
	}
	return fmt.Errorf("the run left objects of cases in the cluster: %s", strings.Join(names, ", "))
}

// beyond says of the cases which objects they would make outside the run's own namespaces, before anything is made.
// Where the cases are the user's own, such a case is an error if the cluster has what it needs.
func (o *Options) beyond(ctx context.Context, fix *fixture.Client) (map[string][]string, error) {
	out := map[string][]string{}
	var run []egress.Case
	can := &engine.Engine{Features: []egress.Feature{egress.Hermetic}}
	for _, c := range o.Cases {
		what, err := existing.Outside(ctx, c, o.Fixtures, fix)
		if err != nil {
			return nil, err
		}
		shares, err := o.footprint(ctx, fix, c)
		if err != nil {
			return nil, err
		}
		if len(what) == 0 {
			what = shares.Noticed
		}
		out[c.Name] = what
		if v, _ := can.Applicable(c); v == "" {
			run = append(run, c)
		}
	}
	if !o.OwnCases {
		return out, nil
	}
	return out, existing.Refusal(run, out)
}

// Clean removes what earlier runs have left in a cluster: one run's, or everything of all that have ended.
func Clean(ctx context.Context, o Options, run string) (fixture.Swept, error) {
	s, err := open(o)
	if err != nil {
		return fixture.Swept{}, err
	}
	defer s.starter.end()
	if s.env.cluster, err = s.provider.Open(ctx, o.Name); err != nil {
		return fixture.Swept{}, err
	}
	if err := s.connect(); err != nil {
		return fixture.Swept{}, err
	}
	dir, err := journals(ctx, s.store, s.conn.cs)
	if err != nil {
		return fixture.Swept{}, err
	}
	if s.env.cluster.Facts().Foreign {
		return existing.Clean(ctx, s.conn.cs, s.conn.fix, dir, strings.TrimSpace(run), true)
	}
	if s.hold.lock, err = acquireByName(s.store, o.Provider, o.Name, s.hold.run); err != nil {
		return fixture.Swept{}, err
	}
	swept, err := existing.Clean(ctx, s.conn.cs, s.conn.fix, dir, strings.TrimSpace(run), true)
	if err == nil { // a run of a cluster of ours may have changed the mesh configuration too
		err = errors.Join(mesh.RestoreConfig(ctx, s.conn.cs), pods.Return(ctx, s.conn.cs))
	}
	return swept, errors.Join(err, s.hold.lock.end(err == nil))
}
