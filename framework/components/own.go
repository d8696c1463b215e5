package components

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/samples"
)

// ownPrograms are built from sources that are part of this program: file name in the build folder to
// text. They use the standard library alone, so that building them downloads nothing.
func ownPrograms() (map[string]map[string]string, error) {
	agent := map[string]string{"go.mod": "module mesh-egress-conformance\n\ngo 1.25\n"}
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

// ownPackages are the main packages of ownPrograms.
var ownPackages = map[string]string{"egresshttpbin": ".", "egressprobe": "./framework/probe/agent"}

// Agent returns the file of the probe agent, built from the source that is part of this program.
func Agent(ctx context.Context, st *Store, progress Progress) (string, error) {
	f := &fetcher{store: st, opts: Options{Progress: progress}, set: &Set{Parts: map[string]Entry{}}}
	e, err := f.own(ctx, "egressprobe")
	if err != nil {
		return "", err
	}
	return e.Path("egressprobe"), nil
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
