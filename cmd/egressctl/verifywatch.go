package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/verify"
)

// watching proves again on every save.
type watching struct {
	// hints say that something may have been saved; lull waits until the saving is over.
	hints <-chan struct{}
	lull  lull
	// read reads everything, and follow sees to it that there are hints of what that depends on.
	read   func() (*reading, error)
	follow func(*reading) error
	// prove proves a version, with what is known of the last one; an error is fatal where alive says so.
	prove func(ctx context.Context, next *reading, last *proof) (*proof, verify.Progress, error)
	alive func() error
	say   io.Writer

	last *proof
	told string // the last error, which is not told again and again
}

// lull collects hints: editors save in several steps, and several files at once.
type lull struct {
	quiet time.Duration // without a hint: the saving is over
	most  time.Duration // since the first hint: whatever else comes
	after func(time.Duration) <-chan time.Time
}

// The times of a lull: an editor's steps follow within milliseconds, and a person waits for the answer.
const (
	savingQuiet = 100 * time.Millisecond
	savingMost  = 2 * time.Second
)

// wait returns when something was saved, and false when ctx has ended.
func (p lull) wait(ctx context.Context, hints <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-hints:
	}
	end := p.after(p.most)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-hints:
		case <-end:
			return true
		case <-p.after(p.quiet):
			return true
		}
	}
}

// run goes on until ctx ends, and returns the last proof. What is broken is told; what was proven last counts until it is mended.
func (w *watching) run(ctx context.Context) (*proof, error) {
	for w.lull.wait(ctx, w.hints) {
		if err := w.saved(ctx); err != nil {
			return nil, err
		}
	}
	return w.last, nil
}

// saved deals with one save.
func (w *watching) saved(ctx context.Context) error {
	next, err := w.read()
	if err == nil {
		err = w.follow(next)
	}
	if err != nil {
		w.broken(ctx, err)
		return nil
	}
	files := next.set.Changed(w.last.of.set)
	if next.beside != w.last.of.beside {
		files = append(files, "mesh settings or expectations")
	}
	if len(files) == 0 {
		if w.told != "" {
			fmt.Fprintln(w.say, "mended: it is what was proven last")
		}
		w.told = ""
		return nil
	}
	if broken := next.set.Broken(w.last.of.set); len(broken) > 0 {
		w.broken(ctx, broken)
		return nil
	}
	w.told = ""
	fmt.Fprintf(w.say, "\nsaved: %s\n", saved(files))
	now, progress, err := w.prove(ctx, next, w.last)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil //nolint:nilerr // interrupted, which is how it ends
	case err != nil:
		if dead := w.alive(); dead != nil {
			return errors.Join(err, dead)
		}
		w.broken(ctx, err)
		return nil
	}
	w.last = now
	return progress.WriteText(w.say)
}

// broken tells what keeps a version from being proven, once.
func (w *watching) broken(ctx context.Context, err error) {
	if ctx.Err() != nil || err.Error() == w.told {
		return
	}
	w.told = err.Error()
	var mistakes input.Mistakes
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(w.say, "broken: "+m.Error())
		}
	} else {
		fmt.Fprintln(w.say, "broken: "+err.Error())
	}
	fmt.Fprintln(w.say, "what was proven last counts until this is mended")
}

// saved names files, some of many.
func saved(files []string) string {
	const most = 5
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	return strings.Join(files, ", ")
}

// watch proves again on every save until ctx ends.
func (x *verification) watch(cmd *cobra.Command, s *harness.Session, first *proof) (*proof, error) {
	files, err := newSaves()
	if err != nil {
		return nil, err
	}
	defer files.close()
	say := printable.Raw(cmd.OutOrStdout())
	w := &watching{
		hints: files.hints, lull: lull{savingQuiet, savingMost, time.After}, last: first, say: say,
		read:   func() (*reading, error) { return x.flags.reading(cmd, cmd.Flags().Args()) },
		follow: func(r *reading) error { return files.follow(x.flags.folders(r)) },
		prove: func(ctx context.Context, next *reading, last *proof) (*proof, verify.Progress, error) {
			return x.proveAgain(ctx, s, next, last)
		},
		alive: func() error { return s.Cluster().Failure() },
	}
	if err := w.follow(first.of); err != nil {
		return nil, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "watching what was read (folders: %d); Ctrl-C ends it\n", len(files.folders))
	files.hint() // something may have been saved since it was read
	return w.run(cmd.Context())
}

// folders are all on whose files a reading depends.
func (v *verifyFlags) folders(r *reading) []string {
	out := slices.Clone(r.set.Folders)
	for _, f := range []string{v.meshConfig, v.expectations} {
		if f != "" {
			out = append(out, filepath.Dir(f))
		}
	}
	return out
}

// proveAgain proves another version in the same mesh. What the last proof was not asked and this one is, is asked before anything
// changes.
func (x *verification) proveAgain(ctx context.Context, s *harness.Session, next *reading, last *proof) (*proof, verify.Progress, error) {
	start := time.Now()
	none := verify.Progress{}
	if err := s.SetClients(ctx, slices.Concat(x.own, last.of.clients())); err != nil { // which another version that failed may have changed
		return nil, none, err
	}
	outside, err := outsideFor(ctx, s, next.expected, next.model, last.of.model)
	if err != nil {
		return nil, none, err
	}
	var before []verify.Answer
	if more := outside.Unasked(last.outside); len(more.Questions) > 0 {
		heard, _, err := last.of.hear(ctx, s, more, true)
		if err != nil {
			return nil, none, err
		}
		before = last.of.model.Answers(more, heard)
	}
	if err := s.SetClients(ctx, slices.Concat(x.own, next.clients())); err != nil {
		return nil, none, err
	}
	now, err := x.prove(ctx, s, next, outside)
	if err != nil {
		return nil, none, err
	}
	now.report.Took = time.Since(start).Seconds()
	if x.out != nil {
		if err := writeVerify(now.report, x.out); err != nil {
			return nil, none, err
		}
	}
	return now, verify.Since(last.report, now.report, before), nil
}

// saves gives hints of files that were saved.
type saves struct {
	w       *fsnotify.Watcher
	hints   chan struct{} // one at most waits: whoever takes it looks at everything
	folders map[string]bool
}

// maxFolders bounds what is watched: each takes one of the watches that the machine gives a user (fs.inotify.max_user_watches).
const maxFolders = 2000

func newSaves() (*saves, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	s := &saves{w: w, hints: make(chan struct{}, 1), folders: map[string]bool{}}
	go s.pump()
	return s, nil
}

func (s *saves) close() { _ = s.w.Close() }

// pump turns what the machine says into hints; it ends with close. Where the machine has lost something, that is a hint as well.
func (s *saves) pump() {
	for {
		select {
		case e, open := <-s.w.Events:
			if !open {
				return
			}
			if e.Op != fsnotify.Chmod {
				s.hint()
			}
		case _, open := <-s.w.Errors:
			if !open {
				return
			}
			s.hint()
		}
	}
}

func (s *saves) hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// follow watches folders, beside those that are watched already. Whole folders are: editors put a new file in the place of the old one.
// One that is not there is seen to come in the folder that it is in.
func (s *saves) follow(folders []string) error {
	for _, f := range folders {
		if s.folders[f] && slices.Contains(s.w.WatchList(), f) {
			continue
		}
		if !s.folders[f] && len(s.folders) >= maxFolders {
			return fmt.Errorf("watch %s: %d folders are watched already, and more are not: name fewer", f, maxFolders)
		}
		if err := s.w.Add(f); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("watch folder %s: %w", f, err)
		}
		s.folders[f] = true
	}
	return nil
}
