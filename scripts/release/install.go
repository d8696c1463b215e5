package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// install demands that the go command installs the program from a proxy of files, in a folder that has nothing else; that it knows
// its version and the same cases as the program that was built of the checkout, and runs one; and that the library can be imported.
func (o *options) install(ctx context.Context, proxy, work string) error {
	empty, bin := filepath.Join(work, "empty"), filepath.Join(o.out, "installed")
	if err := errors.Join(os.MkdirAll(empty, 0o755), os.MkdirAll(bin, 0o755)); err != nil {
		return err
	}
	known, err := output(ctx, empty, nil, "go", "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		return err
	}
	cache, upstream, _ := strings.Cut(strings.TrimSpace(known), "\n")
	// A module cache of its own, in which no earlier rehearsal has left a module of this version; the user's own serves
	// as a proxy, which saves downloads.
	env := []string{
		"GOBIN=" + bin, "GOMODCACHE=" + filepath.Join(work, "modules"), "GOFLAGS=-modcacherw -trimpath", "CGO_ENABLED=0", "GOWORK=off",
		"GOPROXY=" + fileURL(proxy) + "," + fileURL(filepath.Join(cache, "cache", "download")) + "," + upstream,
		"GONOSUMDB=" + o.path, // there is no public checksum of what is not public
	}
	what := o.path + "/cmd/egressctl@" + o.version
	if _, err := output(ctx, empty, env, "go", "install", what); err != nil {
		return err
	}
	program := filepath.Join(bin, "egressctl")
	says, err := output(ctx, empty, nil, program, "version")
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(says, "\n")
	if !strings.HasPrefix(first, "egressctl "+o.version+",") || strings.Contains(first, "unknown") {
		return fmt.Errorf("what `go install %s` has made calls itself %q", what, first)
	}
	return errors.Join(o.sameCases(ctx, empty, program), o.imported(ctx, env, work), o.rehearse(ctx, program, work))
}

// sameCases compares the cases of the installed program with those of the one for this machine; without one, that there
// are cases must do.
func (o *options) sameCases(ctx context.Context, empty, program string) error {
	installed, err := output(ctx, empty, nil, program, "list")
	if err != nil {
		return err
	}
	built := filepath.Join(o.out, target{runtime.GOOS, runtime.GOARCH}.name(o.version))
	if _, err := os.Stat(built); err == nil {
		want, err := output(ctx, empty, nil, built, "list")
		if err != nil {
			return err
		}
		if installed != want {
			return fmt.Errorf("the installed program %s lists other cases than %s", program, built)
		}
	}
	lines := strings.Split(strings.TrimSpace(installed), "\n")
	fmt.Printf("go install of %s from the file proxy: %s in %s\n", o.path, lines[len(lines)-1], program)
	return nil
}

func fileURL(path string) string { return "file://" + filepath.ToSlash(path) }
