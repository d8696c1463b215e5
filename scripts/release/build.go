package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// target is what a program runs on.
type target struct{ os, arch string }

// targets of a release. Clusters run on Linux; on macOS the program uses kind or an existing cluster.
var targets = []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// name of a file for the target.
func (t target) name(version string) string {
	return strings.Join([]string{"egressctl", version, t.os, t.arch}, "_")
}

// build builds a package of the source for the target. Nothing of the machine gets into the program: neither folders nor
// what git says of them; version and commit are told.
func (t target) build(ctx context.Context, s source, pkg, version, out string) error {
	env := []string{"CGO_ENABLED=0", "GOOS=" + t.os, "GOARCH=" + t.arch, "GOFLAGS=", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT="}
	link := "-s -w -X main.version=" + version + " -X main.commit=" + s.commit
	_, err := output(ctx, s.dir, env, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", link, "-o", out, pkg)
	return err
}

// twice builds egressctl in two folders and demands the same bytes.
func twice(ctx context.Context, t target, version string, a, b source, out string) error {
	second := out + ".again"
	defer os.Remove(second)
	if err := t.build(ctx, a, "./cmd/egressctl", version, out); err != nil {
		return err
	}
	if err := t.build(ctx, b, "./cmd/egressctl", version, second); err != nil {
		return err
	}
	if err := same(out, second); err != nil {
		return fmt.Errorf("egressctl for %s/%s, built in %s and in %s: %w", t.os, t.arch, a.dir, b.dir, err)
	}
	sum, err := digest(out)
	fmt.Printf("%s  %s (twice the same)\n", sum, filepath.Base(out))
	return err
}

// same says where two files differ first.
func same(a, b string) error {
	x, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	y, err := os.ReadFile(b)
	if err != nil {
		return err
	}
	if bytes.Equal(x, y) {
		return nil
	}
	at := 0
	for at < min(len(x), len(y)) && x[at] == y[at] {
		at++
	}
	return fmt.Errorf("the build is not reproducible: %d and %d bytes, which differ first at byte %d", len(x), len(y), at)
}

func digest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// writeSums writes SHA256SUMS of the files, as sha256sum -c reads it.
func writeSums(dir string, files []string) error {
	if len(files) == 0 {
		return errors.New("there is nothing to write the checksums of")
	}
	var text strings.Builder
	for _, name := range slices.Sorted(slices.Values(files)) {
		sum, err := digest(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, name)
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(text.String()), 0o644)
}
