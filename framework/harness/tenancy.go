package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tenancy is a run's hold on a cluster that lives on after it. The kernel drops the lock when the process
// ends, however it ends; the file then still names the run, unless the run has cleaned up.
type tenancy struct {
	file   *os.File
	before string // the run that has ended without cleaning up; "" for none
}

// ErrOccupied says that another run works in the cluster.
var ErrOccupied = errors.New("another run is at work in it")

// occupy takes hold of a cluster for a run. folder is where the locks are.
func occupy(folder, provider, cluster, run string) (*tenancy, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, "run-"+provider+"-"+cluster), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of runs: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrOccupied
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	t := &tenancy{file: f}
	before, err := io.ReadAll(f)
	if err == nil {
		t.before = strings.TrimSpace(string(before))
		err = t.note(run)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("note the run in %s: %w", f.Name(), err)
	}
	return t, nil
}

func (t *tenancy) note(text string) error {
	if err := t.file.Truncate(0); err != nil {
		return err
	}
	_, err := t.file.WriteAt([]byte(text), 0)
	return err
}

// end lets go of the cluster; clean says that nothing of the run is left in it.
func (t *tenancy) end(clean bool) error {
	var err error
	if clean {
		err = t.note("")
	}
	return errors.Join(err, t.file.Close())
}

// occupy takes hold of the session's cluster.
func (s *Session) occupy(folder string) error {
	t, err := occupy(folder, s.Cluster.Facts().Provider, s.Cluster.Name(), s.run)
	if err != nil {
		return fmt.Errorf("cluster %s: %w; wait until that ends, or bring another cluster up with --name", s.Cluster.Name(), err)
	}
	s.tenancy = t
	return nil
}

// inherit removes what a run that was killed has left in the cluster: its rules would be taken for verdicts.
func (s *Session) inherit(ctx context.Context) error {
	if s.tenancy == nil || s.tenancy.before == "" {
		return nil
	}
	swept, err := s.pods.Sweep(ctx)
	if err != nil {
		return fmt.Errorf("remove what %s, which was cut off, has left in cluster %s: %w", s.tenancy.before, s.Cluster.Name(), err)
	}
	if len(swept) > 0 {
		s.opts.logf("removed what %s, which was cut off, had left: %s", s.tenancy.before, strings.Join(swept, ", "))
	}
	return nil
}
