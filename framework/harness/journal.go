package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/existing"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// casesPart is the part of the journal that cases make.
const casesPart = "cases"

// journals is the folder with the journals of runs in the session's cluster. The UID of its first namespace names the
// cluster, whatever it is reached by.
func (s *Session) journals(ctx context.Context, store *components.Store) (string, error) {
	ns, err := s.cs.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("tell which cluster this is, by its namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return filepath.Join(store.Root, "runs", string(ns.UID)), nil
}

// beginJournal begins to note what this run makes in a cluster that outlives it, and removes what earlier ones have left
// there. The session must be connected; it is connected anew, since what it makes from here on is noted.
func (s *Session) beginJournal(ctx context.Context, store *components.Store) error {
	dir, err := s.journals(ctx, store)
	if err != nil {
		return err
	}
	if s.journal, err = fixture.CreateJournal(dir, s.run); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	return s.inherit(ctx, dir)
}

// inherit removes the objects that runs which were killed have left in the cluster: they would be taken for
// verdicts. In a cluster of somebody else's it goes by the journals alone, since a run may be at work on another
// machine.
func (s *Session) inherit(ctx context.Context, dir string) error {
	if s.opts.Watch {
		return nil
	}
	swept, err := existing.Clean(ctx, s.cs, s.fix, dir, "", s.tenancy.follows())
	if err != nil {
		return fmt.Errorf("remove what runs that were cut off have left in cluster %s: %w", s.Cluster.Name(), err)
	}
	if len(swept.Removed) > 0 {
		s.opts.logf("removed what %s, which was cut off, had left: %s", strings.Join(swept.Runs, ", "), strings.Join(swept.Removed, ", "))
	}
	return nil
}

// removeOwn removes what this run has made in a cluster that outlives it.
func (s *Session) removeOwn(ctx context.Context, dead bool) error {
	if dead || s.owned || s.fix == nil {
		return s.journal.Discard() // it went with the cluster
	}
	err := s.fix.RemoveAll(ctx)
	if err == nil && s.installed {
		err = existing.Uninstalled(ctx, s.cs)
	}
	if err != nil {
		return errors.Join(err, s.journal.Close())
	}
	return s.journal.Discard()
}

// checkLeftovers demands that nothing is left in the cluster of what cases have made.
func (s *Session) checkLeftovers(ctx context.Context) error {
	left, err := s.fix.Left(ctx, casesPart)
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
func (s *Session) beyond(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	var run []egress.Case
	can := &engine.Engine{Features: []egress.Feature{egress.Hermetic}}
	for _, c := range s.opts.Cases {
		what, err := existing.Outside(ctx, c, s.opts.Fixtures, s.fix)
		if err != nil {
			return nil, err
		}
		shares, err := s.footprint(ctx, c)
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
	if !s.opts.OwnCases {
		return out, nil
	}
	return out, existing.Refusal(run, out)
}

// Clean removes what earlier runs have left in a cluster: one run's, or everything of all that have ended.
func Clean(ctx context.Context, o Options, run string) (fixture.Swept, error) {
	s, p, store, err := open(o)
	if err != nil {
		return fixture.Swept{}, err
	}
	defer s.starter.end()
	if s.Cluster, err = p.Open(ctx, o.Name); err != nil {
		return fixture.Swept{}, err
	}
	if err := s.connect(); err != nil {
		return fixture.Swept{}, err
	}
	dir, err := s.journals(ctx, store)
	if err != nil {
		return fixture.Swept{}, err
	}
	if s.Cluster.Facts().Foreign {
		return existing.Clean(ctx, s.cs, s.fix, dir, strings.TrimSpace(run), true)
	}
	if err := s.occupy(store); err != nil {
		return fixture.Swept{}, err
	}
	swept, err := existing.Clean(ctx, s.cs, s.fix, dir, strings.TrimSpace(run), true)
	if err == nil { // a run of a cluster of ours may have changed the mesh configuration too
		err = mesh.RestoreConfig(ctx, s.cs)
	}
	return swept, errors.Join(err, s.tenancy.end(err == nil))
}
