package components

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The agent's own imports must be found in the module that it is built in.
func TestOwnModule(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "module " + ownModule() + "\n"; string(mod[:len(want)]) != want {
		t.Errorf("%q, but go.mod begins with %q", ownModule(), mod[:len(want)])
	}
}

// An agent beside the program is taken if its name has the digest of the sources, and if it can be run.
func TestAgentBeside(t *testing.T) {
	name, err := AgentFile()
	if err != nil || !regexp.MustCompile(`^egressprobe-[0-9a-f]{16}$`).MatchString(name) {
		t.Fatal(name, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(exe), name)
	t.Cleanup(func() { os.Remove(file) })
	t.Setenv("PATH", "") // no Go, as in the image of a release
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	st, err := OpenStore()
	if err != nil {
		t.Fatal(err)
	}
	agent := func(mode os.FileMode) (string, error) {
		if err := os.WriteFile(file, []byte("agent"), mode); err != nil {
			t.Fatal(err)
		}
		return Agent(t.Context(), st, nil)
	}
	if got, err := agent(0o644); err == nil {
		t.Errorf("%s was taken, though nobody may run it", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := agent(0o755); err != nil || got != file {
		t.Error(got, err)
	}
}
