package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/verify"
)

// timers are the clock of a lull: each time that somebody waits is handed out, to be let go.
type timers struct{ asked chan timer }

type timer struct {
	d  time.Duration
	is chan time.Time
}

func (t timers) after(d time.Duration) <-chan time.Time {
	x := timer{d, make(chan time.Time, 1)}
	t.asked <- x
	return x.is
}

// Saving is over when nothing comes for a while, and at the latest when too much time has gone by.
func TestLull(t *testing.T) {
	const quiet, most = time.Second, time.Minute
	for name, x := range map[string]struct {
		hints  int  // beside the first one
		end    bool // the longest time goes by, with hints still coming
		cancel bool
		want   bool
	}{
		"one hint":                 {0, false, false, true},
		"several":                  {3, false, false, true},
		"they do not end":          {3, true, false, true},
		"interrupted meanwhile":    {1, false, true, false},
		"interrupted at the first": {-1, false, true, false},
	} {
		clock := timers{make(chan timer)}
		hints, ctx, stop := make(chan struct{}), context.Context(nil), context.CancelFunc(nil)
		ctx, stop = context.WithCancel(t.Context())
		done := make(chan bool, 1)
		go func() { done <- lull{quiet, most, clock.after}.wait(ctx, hints) }()
		if x.hints < 0 {
			stop()
		} else {
			hints <- struct{}{}
			longest := <-clock.asked
			short := <-clock.asked
			if longest.d != most || short.d != quiet {
				t.Fatalf("%s: %v, %v", name, longest.d, short.d)
			}
			for range x.hints {
				hints <- struct{}{}
				short = <-clock.asked // each begins the quiet time anew
			}
			switch {
			case x.cancel:
				stop()
			case x.end:
				longest.is <- time.Time{}
			default:
				short.is <- time.Time{}
			}
		}
		if got := <-done; got != x.want {
			t.Errorf("%s: %t", name, got)
		}
		stop()
	}
}

// versionOf is a reading with one object of that name, and these mistakes.
func versionOf(name string, mistakes ...string) *reading {
	set := &manifest.Set{Objects: []manifest.Object{{File: "a.yaml", Line: 1, Fields: map[string]any{"kind": "Namespace", "metadata": map[string]any{"name": name}}}}}
	for _, m := range mistakes {
		set.Mistakes = append(set.Mistakes, input.Mistake{File: "b.yaml", Line: 2, What: m})
	}
	return &reading{set: set}
}

// save is what is read after one, and what proving that comes to.
type save struct {
	read   *reading
	err    error // of reading
	failed error // of proving
}

