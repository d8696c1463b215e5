package harness

import (
	"errors"
	"fmt"
	"io"
	"os"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/lockfile"
)

// tenancy is a run's hold on a cluster that lives on after it. While it lasts, and after a run that has not
// cleaned up, the lock's file names the run.
type tenancy struct {
	file   *os.File
	before string // the run that has ended without cleaning up; "" for none
}

// ErrOccupied says that another run works in the cluster.
var ErrOccupied = errors.New("another run is at work in it")

// occupy takes hold of a cluster for a run, by the cluster's lock.
func occupy(path, run string) (*tenancy, error) {
	f, err := lockfile.Take(path)
	if errors.Is(err, lockfile.ErrHeld) {
		return nil, ErrOccupied
	}
	if err != nil {
		return nil, err
	}
	before, err := io.ReadAll(f)
	if err == nil {
		err = lockfile.Write(f, run)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("note the run in %s: %w", path, err)
	}
	return &tenancy{file: f, before: string(before)}, nil
}

// follows says whether the cluster has what a run left that was cut off.
func (t *tenancy) follows() bool { return t != nil && t.before != "" }

// end lets go of the cluster; clean says that nothing of the run is left in it.
func (t *tenancy) end(clean bool) error {
	var err error
	if clean {
		err = lockfile.Write(t.file, "")
	}
	return errors.Join(err, t.file.Close())
}

// occupy takes hold of the session's cluster.
func (s *Session) occupy(store *components.Store) error {
	t, err := occupy(store.LockFile("run-"+s.Cluster.Facts().Provider+"-"+s.Cluster.Name()), s.run)
	if err != nil {
		return fmt.Errorf("cluster %s: %w; wait until that ends, or bring another cluster up with --name", s.Cluster.Name(), err)
	}
	s.tenancy = t
	return nil
}
