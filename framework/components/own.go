package components

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/samples"
)

// ownPrograms are built from sources that are part of this program: file name in the build folder to
// text. They use the standard library alone, so that building them downloads nothing.
func ownPrograms() (map[string]map[string]string, error) {
	agent := map[string]string{"go.mod": "module " + ownModule() + "\n\ngo 1.25\n"}
	err := fs.WalkDir(probe.Source, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := probe.Source.ReadFile(p)
		agent["framework/probe/"+p] = string(b)
		return err
	})
	return map[string]map[string]string{
		"egresshttpbin": {"go.mod": "module egresshttpbin\n\ngo 1.25\n", "main.go": samples.AppSource},
		"egressprobe":   agent,
	}, err
}

// ownModule is the path of this module, which may have another one where it was published or forked. The sources of
// the agent import each other by it.
func ownModule() string {
	return strings.TrimSuffix(reflect.TypeFor[probe.Response]().PkgPath(), "/framework/probe")
}

// ownPackages are the main packages of ownPrograms.
var ownPackages = map[string]string{"egresshttpbin": ".", "egressprobe": "./framework/probe/agent"}

// AgentFile is the name that a probe agent must have to be taken as it is, from the folder that this program is in.
// The name has the digest of the sources, so an agent of another version is never taken. The image of a release has
// one, since there is no Go in it (scripts/release).
func AgentFile() (string, error) {
	all, err := ownPrograms()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(all["egressprobe"])) {
		text := all["egressprobe"][file]
		fmt.Fprintf(sum, "%s %d\n%s", file, len(text), text)
	}
	return fmt.Sprintf("egressprobe-%.8x", sum.Sum(nil)), nil
}

// Agent returns the file of the probe agent: the one beside this program if there is one of its sources, otherwise
// built from the source that is part of this program.
func Agent(ctx context.Context, st *Store, progress Progress) (string, error) {
	if exe, err := os.Executable(); err == nil {
		name, err := AgentFile()
		if err != nil {
			return "", err
		}
		if ready := filepath.Join(filepath.Dir(exe), name); isProgram(ready) {
			return ready, nil
		}
	}
	f := &fetcher{store: st, opts: Options{Progress: progress}, set: &Set{Parts: map[string]Entry{}}}
	e, err := f.own(ctx, "egressprobe")
	if err != nil {
		return "", err
	}
	return e.Path("egressprobe"), nil
}

func isProgram(file string) bool {
	s, err := os.Stat(file)
	return err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0
}

// own builds one of ownPrograms.
func (f *fetcher) own(ctx context.Context, name string) (Entry, error) {
	all, err := ownPrograms()
	if err != nil {
		return Entry{}, err
	}
	src := all[name]
	e, err := f.ensure(ctx, Recipe{Name: name, Version: "1", Source: Build, Inputs: []any{src, goarch, recipeVersion}},
		func(ctx context.Context, w *Work) error {
			for file, text := range src {
				to := filepath.Join(w.Dir, filepath.FromSlash(file))
				if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(text), 0o644)); err != nil {
					return err
				}
			}
			_, err := w.run(ctx, w.Dir, goEnv, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(w.Out, name), ownPackages[name])
			return err
		})
	if err != nil {
		return Entry{}, fmt.Errorf("build %s, which is part of the harness: %w", name, err)
	}
	f.set.Parts[name] = e
	return e, nil
}
