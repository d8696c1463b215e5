package main

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
)

func imageCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Images in a running cluster, which pulls none: no registry is reached from it",
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(imageLoadCommand(o))
	return cmd
}

func imageLoadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE...",
		Short: "Put the images of archives, as docker save writes them, into a running cluster",
		Long: "Load puts the images into every node of an embedded or kind cluster, and prints by which names pods have them. A pod whose\n" +
			"image has no version, or the version latest, needs imagePullPolicy: IfNotPresent, or Kubernetes asks a registry that is not\n" +
			"there (clusters of --profile istio-docs see to that). Containers of such images do not trust the certificates of the\n" +
			"hermetic internet; egressctl certificates has its CA.\n\n" +
			"Exit status: 0 loaded, 2 a fault, 64 wrong usage or a file that is no such archive.",
		Example: "  docker save nginx:1.29 -o nginx.tar && egressctl image load nginx.tar\n  egressctl image load --name docs nginx.tar squid.tar",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			names := map[string][]string{}
			for _, f := range files { // a mistake in the last is told before the first is loaded
				var err error
				if names[f], err = imagesIn(f); err != nil {
					return usage(err)
				}
			}
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			loader, ok := c.(cluster.Loader)
			if !ok {
				return usage(fmt.Errorf("cluster %s belongs to somebody else, and pulls its images from a registry: push them there", c.Name()))
			}
			for _, f := range files {
				if err := loader.LoadImages(cmd.Context(), f); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "cluster %s has %s\n", c.Name(), strings.Join(names[f], ", "))
			}
			return nil
		},
	}
}

// remedyForArchive is how an archive is made that can be loaded.
const remedyForArchive = "make one with docker save NAME:VERSION -o FILE, or skopeo copy SOURCE docker-archive:FILE:NAME:VERSION"

// imagesIn reads from an archive by which names pods will have its images.
func imagesIn(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		return nil, fmt.Errorf("%s is compressed: unpack it with gunzip first", file)
	}
	said, err := namesIn(in)
	if err != nil {
		return nil, fmt.Errorf("%s is no archive of images (%w): %s", file, err, remedyForArchive)
	}
	var out []string
	for _, n := range said {
		ref, err := name.ParseReference(n)
		if err != nil {
			return nil, fmt.Errorf("%s has an image of the name %q: %w", file, n, err)
		}
		if full := strings.TrimPrefix(ref.Name(), "index."); !slices.Contains(out, full) { // pods write docker.io
			out = append(out, full)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has images without a name, which no pod could ask for: %s", file, remedyForArchive)
	}
	return out, nil
}

// namesIn reads the names of the images in an archive: of Docker's list, or of an OCI index by containerd's annotation.
func namesIn(r io.Reader) ([]string, error) {
	const most = 1 << 20 // bytes of a list; they have some hundred
	var docker []struct{ RepoTags []string }
	var oci v1.IndexManifest
	lists := 0
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		into := map[string]any{"manifest.json": &docker, "index.json": &oci}[path.Clean(h.Name)]
		if into == nil {
			continue
		}
		lists++
		if err := json.NewDecoder(io.LimitReader(t, most)).Decode(into); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if lists == 0 {
		return nil, errors.New("it has neither manifest.json nor index.json")
	}
	var out []string
	for _, d := range docker {
		out = append(out, d.RepoTags...)
	}
	for _, m := range oci.Manifests {
		if n := m.Annotations["io.containerd.image.name"]; n != "" {
			out = append(out, n)
		}
	}
	return out, nil
}
