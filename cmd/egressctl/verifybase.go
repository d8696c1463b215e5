package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/verify"
)

// former reads what PATHS and flags name as it was at the commit of --base: the files with mesh settings and values, too.
func (v *verifyFlags) former(ctx context.Context, args []string) (*judged, error) {
	b := &beside{ctx: ctx, commit: v.base}
	read := v.read
	read.Values = slices.DeleteFunc(slices.Clone(v.read.Values), func(file string) bool { return !b.had(file) })
	read.File = func(file string) ([]byte, error) {
		text, _, err := b.read(file)
		return text, err
	}
	set, err := manifest.ReadAt(ctx, v.base, args, read)
	if err != nil {
		return nil, err
	}
	o := verify.ModelOptions{Namespace: v.read.Namespace}
	if v.meshConfig != "" && b.had(v.meshConfig) {
		text, name, err := b.read(v.meshConfig)
		if err == nil {
			o.MeshConfig, err = parseSettings(name, text)
		}
		if err != nil {
			return nil, fmt.Errorf("read the mesh settings: %w", err)
		}
	}
	out := v.version(set, o)
	out.model.Mistakes = append(out.model.Mistakes, b.mistakes...)
	out.notices = b.notices
	return &out, nil
}

// beside reads the files beside the objects as they were at a commit.
type beside struct {
	ctx      context.Context //nolint:containedctx // of one call of former
	commit   string
	mistakes input.Mistakes
	notices  input.Mistakes
}

// read is a file then, and what messages call it; one without a history is the same then.
func (b *beside) read(file string) ([]byte, string, error) {
	text, name, err := manifest.FileAt(b.ctx, b.commit, file)
	if errors.Is(err, manifest.ErrNoHistory) {
		text, err = input.ReadFile(file, input.MaxFile)
		return text, file, err
	}
	return text, name, err
}

// had says whether there was a file then, and notes what a reader must know of it.
func (b *beside) had(file string) bool {
	_, _, err := manifest.FileAt(b.ctx, b.commit, file)
	switch {
	case errors.Is(err, manifest.ErrNoHistory):
		b.mistakes = append(b.mistakes, input.Mistake{File: file, What: fmt.Sprintf("it is in no Git repository, so %s is asked with what it says now", b.commit)})
	case errors.Is(err, fs.ErrNotExist):
		b.notices = append(b.notices, input.Mistake{File: file, What: fmt.Sprintf("%s does not have it, and is asked without", b.commit)})
		return false
	}
	return true
}
