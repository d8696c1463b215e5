package components

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func recipe(name string) Recipe {
	return Recipe{Name: name, Version: "v1", Source: Build, Inputs: "in"}
}

func fillWith(content string, calls *atomic.Int64) func(context.Context, *Work) error {
	return func(_ context.Context, w *Work) error {
		calls.Add(1)
		return os.WriteFile(filepath.Join(w.Out, "file"), []byte(content), 0o755)
	}
}

func TestEnsure(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 8 { // all want the same entry; one makes it
		wg.Go(func() {
			e, err := st.Ensure(t.Context(), recipe("a"), fillWith("x", &calls))
			if err != nil || e.Manifest.Files["file"].SHA256 == "" {
				t.Error(e, err)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 {
		t.Errorf("made %d times", calls.Load())
	}
	other := recipe("a")
	other.Inputs = "changed"
	if _, err := st.Ensure(t.Context(), other, fillWith("y", &calls)); err != nil || calls.Load() != 2 {
		t.Errorf("a changed recipe: made %d times, %v", calls.Load(), err)
	}
}

func TestEnsureFails(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	broken := errors.New("no such module")
	_, err := st.Ensure(t.Context(), recipe("a"), func(_ context.Context, w *Work) error {
		_ = os.WriteFile(filepath.Join(w.Out, "half"), nil, 0o644)
		return broken
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	for _, dir := range []string{st.partsDir(), st.workDir()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left behind in %s: %v %v", dir, left, err)
		}
	}
	if _, err := st.Lookup(recipe("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed entry is found: %v", err)
	}
}

func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"content":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), []byte("z"), 0o755) },
		"missing":  func(dir string) error { return os.Remove(filepath.Join(dir, "file")) },
		"cut":      func(dir string) error { return os.Truncate(filepath.Join(dir, "file"), 0) },
		"manifest": func(dir string) error { return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			st := &Store{Root: t.TempDir()}
			var calls atomic.Int64
			e, err := st.Ensure(t.Context(), recipe("a"), fillWith("x", &calls))
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(e.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Lookup(recipe("a")); !errors.Is(err, ErrCorrupt) {
				t.Errorf("the damage goes unnoticed: %v", err)
			}
			again, err := st.Ensure(t.Context(), recipe("a"), fillWith("x", &calls))
			if err != nil || calls.Load() != 2 || again.Verify() != nil {
				t.Errorf("not made again: %d, %v", calls.Load(), err)
			}
		})
	}
}

// A change that keeps size and time escapes the quick check and must not escape the full one.
func TestVerifyReadsEverything(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	var calls atomic.Int64
	e, err := st.Ensure(t.Context(), recipe("a"), fillWith("x", &calls))
	if err != nil {
		t.Fatal(err)
	}
	f := e.Path("file")
	before, err := os.Stat(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(f, []byte("z"), 0o755), os.Chtimes(f, time.Time{}, before.ModTime())); err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestLockWaits(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	unlock, err := st.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := st.lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	again, err := st.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestPrune(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	var calls atomic.Int64
	var entries []Entry
	for _, n := range []string{"keep", "drop"} {
		e, err := st.Ensure(t.Context(), recipe(n), fillWith(n, &calls))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	removed, err := st.Prune(map[string]bool{entries[0].Dir: true})
	if err != nil || len(removed) != 1 || removed[0] != entries[1].Dir {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := st.Lookup(recipe("keep")); err != nil {
		t.Error(err)
	}
}

// A full check notices a file that nobody put there.
func TestVerifyNoticesStrangers(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	var calls atomic.Int64
	e, err := st.Ensure(t.Context(), recipe("a"), fillWith("x", &calls))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Path("preloaded.so"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "preloaded.so") {
		t.Errorf("got %v", err)
	}
}
