package components

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mesh-egress-conformance/framework/lockfile"
)

// maker is the environment variable that makes this test program one that makes an entry until it is killed.
const maker = "COMPONENTS_TEST_MAKER"

func TestMain(m *testing.M) {
	if os.Getenv(maker) != "" {
		make1()
	}
	os.Exit(m.Run())
}

// make1 makes an entry with a tool that has a child and a grandchild, which print their process ids and sleep.
func make1() {
	st, err := OpenStore()
	if err == nil {
		_, err = st.Ensure(context.Background(), recipe("slow"), func(ctx context.Context, w *Work) error {
			script := `touch "$TMPDIR/temporary"; sh -c 'sleep 600 & echo $! $$ >>pids; wait' & echo $$ >>pids; wait`
			_, err := w.run(ctx, w.Out, nil, "sh", "-c", script)
			return err
		})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// alive says whether a process runs; a zombie that nobody has reaped yet does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z")
}

// until polls a condition, for half a minute at most.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func pidsIn(file string) []int {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	for sc := bufio.NewScanner(f); sc.Scan(); {
		for _, w := range strings.Fields(sc.Text()) {
			if n, err := strconv.Atoi(w); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// A run that is killed while it makes an entry leaves no process, and no folder once the next command opens the cache.
func TestKilledMaker(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			cache, temp := t.TempDir(), t.TempDir()
			t.Setenv("XDG_CACHE_HOME", cache)
			t.Setenv("TMPDIR", temp)
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), maker+"=1")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			work := filepath.Join(cache, "mesh-egress-conformance", "work")
			var pids []int
			until(t, "three processes", func() bool {
				found, err := filepath.Glob(filepath.Join(work, "*", "out", "pids"))
				if err != nil || len(found) != 1 {
					return false
				}
				pids = pidsIn(found[0])
				return len(pids) == 3
			})
			// A living run's folder is left alone.
			if _, err := OpenStore(); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(work); err != nil || len(left) != 1 {
				t.Errorf("the folder of a living run was touched: %v %v", left, err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			for _, p := range pids {
				until(t, fmt.Sprintf("the end of process %d", p), func() bool { return !alive(p) })
			}
			if _, err := OpenStore(); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{work, temp, filepath.Join(cache, "mesh-egress-conformance", "parts")} {
				if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
					t.Errorf("left in %s: %v %v", dir, left, err)
				}
			}
		})
	}
}

// What cannot be removed is told by prune and does not stop other commands.
func TestSweep(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	for _, n := range []string{"mine", "dead"} {
		if err := os.MkdirAll(filepath.Join(st.workDir(), n, "out"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockfile.Take(st.LockFile("mine"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := st.Prune(nil); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(st.workDir())
	if err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left: %v %v", left, err)
	}
}

// An interrupt is told as one.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st := &Store{Root: t.TempDir()}
	_, err := st.Ensure(ctx, recipe("slow"), func(ctx context.Context, w *Work) error {
		cancel()
		_, err := w.run(ctx, w.Out, nil, "sleep", "600")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
