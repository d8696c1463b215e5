package harness

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestOccupy(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "locks", "one"), filepath.Join(t.TempDir(), "two")
	first, err := occupy(one, "run-1")
	if err != nil || first.before != "" {
		t.Fatalf("%+v %v", first, err)
	}
	if _, err := occupy(one, "run-2"); !errors.Is(err, ErrOccupied) {
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
	if err := next.end(false); err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"run-4", ""} {
		next, err := occupy(one, "run-5")
		if err != nil || next.before != before {
			t.Errorf("before it was %q, want %q, %v", next.before, before, err)
		}
		if err := next.end(true); err != nil {
			t.Fatal(err)
		}
	}
}
