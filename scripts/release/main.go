// Command release makes everything that a release consists of, below one folder, and publishes nothing:
//
//	release -version v1.2.3 -out dist
//
// Programs, an image archive for each architecture, an SBOM for each program, and SHA256SUMS are made of the commit that
// is checked out. Each program and image is built twice, in two folders, and must have the same bytes. The module is laid
// into a proxy of files, under the path that it would be published by, from which `go install` must make a program that
// works in an empty folder, and a module elsewhere must import the library. docs/release.md tells a publisher what is left to do.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// options are the flags.
type options struct {
	version string // of the release, such as v1.2.3
	path    string // module path that it is published by
	out     string // folder of the results
	sbom    string // program cyclonedx-gomod
	try     bool   // run a case with the installed program
}

func main() {
	var o options
	flag.StringVar(&o.version, "version", "", "version of the release, such as v1.2.3")
	flag.StringVar(&o.path, "module", "example.com/mesh-egress-conformance", "module path to publish by: the go command installs only what has a host name there")
	flag.StringVar(&o.out, "out", "dist", "folder for the results; what an earlier release left in it is removed")
	flag.StringVar(&o.sbom, "sbom", "bin/cyclonedx-gomod", "program that writes SBOMs (make bin/cyclonedx-gomod)")
	flag.BoolVar(&o.try, "run", false, "run a case with the installed program, in an embedded cluster: root on Linux, with the component cache filled")
	here := flag.Bool("rename", false, "do nothing but rename the module of this checkout to -module; see what it did with git diff")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := o.check(flag.Args(), *here)
	switch {
	case err != nil:
	case *here:
		err = rename(ctx, ".", o.path)
	default:
		err = o.run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// check says what is wrong with the flags; to rename takes no version.
func (o *options) check(args []string, renaming bool) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: there are flags only, see -help", args[0])
	}
	if !renaming && (!semver.IsValid(o.version) || semver.Canonical(o.version) != o.version || semver.Major(o.version) > "v1") {
		return fmt.Errorf("-version %q is no version such as v1.2.3; v2 and later need a module path that ends in it", o.version)
	}
	if err := module.CheckPath(o.path); err != nil {
		return fmt.Errorf("-module: %w: the go command takes a module from elsewhere only by a path that begins with a host name", err)
	}
	for _, p := range []*string{&o.out, &o.sbom} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// run makes all of it, in folders of its own that are removed at the end.
func (o *options) run(ctx context.Context) error {
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	src, err := checkout(ctx, filepath.Join(work, "a"))
	if err != nil {
		return err
	}
	again := src
	again.dir = filepath.Join(work, "another", "folder", "with-a-longer-name")
	if err := src.copyTo(again.dir); err != nil {
		return err
	}
	if err := emptied(o.out); err != nil {
		return err
	}
	fmt.Printf("%s of commit %s\n", o.version, src.commit)
	made, err := o.artefacts(ctx, src, again, work)
	if err != nil {
		return err
	}
	proxy := filepath.Join(o.out, "proxy")
	if err := publish(src, module.Version{Path: o.path, Version: o.version}, proxy); err != nil {
		return err
	}
	if err := o.install(ctx, proxy, work); err != nil {
		return err
	}
	return writeSums(o.out, made)
}

// artefacts makes what people download, and returns the names of the files in the folder of the results.
func (o *options) artefacts(ctx context.Context, src, again source, work string) ([]string, error) {
	var made []string
	for _, t := range targets {
		program := t.name(o.version)
		if err := twice(ctx, t, o.version, src, again, filepath.Join(o.out, program)); err != nil {
			return nil, err
		}
		bom := program + ".cdx.json"
		if err := o.writeSBOM(ctx, filepath.Join(o.out, program), filepath.Join(o.out, bom)); err != nil {
			return nil, err
		}
		made = append(made, program, bom)
		if t.os != "linux" {
			continue
		}
		image, err := o.image(ctx, t, src, again, work)
		if err != nil {
			return nil, err
		}
		made = append(made, image)
	}
	return made, nil
}

// output runs a command and returns what it prints; a failure has what it has said.
func output(ctx context.Context, dir string, env []string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s in %s: %w\n%s%s", strings.Join(argv, " "), dir, err, out, said.String())
	}
	return string(out), nil
}
