package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/lockfile"
)

// A session holds a lock from before its cluster is brought up until everything of it is cleaned up:
//
//   - a cluster of the harness is locked by provider and name, which exist before the cluster does;
//   - somebody else's is locked by the UID of its namespace kube-system, which is the same whatever kubeconfig
//     leads there. Runs share it, since each keeps to its own namespaces; one that installs Istio has it alone.
//
// The locks lie in the component cache: they hold for one user on one machine.

// tenancy is a session's hold on a cluster. While it lasts, and after a run that has not cleaned up, the
// lock's file names the run.
type tenancy struct {
	file   *os.File
	uid    *os.File // the lock by UID of a cluster of the harness, which others may use by its kubeconfig; nil until it lives
	note   tenant
	before string // the run that has ended without cleaning up, until that is done; "" for none
}

// tenant is what a lock's file says of its holder.
type tenant struct {
	Run      string `json:"run,omitempty"` // "" for a cluster that shall live on
	Command  string `json:"command"`
	PID      int    `json:"pid"`
	Starting bool   `json:"starting,omitempty"` // the cluster is not complete yet
}

func (t tenant) String() string {
	if t.PID == 0 {
		return "another command"
	}
	return fmt.Sprintf("%s (process %d)", t.Command, t.PID)
}

// ErrOccupied says that another run works in the cluster.
var ErrOccupied = errors.New("another run is at work in it")

// ErrStarting says that the cluster is not complete yet.
var ErrStarting = errors.New("it is being brought up")

// refusal says why a session may not have a cluster that somebody holds.
func (t tenant) refusal() error {
	if t.Starting {
		return fmt.Errorf("%w by %s; wait until that is complete, or choose another --name", ErrStarting, t)
	}
	return fmt.Errorf("%w: %s; wait until that ends, or choose another --name", ErrOccupied, t)
}

// occupy takes hold of a cluster by its lock; run is "" for a session that is no run.
func occupy(path, run string) (*tenancy, error) {
	f, err := lockfile.Take(path)
	if errors.Is(err, lockfile.ErrHeld) {
		held, _, err := lockfile.Look(path)
		if err != nil {
			return nil, err
		}
		return nil, readTenant(held).refusal()
	}
	if err != nil {
		return nil, err
	}
	t := &tenancy{file: f, note: tenant{Run: run, Command: thisCommand(), PID: os.Getpid(), Starting: true}}
	before, err := io.ReadAll(f)
	t.before = readTenant(string(before)).Run
	if err == nil {
		err = t.write()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("note the run in %s: %w", path, err)
	}
	return t, nil
}

// readTenant reads what a lock's file says; nothing where its holder is about to write it.
func readTenant(text string) (t tenant) {
	if json.Unmarshal([]byte(text), &t) != nil {
		return tenant{}
	}
	return t
}

func (t *tenancy) write() error {
	b, err := json.Marshal(t.note)
	if err != nil {
		return err
	}
	return lockfile.Write(t.file, string(b))
}

// complete says to others that the cluster is complete.
func (t *tenancy) complete() error {
	if t == nil || !t.note.Starting {
		return nil
	}
	t.note.Starting = false
	return t.write()
}

// follows says whether the cluster has what a run left that was cut off.
func (t *tenancy) follows() bool { return t != nil && t.before != "" }

// end lets go of the cluster; clean says that nothing of the run is left in it.
func (t *tenancy) end(clean bool) error {
	var err error
	switch {
	case clean && t.before != "": // this run never came to clean up after that one
		t.note = tenant{Run: t.before}
		err = t.write()
	case clean:
		err = lockfile.Write(t.file, "")
	}
	if t.uid != nil {
		t.uid.Close()
	}
	return errors.Join(err, t.file.Close())
}

// thisCommand names this program as its user knows it: without flags, which may be long.
func thisCommand() string {
	name := filepath.Base(os.Args[0])
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		name += " " + os.Args[1]
	}
	return name
}

func nameLock(store *components.Store, provider, name string) string {
	return store.LockFile("run-" + provider + "-" + name)
}

// occupy takes hold of the cluster of the session's name, whether it is there already or not.
func (s *Session) occupy(store *components.Store) error {
	t, err := occupy(nameLock(store, s.opts.Provider, s.opts.Name), s.run)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", s.opts.Name, err)
	}
	s.tenancy = t
	return nil
}

// uidLock is the lock of the cluster by what it is, and not by what it is called.
func (s *Session) uidLock(ctx context.Context, store *components.Store) (string, error) {
	ns, err := s.cs.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("tell cluster %s from others by its namespace %s: %w", s.Cluster.Name(), metav1.NamespaceSystem, err)
	}
	return store.LockFile("run-uid-" + string(ns.UID)), nil
}

// occupyUID keeps those out of a run's cluster who come by its kubeconfig.
func (s *Session) occupyUID(ctx context.Context, store *components.Store) error {
	if s.tenancy == nil || s.run == "" {
		return nil
	}
	t, err := s.hold(ctx, store)
	if err != nil {
		return err
	}
	s.tenancy.uid = t.file
	return nil
}

// hold takes the lock by UID for this session alone.
func (s *Session) hold(ctx context.Context, store *components.Store) (*tenancy, error) {
	path, err := s.uidLock(ctx, store)
	if err != nil {
		return nil, err
	}
	t, err := occupy(path, s.run)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.Cluster.Name(), err)
	}
	t.before = "" // egressctl clean removes what a run has left in somebody else's cluster
	return t, t.complete()
}

// share takes hold of somebody else's cluster, beside other runs that keep to their own namespaces.
func (s *Session) share(ctx context.Context, store *components.Store) error {
	path, err := s.uidLock(ctx, store)
	if err != nil {
		return err
	}
	f, err := lockfile.Share(path)
	if errors.Is(err, lockfile.ErrHeld) {
		text, _, err := lockfile.Look(path)
		if err != nil {
			return err
		}
		return fmt.Errorf("cluster %s: %w", s.Cluster.Name(), readTenant(text).refusal())
	}
	if err != nil {
		return err
	}
	s.tenancy = &tenancy{file: f}
	return nil
}

// unshare gives somebody else's cluster to this session alone, which is about to install an Istio in it.
func (s *Session) unshare(ctx context.Context, store *components.Store) error {
	s.tenancy.file.Close()
	s.tenancy = nil
	t, err := s.hold(ctx, store)
	s.tenancy = t
	return err
}

// Starting returns an error that says who is bringing up the cluster of that name; nil if nobody is.
func Starting(provider, name string) error {
	store, err := components.OpenStore()
	if err != nil {
		return err
	}
	return startingIn(store, provider, name)
}

func startingIn(store *components.Store, provider, name string) error {
	text, held, err := lockfile.Look(nameLock(store, provider, name))
	if err != nil {
		return err
	}
	if t := readTenant(text); held && t.Starting {
		return fmt.Errorf("cluster %s: %w", name, t.refusal())
	}
	return nil
}