func TestWatching(t *testing.T) {
	texts := versionOf("one")
	texts.beside = "other expectations"
	for name, x := range map[string]struct {
		saves  []save
		dead   error
		proven string   // the versions that were proven, in their order
		says   []string // in this order
		never  string
		fails  string
	}{
		"nothing is saved":      {nil, nil, "", nil, "saved", ""},
		"nothing has changed":   {[]save{{read: versionOf("one")}}, nil, "", nil, "saved", ""},
		"an object has changed": {[]save{{read: versionOf("two")}}, nil, "two", []string{"saved: a.yaml\n", "every call comes out as before"}, "broken", ""},
		"only the expectations": {[]save{{read: texts}}, nil, "one", []string{"saved: mesh settings or expectations\n"}, "broken", ""},
		"a file breaks and is mended": {
			[]save{{read: versionOf("two", "no YAML")}, {read: versionOf("two", "no YAML")}, {read: versionOf("one")}, {read: versionOf("three")}},
			nil, "three",
			[]string{"broken: b.yaml:2: no YAML\nwhat was proven last counts", "mended: it is what was proven last", "saved: a.yaml"},
			"no YAML\nwhat was proven last counts until this is mended\nbroken", "",
		},
		"nothing can be read": {[]save{{err: errors.New("nothing there")}, {read: versionOf("two")}}, nil, "two", []string{"broken: nothing there", "saved: a.yaml"}, "", ""},
		"a mesh refuses it":   {[]save{{read: versionOf("two"), failed: errors.New("no room")}, {read: versionOf("three")}}, nil, "two three", []string{"saved: a.yaml", "broken: no room", "saved: a.yaml"}, "", ""},
		"the cluster dies":    {[]save{{read: versionOf("two"), failed: errors.New("no answer")}, {read: versionOf("three")}}, errors.New("etcd ended"), "two", []string{"saved: a.yaml"}, "", "etcd ended"},
	} {
		var say strings.Builder
		var proven []string
		var failure error
		w := &watching{follow: func(*reading) error { return nil }, alive: func() error { return x.dead }, say: &say, last: &proof{of: versionOf("one"), report: &verify.Report{}}}
		for _, each := range x.saves {
			w.read = func() (*reading, error) { return each.read, each.err }
			w.prove = func(_ context.Context, next *reading, last *proof) (*proof, verify.Progress, error) {
				proven = append(proven, next.set.Objects[0].Name())
				if each.failed != nil {
					return nil, verify.Progress{}, each.failed
				}
				return &proof{of: next, report: &verify.Report{}}, verify.Since(last.report, &verify.Report{}, nil), nil
			}
			if failure = w.saved(t.Context()); failure != nil {
				break
			}
		}
		if got := strings.Join(proven, " "); got != x.proven {
			t.Errorf("%s: proven %q", name, got)
		}
		text := say.String()
		if x.never != "" && strings.Contains(text, x.never) {
			t.Errorf("%s: %q is in %s", name, x.never, text)
		}
		for _, want := range x.says {
			_, rest, ok := strings.Cut(text, want)
			if !ok {
				t.Errorf("%s: %q is not in %q of\n%s", name, want, text, say.String())
			}
			text = rest
		}
		if (failure == nil) != (x.fails == "") || failure != nil && !strings.Contains(failure.Error(), x.fails) {
			t.Errorf("%s: %v", name, failure)
		}
	}
}

// Ctrl-C ends it with the last proof, also while a version is being proven; nothing is said of what that interrupts.
func TestWatchingEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	hints := make(chan struct{}, 1)
	hints <- struct{}{}
	var say strings.Builder
	first := &proof{of: versionOf("one"), report: &verify.Report{}}
	w := &watching{
		hints: hints, say: &say, last: first, follow: func(*reading) error { return nil }, alive: func() error { return nil },
		lull: lull{after: func(time.Duration) <-chan time.Time {
			over := make(chan time.Time, 1)
			over <- time.Time{}
			return over
		}},
		read: func() (*reading, error) { return versionOf("two"), nil },
		prove: func(ctx context.Context, _ *reading, _ *proof) (*proof, verify.Progress, error) {
			stop()
			return nil, verify.Progress{}, context.Cause(ctx)
		},
	}
	if last, err := w.run(ctx); err != nil || last != first || strings.Contains(say.String(), "broken") {
		t.Errorf("%v, %v: %s", last, err, say.String())
	}
}

// A file that is put in the place of another one is a save, in folders that come later too; a closed one gives no hints.
func TestSaves(t *testing.T) {
	s, err := newSaves()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	dir := t.TempDir()
	deep, none := filepath.Join(dir, "deep"), filepath.Join(dir, "none")
	if err := s.follow([]string{dir, none}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	<-s.hints
	if err := s.follow([]string{dir, deep}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{filepath.Join(dir, "a.yaml"), filepath.Join(deep, "b.yaml")} {
		tmp := filepath.Join(t.TempDir(), "new")
		if err := os.WriteFile(tmp, []byte("a: b"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, f); err != nil {
			t.Fatal(err)
		}
		<-s.hints
	}
}

func TestSavedFiles(t *testing.T) {
	for want, files := range map[string][]string{
		"a":                        {"a"},
		"a, b, c, d, e":            {"a", "b", "c", "d", "e"},
		"a, b, c, d, e and 2 more": {"a", "b", "c", "d", "e", "f", "g"},
	} {
		if got := saved(files); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
