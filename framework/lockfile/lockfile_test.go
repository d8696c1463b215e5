package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTakeAndShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "one")
	if _, held, err := Look(path); held || err != nil {
		t.Errorf("no file: %t %v", held, err)
	}
	f, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Write(f, "a longer text"), Write(f, "text")); err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func(string) (*os.File, error){"take": Take, "share": Share} {
		if _, err := take(path); !errors.Is(err, ErrHeld) {
			t.Errorf("%s a taken lock: %v", name, err)
		}
	}
	if text, held, err := Look(path); text != "text" || !held || err != nil {
		t.Errorf("taken: %q %t %v", text, held, err)
	}
	f.Close()
	if text, held, err := Look(path); text != "text" || held || err != nil {
		t.Errorf("let go: %q %t %v", text, held, err)
	}
	a, err := Share(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Share(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(path); !errors.Is(err, ErrHeld) {
		t.Errorf("take a shared lock: %v", err)
	}
	a.Close()
	b.Close()
	if f, err = Take(path); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// Holders that remove the file when they are done, and onlookers: never do two have the lock, and nobody
// is refused because somebody looks.
func TestRemoveRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one")
	var inside, looks atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				f, err := Take(path)
				if errors.Is(err, ErrHeld) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) > 1 {
					t.Error("two have the lock")
				}
				inside.Add(-1)
				if err := Remove(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	done, looking := make(chan struct{}), make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if _, _, err := Look(path); err != nil {
						t.Error(err)
					}
					if looks.Add(1) == 1 {
						close(looking)
					}
				}
			}
		})
	}
	<-looking
	for range 500 {
		f, err := Take(path)
		if err != nil {
			t.Errorf("refused beside onlookers: %v", err)
			break
		}
		f.Close()
	}
	close(done)
	wg.Wait()
}
