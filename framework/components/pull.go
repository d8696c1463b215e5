package components

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryTimeout is how long a registry may take to answer before auto falls back to building.
const registryTimeout = 4 * time.Second

// Mirrored rewrites an official image or repository name to the same one on a mirror; "" mirrors nothing.
func Mirrored(hub, ref string) string {
	if hub == "" {
		return ref
	}
	_, repo, ok := strings.Cut(ref, "/")
	if !ok {
		repo = ref
	}
	return strings.TrimSuffix(hub, "/") + "/" + repo
}

func registryAnswers(ctx context.Context, hub, ref string) bool {
	r, err := name.ParseReference(Mirrored(hub, ref))
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	_, err = remote.Head(r, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	return err == nil
}

func pull(ctx context.Context, hub, ref string) (v1.Image, error) {
	r, err := name.ParseReference(Mirrored(hub, ref))
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", ref, err)
	}
	img, err := remote.Image(r, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: goarch}))
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", r, err)
	}
	return img, nil
}

// pullFiles takes single files out of images.
func pullFiles(ctx context.Context, hub string, files []ImageFile, dir string) error {
	for _, f := range files {
		img, err := pull(ctx, hub, f.Ref)
		if err != nil {
			return err
		}
		if err := extractFile(img, f.Path, filepath.Join(dir, path.Base(f.Path))); err != nil {
			return fmt.Errorf("take %s out of %s: %w", f.Path, f.Ref, err)
		}
	}
	return nil
}

// extractFile reads the flattened file system of an image up to one file.
func extractFile(img v1.Image, file, out string) error {
	rc := mutate.Extract(img)
	defer rc.Close()
	r := tar.NewReader(rc)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("no such file in the image: %w", os.ErrNotExist)
		}
		if err != nil {
			return fmt.Errorf("read the image: %w", err)
		}
		if strings.TrimPrefix(path.Clean("/"+h.Name), "/") != file || h.Typeflag != tar.TypeReg {
			continue
		}
		return writeFile(out, r, 0o755)
	}
}

// pullArchive pulls an official image, appends the trust layer and saves it under its official name.
func pullArchive(ctx context.Context, hub string, s imageSpec, out string) error {
	img, err := pull(ctx, hub, s.refs[0])
	if err != nil {
		return err
	}
	layer, err := trustLayer(s.trust)
	if err != nil {
		return err
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return fmt.Errorf("append the trust layer to %s: %w", s.refs[0], err)
	}
	return saveArchive(img, s.refs, out)
}
