package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/procgroup"
)

// GoCommand asks the go command, which asks wherever it is configured to.
type GoCommand struct {
	Dir string // an empty folder to run it in
}

// settings of every call. Unlike everywhere else, the go command may write go.mod and go.sum: what it adds it compares with
// the Go checksum database.
var settings = []string{"CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off", "GOOS=linux"}

// run returns what the go command has printed, also if it fails.
func (g GoCommand) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), settings...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := procgroup.Run(cmd)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", args[0], err, components.Excerpt(stderr.String()))
	}
	return stdout.Bytes(), err
}

// Download is part of Modules.
func (g GoCommand) Download(ctx context.Context, mods ...module.Version) ([]Served, error) {
	args := []string{"mod", "download", "-json"}
	for _, m := range mods {
		args = append(args, m.Path+"@"+m.Version)
	}
	text, failed := g.run(ctx, g.Dir, args...) // it fails when one is refused
	dec := json.NewDecoder(bytes.NewReader(text))
	var out []Served
	for {
		// A refused module has a version, too; what it does not have is a folder.
		var m struct{ Version, Dir, Sum, Error string }
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read which modules are served: %w", err), failed)
		}
		out = append(out, Served{Version: m.Version, Dir: m.Dir, Sum: m.Sum, Why: m.Error})
	}
	if len(out) != len(mods) {
		return nil, errors.Join(fmt.Errorf("the go command answered for %d of %d modules", len(out), len(mods)), failed)
	}
	return out, nil
}

// Versions is part of Modules.
func (g GoCommand) Versions(ctx context.Context, path string) []string {
	var out []string
	for _, args := range [][]string{{"-versions", path}, {path + "@latest"}} {
		text, err := g.run(ctx, g.Dir, append([]string{"list", "-m", "-json"}, args...)...)
		var m struct {
			Version  string
			Versions []string
		}
		if err != nil || json.Unmarshal(text, &m) != nil {
			continue // it lists none
		}
		out = append(out, m.Versions...)
		if m.Version != "" {
			out = append(out, m.Version)
		}
	}
	return out
}

// GoMod is part of Modules.
func (g GoCommand) GoMod(ctx context.Context, m module.Version) ([]byte, error) {
	text, err := g.run(ctx, g.Dir, "list", "-m", "-json", m.Path+"@"+m.Version)
	if err != nil {
		return nil, err
	}
	var got struct{ GoMod string }
	if err := json.Unmarshal(text, &got); err != nil {
		return nil, fmt.Errorf("find the go.mod of %s: %w", m, err)
	}
	return os.ReadFile(got.GoMod)
}

// Settle is part of Modules. Each program is looked at with its own build tags, by which its packages differ.
func (g GoCommand) Settle(ctx context.Context, dir string) error {
	for _, p := range components.IstioPrograms {
		if _, err := g.run(ctx, dir, "list", "-deps", "-tags", strings.Join(p.Tags, ","), components.IstioModule+"/"+p.Package); err != nil {
			return err
		}
	}
	_, err := os.Stat(filepath.Join(dir, "go.sum"))
	return err
}
