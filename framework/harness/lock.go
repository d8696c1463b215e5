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
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/lockfile"
)

// A session holds a lock from before its cluster is brought up until everything of it is cleaned up:
//
//   - a cluster of the harness is locked by provider and name, which exist before the cluster does;
//   - an existing one, which is somebody else's, is locked by the UID of its namespace kube-system, which is the same
//     whatever kubeconfig leads there. Runs share it, since each keeps to its own namespaces; one that installs Istio has it alone.
//
// The locks lie in the component cache: they hold for one user on one machine.

// clusterLock is a session's hold on a cluster. While it lasts, and after a run that has not cleaned up, the
// lock's file names the run.
type clusterLock struct {
	file   *os.File
	uid    *os.File // the lock by UID of a cluster of the harness, which others may use by its kubeconfig; nil until it lives
	note   holder
	before string // the run that has ended without cleaning up, until that is done; "" for none
}

// holder is what a lock's file says of its holder.
type holder struct {
	Run      string `json:"run,omitempty"` // "" for a cluster that shall live on
	Command  string `json:"command"`
	PID      int    `json:"pid"`
	Starting bool   `json:"starting,omitempty"` // the cluster is not complete yet
}

func (t holder) String() string {
	if t.PID == 0 {
		return "another command"
	}
	return fmt.Sprintf("%s (process %d)", t.Command, t.PID)
}

// ErrInUse says that another run works in the cluster.
var ErrInUse = errors.New("another run is at work in it")

// ErrStarting says that the cluster is not complete yet.
var ErrStarting = errors.New("it is being brought up")

// refusal says why a session may not have a cluster that somebody holds.
func (t holder) refusal() error {
	if t.Starting {
		return fmt.Errorf("%w by %s; wait until that is complete, or choose another --name", ErrStarting, t)
	}
	return fmt.Errorf("%w: %s; wait until that ends, or choose another --name", ErrInUse, t)
}

// acquire takes hold of a cluster by its lock; run is "" for a session that is no run.
func acquire(path, run string) (*clusterLock, error) {
	f, err := lockfile.Take(path)
	if errors.Is(err, lockfile.ErrHeld) {
		held, _, err := lockfile.Look(path)
		if err != nil {
			return nil, err
		}
		return nil, readHolder(held).refusal()
	}
	if err != nil {
		return nil, err
	}
	t := &clusterLock{file: f, note: holder{Run: run, Command: thisCommand(), PID: os.Getpid(), Starting: true}}
	before, err := io.ReadAll(f)
	t.before = readHolder(string(before)).Run
	if err == nil {
		err = t.write()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("note the run in %s: %w", path, err)
	}
	return t, nil
}

// readHolder reads what a lock's file says; nothing where its holder is about to write it.
func readHolder(text string) (t holder) {
	if json.Unmarshal([]byte(text), &t) != nil {
		return holder{}
	}
	return t
}

func (t *clusterLock) write() error {
	b, err := json.Marshal(t.note)
	if err != nil {
		return err
	}
	return lockfile.Write(t.file, string(b))
}

// complete says to others that the cluster is complete.
func (t *clusterLock) complete() error {
	if t == nil || !t.note.Starting {
		return nil
	}
	t.note.Starting = false
	return t.write()
}

// follows says whether the cluster has what a run left that was cut off.
func (t *clusterLock) follows() bool { return t != nil && t.before != "" }

// end lets go of the cluster; clean says that nothing of the run is left in it.
func (t *clusterLock) end(clean bool) error {
	var err error
	switch {
	case clean && t.before != "": // this run never came to clean up after that one
		t.note = holder{Run: t.before}
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

// acquireByName takes hold of the cluster of that name, whether it is there already or not.
func acquireByName(store *components.Store, provider, name, run string) (*clusterLock, error) {
	l, err := acquire(nameLock(store, provider, name), run)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	return l, nil
}

// uidLock is the lock of a cluster by what it is, and not by what it is called.
func uidLock(ctx context.Context, store *components.Store, cs kubernetes.Interface) (string, error) {
	uid, err := clusterUID(ctx, cs)
	return store.LockFile("run-uid-" + uid), err
}

// clusterUID names a cluster, whatever it is reached by: it is the UID of its first namespace.
func clusterUID(ctx context.Context, cs kubernetes.Interface) (string, error) {
	ns, err := cs.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("tell which cluster this is, by its namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return string(ns.UID), nil
}

// acquireUID keeps those out of a run's cluster who come by its kubeconfig. A session that is no run, or only watches,
// keeps nobody out.
func (t *clusterLock) acquireUID(ctx context.Context, store *components.Store, cs kubernetes.Interface) error {
	if t == nil || t.note.Run == "" {
		return nil
	}
	byUID, err := acquireByUID(ctx, store, cs, t.note.Run)
	if err != nil {
		return err
	}
	t.uid = byUID.file
	return nil
}

// acquireByUID takes hold of a cluster for this session alone.
func acquireByUID(ctx context.Context, store *components.Store, cs kubernetes.Interface, run string) (*clusterLock, error) {
	path, err := uidLock(ctx, store, cs)
	if err != nil {
		return nil, err
	}
	l, err := acquire(path, run)
	if err != nil {
		return nil, err
	}
	l.before = "" // egressctl clean removes what a run has left in an existing cluster
	return l, l.complete()
}

// shareByUID takes hold of an existing cluster, beside other runs that keep to their own namespaces.
func shareByUID(ctx context.Context, store *components.Store, cs kubernetes.Interface) (*clusterLock, error) {
	path, err := uidLock(ctx, store, cs)
	if err != nil {
		return nil, err
	}
	f, err := lockfile.Share(path)
	if errors.Is(err, lockfile.ErrHeld) {
		text, _, err := lockfile.Look(path)
		if err != nil {
			return nil, err
		}
		return nil, readHolder(text).refusal()
	}
	if err != nil {
		return nil, err
	}
	return &clusterLock{file: f}, nil
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
	if t := readHolder(text); held && t.Starting {
		return fmt.Errorf("cluster %s: %w", name, t.refusal())
	}
	return nil
}
