package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"mesh-egress-conformance/framework/components"
)

// Where the image has what it has. The cache is anybody's, since people choose the user that owns their kubeconfig.
const (
	programDir = "usr/local/bin"
	cacheDir   = "var/cache/egressctl"
	nobody     = "65532:65532"
)

// image writes the image archive of the tool for a target: the program, and beside it the probe agent, which is
// otherwise built with Go when it is needed. It needs no daemon. Two images, of two folders, must be the same.
func (o *options) image(ctx context.Context, t target, a, b source, work string) (string, error) {
	file := t.name(o.version) + ".image.tar"
	out, second := filepath.Join(o.out, file), filepath.Join(work, file)
	defer os.Remove(second)
	agent, err := components.AgentFile()
	if err != nil {
		return "", err
	}
	for s, to := range map[source]string{a: out, b: second} {
		built := filepath.Join(work, "agent")
		if err := t.build(ctx, s, "./framework/probe/agent", o.version, built); err != nil {
			return "", err
		}
		files := map[string]string{"egressctl": filepath.Join(o.out, t.name(o.version)), agent: built}
		if err := writeImage(t, "mesh-egress-conformance/egressctl:"+o.version, files, to); err != nil {
			return "", fmt.Errorf("write the image %s: %w", file, err)
		}
	}
	if err := same(out, second); err != nil {
		return "", fmt.Errorf("the image for %s/%s: %w", t.os, t.arch, err)
	}
	fmt.Printf("%s (twice the same)\n", file)
	return file, nil
}

// writeImage writes an archive that docker, podman, kind and containerd load; files are programs by their names.
func writeImage(t target, ref string, programs map[string]string, out string) error {
	layer, err := programLayer(programs)
	if err != nil {
		return err
	}
	blob, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, blob)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = t.os, t.arch
	config.Config = v1.Config{
		Entrypoint: []string{"/" + programDir + "/egressctl"}, User: nobody, WorkingDir: "/tmp",
		Env: []string{"PATH=/" + programDir, "HOME=/tmp", "XDG_CACHE_HOME=/" + cacheDir},
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, img)
}

// programLayer is a root file system with programs and the folders that they write to, the same for the same programs.
func programLayer(programs map[string]string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	folder := func(name string, mode int64) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: time.Unix(0, 0)})
	}
	err := errors.Join(folder("tmp", 0o1777), folder("usr", 0o755), folder("usr/local", 0o755), folder(programDir, 0o755),
		folder("var", 0o755), folder("var/cache", 0o755), folder(cacheDir, 0o1777))
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		if err != nil {
			break
		}
		err = addProgram(w, path.Join(programDir, name), programs[name])
	}
	err = errors.Join(err, w.Close()) // which writes the end of the archive
	return out.Bytes(), err
}

func addProgram(w *tar.Writer, name, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return &fs.PathError{Op: "read", Path: file, Err: io.ErrUnexpectedEOF}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(b)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
