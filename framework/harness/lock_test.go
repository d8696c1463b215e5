package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/components"
)

func TestOccupy(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "locks", "one"), filepath.Join(t.TempDir(), "two")
	first, err := occupy(one, "run-1")
	if err != nil || first.before != "" {
		t.Fatalf("%+v %v", first, err)
	}
	here := fmt.Sprintf("(process %d)", os.Getpid())
	if _, err := occupy(one, "run-2"); !errors.Is(err, ErrStarting) || !strings.Contains(err.Error(), here) {
		t.Errorf("a second run while the first brings its cluster up: %v", err)
	}
	if err := first.complete(); err != nil {
		t.Fatal(err)
	}
	if _, err := occupy(one, "run-2"); !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), here) {
		t.Errorf("a second run: %v", err)
	}
	other, err := occupy(two, "run-3")
	if err != nil {
		t.Errorf("another cluster: %v", err)
	}
	if err := errors.Join(other.end(true), first.file.Close()); err != nil { // the first is killed
		t.Fatal(err)
	}
	next, err := occupy(one, "run-4")
	if err != nil || next.before != "run-1" {
		t.Fatalf("%+v %v", next, err)
	}
	if err := next.end(true); err != nil { // it never came to clean up after the first
		t.Fatal(err)
	}
	if next, err = occupy(one, "run-4"); err != nil || next.before != "run-1" {
		t.Fatalf("%+v %v", next, err)
	}
	next.before = ""
	if err := next.end(false); err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"run-4", ""} {
		next, err := occupy(one, "run-5")
		if err != nil || next.before != before {
			t.Errorf("before it was %q, want %q, %v", next.before, before, err)
		}
		next.before = ""
		if err := next.end(true); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever only wants to use a cluster hears that it is not complete yet, and of nothing else.
func TestStarting(t *testing.T) {
	store := &components.Store{Root: t.TempDir()}
	says := func(want error) {
		t.Helper()
		if err := startingIn(store, "embedded", "a"); !errors.Is(err, want) {
			t.Errorf("%v, wanted %v", err, want)
		}
	}
	says(nil)
	held, err := occupy(nameLock(store, "embedded", "a"), "run-1")
	if err != nil {
		t.Fatal(err)
	}
	says(ErrStarting)
	if err := startingIn(store, "kind", "a"); err != nil {
		t.Errorf("the same name elsewhere: %v", err)
	}
	if err := held.complete(); err != nil {
		t.Fatal(err)
	}
	says(nil)
	held.note.Starting = true
	if err := errors.Join(held.write(), held.file.Close()); err != nil { // it was killed
		t.Fatal(err)
	}
	says(nil)
}
