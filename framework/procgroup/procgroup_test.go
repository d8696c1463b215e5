package procgroup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree starts a shell with a child and a grandchild and prints the process ids of all three.
const tree = `sh -c 'sleep 600 & echo $!; echo $$; wait' & echo $$; wait`

// holder is the environment variable that makes this test program the process that gets killed.
const holder = "PROCGROUP_TEST_HOLDER"

func TestMain(m *testing.M) {
	if os.Getenv(holder) != "" {
		cmd := exec.CommandContext(context.Background(), "sh", "-c", tree)
		cmd.Stdout = os.Stdout
		_ = Run(cmd)
		os.Exit(0)
	}
	os.Exit(m.Run())
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

func waitGone(t *testing.T, pids []int) {
	t.Helper()
	end := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, p := range pids {
		for alive(p) {
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("process %d still runs", p)
			}
		}
	}
}

func readPids(t *testing.T, r *bufio.Scanner) []int {
	t.Helper()
	var pids []int
	for len(pids) < 3 && r.Scan() {
		n, err := strconv.Atoi(r.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	if len(pids) != 3 {
		t.Fatalf("got %v, %v", pids, r.Err())
	}
	for _, p := range pids {
		if !alive(p) {
			t.Fatalf("process %d does not run", p)
		}
	}
	return pids
}

// kill -9 of the process that started a command ends the command's whole tree.
func TestKilledHolder(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), holder+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pids := readPids(t, bufio.NewScanner(out))
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			waitGone(t, pids)
		})
	}
}

// The end of a context ends the tree too, and Run returns only then.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", tree)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	pids := readPids(t, bufio.NewScanner(out))
	cancel()
	if err := g.Wait(); err == nil {
		t.Error("a killed command reports success")
	}
	waitGone(t, append(pids, g.guard.Process.Pid))
}

// What a command leaves running when it ends is killed, and its status and output are the caller's.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!; exit 3")
	cmd.Stdout = &out
	var ee *exec.ExitError
	if err := Run(cmd); !errors.As(err, &ee) || ee.ExitCode() != 3 {
		t.Errorf("got %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, []int{pid})
	if err := Run(exec.CommandContext(t.Context(), "/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
