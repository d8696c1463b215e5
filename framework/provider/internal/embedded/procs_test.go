//go:build linux

package embedded

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// helperEnv makes this test binary keep one part, as PID 1 of a sandbox does: procs waits for every child of
// its process, which a test beside others must not do.
const helperEnv = "EGRESS_TEST_KEEP"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		ps := newProcs(dir+":/usr/bin:/bin", dir)
		c := command{name: "part", argv: []string{"part"}}
		pr, err := ps.start(c)
		if err == nil {
			err = ps.keep(pr, c, 2)
		}
		os.Stdout.WriteString(err.Error())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKeepPart(t *testing.T) {
	for name, x := range map[string]struct {
		script, want string
		starts       int
	}{
		"gives up":                  {"exit 1", "ended: exit status 1", 3},
		"is killed":                 {"kill -9 $$", "ended: killed by killed", 1},
		"crashes":                   {"exit 2", "ended: exit status 2", 1},
		"cannot be started again":   {`rm "$0"; exit 1`, "ended (exit status 1) and could not be started again: program part", 1},
		"is started again and ends": {`[ $(wc -l <"${0%/*}/starts") -lt 2 ] && exit 1; exit 2`, "ended: exit status 2", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := "#!/bin/sh\necho >>\"${0%/*}/starts\"\n" + x.script + "\n"
			if err := os.WriteFile(filepath.Join(dir, "part"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), x.want) {
				t.Errorf("%v: %s; wanted %q", err, out, x.want)
			}
			starts, err := os.ReadFile(filepath.Join(dir, "starts"))
			if err != nil || len(starts) != x.starts {
				t.Errorf("%d starts, wanted %d: %v", len(starts), x.starts, err)
			}
		})
	}
}
