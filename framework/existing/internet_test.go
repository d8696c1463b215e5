package existing

import (
	"errors"
	"testing"
)

// A part that fails is never hidden by others that begin beside it.
func TestBeginParts(t *testing.T) {
	failed := errors.New("it did not begin")
	for bad := range 12 {
		parts, err := beginParts(12, func(i int) (*part, error) {
			if i == bad {
				return nil, failed
			}
			return &part{}, nil
		})
		if !errors.Is(err, failed) {
			t.Errorf("part %d: %v", bad, err)
		}
		begun := 0
		for _, p := range parts {
			if p != nil {
				begun++
			}
		}
		if want := 11; begun != want && bad != 0 {
			t.Errorf("part %d failed: %d of %d others are there to be closed", bad, begun, want)
		}
	}
}

// Session.Close may be called twice, and a part that never began has nothing to stop.
func TestCloseTwice(t *testing.T) {
	stopped := 0
	in := &Internet{parts: []*part{{stop: func() { stopped++ }}, nil, {}}}
	for range 2 {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if stopped != 1 {
		t.Errorf("stopped %d times", stopped)
	}
}
