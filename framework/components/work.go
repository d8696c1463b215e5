package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/lockfile"
	"mesh-egress-conformance/framework/procgroup"
)

// Work is a folder of the store in which one entry is made. Whoever makes it holds the lock of the same name; a
// folder whose lock is free belongs to a run that was killed.
type Work struct {
	Out string // becomes the entry
	Dir string // for sources and downloads; where tools run

	tmp     string // TMPDIR of the tools; the go command ignores a go.mod in it, so it cannot be Dir
	store   *Store
	origins []Origin
}

func (s *Store) workDir() string { return filepath.Join(s.Root, "work") }

// work waits for the lock of a key and calls f with an empty folder, which is gone afterwards. The folder has the key
// for a name and nothing more, since paths of sockets in it must be short.
func (s *Store) work(ctx context.Context, key string, f func(*Work) error) error {
	unlock, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	dir := filepath.Join(s.workDir(), key)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what a killed run has left: %w", err)
	}
	defer os.RemoveAll(dir)
	w := &Work{Out: filepath.Join(dir, "out"), Dir: filepath.Join(dir, "in"), tmp: filepath.Join(dir, "tmp"), store: s}
	if err := errors.Join(os.MkdirAll(w.Out, 0o755), os.MkdirAll(w.Dir, 0o755), os.MkdirAll(w.tmp, 0o755), os.MkdirAll(s.partsDir(), 0o755)); err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	return f(w)
}

// sweep removes the folders of runs that were killed. Those of living runs are locked.
func (s *Store) sweep() error {
	dirs, err := os.ReadDir(s.workDir())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for what killed runs have left: %w", err)
	}
	var all error
	for _, d := range dirs {
		lock, err := lockfile.Take(s.LockFile(d.Name()))
		if errors.Is(err, lockfile.ErrHeld) {
			continue
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(filepath.Join(s.workDir(), d.Name())), lock.Close())
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("remove what a killed run has left: %w", err))
		}
	}
	return all
}

// lock waits for a lock.
func (s *Store) lock(ctx context.Context, name string) (unlock func(), err error) {
	var f *os.File
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		var taken error
		f, taken = lockfile.Take(s.LockFile(name))
		if errors.Is(taken, lockfile.ErrHeld) {
			return false, nil
		}
		return true, taken
	})
	switch {
	case err == nil:
		return func() { f.Close() }, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("wait for another run that makes %s: %w", name, err)
	}
	return nil, err
}

// came records what the entry is made of.
func (w *Work) came(from ...Origin) { w.origins = append(w.origins, from...) }

// run executes a tool in a folder and puts its output, or the begin and the end of it, into the error. Nothing that the tool starts
// outlives this process, and its temporary files lie in the work folder.
func (w *Work) run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd, err := w.command(ctx, dir, env, name, args...)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := procgroup.Run(cmd); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("run %s %s: %w\n%s", name, strings.Join(args, " "), err, Excerpt(stderr.String()+stdout.String()))
	}
	return stdout.Bytes(), nil
}

func (w *Work) command(ctx context.Context, dir string, env []string, name string, args ...string) (*exec.Cmd, error) {
	bin, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%s is needed to build components and is not installed (egressctl doctor names the package): %w", name, err)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "TMPDIR="+w.tmp, "GOTMPDIR="+w.tmp), env...)
	return cmd, nil
}

// excerptLines are how many of the first and of the last lines of a tool's output are shown.
const excerptLines = 12

// Excerpt is a tool's output without what the go command says of downloads, and of a long one the first and the last
// lines: a compiler's first ones tell what is wrong, the last ones of most other tools.
func Excerpt(output string) string {
	var all []string
	for l := range strings.Lines(output) {
		if !strings.HasPrefix(l, "go: downloading ") {
			all = append(all, strings.TrimRight(l, "\r\n"))
		}
	}
	if left := len(all) - 2*excerptLines; left > 0 {
		all = slices.Concat(all[:excerptLines], []string{fmt.Sprintf("[%d more lines]", left)}, all[len(all)-excerptLines:])
	}
	return strings.Join(all, "\n")
}
