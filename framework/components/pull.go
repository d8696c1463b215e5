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

// pull fetches an image and checks its digest: against the pin if there is one, else against what this cache
// recorded when it first pulled from that place. It returns the record to keep.
func (s *Store) pull(ctx context.Context, hub, ref, pin string) (v1.Image, Origin, error) {
	at := Mirrored(hub, ref)
	o := Origin{Kind: "image", Name: at, Checked: byFirstPull}
	want, where := pin, "the component catalogue"
	if pin != "" {
		o.Checked = byCatalogue
	} else {
		var err error
		if want, where, err = s.firstPull(at); err != nil {
			return nil, o, err
		}
	}
	// By digest wherever one is known, so that a tag that has moved since does no harm.
	name, err := name.ParseReference(withDigest(at, want))
	if err != nil {
		return nil, o, fmt.Errorf("image name %q: %w", at, err)
	}
	desc, err := remote.Get(name, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: goarch}))
	if err != nil {
		err = fmt.Errorf("pull %s: %w", name, err)
		if want != "" {
			err = fmt.Errorf("%w\n(the digest is that of %s; where the registry has the tag with another digest, the image was replaced or tampered with)", err, where)
		}
		return nil, o, err
	}
	o.Digest = desc.Digest.String()
	if want != "" && o.Digest != want {
		return nil, o, fmt.Errorf("%w: %s is %s, expected %s of %s", ErrPin, at, o.Digest, want, where)
	}
	img, err := desc.Image()
	if err != nil {
		return nil, o, fmt.Errorf("pull %s: %w", name, err)
	}
	return img, o, nil
}

// withDigest adds a digest to an image name; "" adds none.
func withDigest(ref, digest string) string {
	if digest == "" {
		return ref
	}
	return ref + "@" + digest
}

// firstPull is the digest that an image had when it was first pulled into this cache, and the entry that says so;
// "" when it never was.
func (s *Store) firstPull(at string) (digest, where string, err error) {
	entries, err := s.Entries()
	if err != nil {
		return "", "", err
	}
	var oldest time.Time
	for _, e := range entries {
		for _, o := range e.Manifest.Origins {
			if o.Kind == "image" && o.Name == at && (digest == "" || e.Manifest.Created.Before(oldest)) {
				digest, where, oldest = o.Digest, "the first pull, recorded in "+e.Path(manifestFile), e.Manifest.Created
			}
		}
	}
	return digest, where, nil
}

// pullFiles takes single files out of images.
func pullFiles(ctx context.Context, hub string, files []ImageFile, w *Work) error {
	for _, f := range files {
		img, from, err := w.store.pull(ctx, hub, f.Ref, f.Digest)
		if err != nil {
			return err
		}
		w.came(from)
		if err := extractFile(img, f.Path, filepath.Join(w.Out, path.Base(f.Path))); err != nil {
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
func pullArchive(ctx context.Context, hub string, s imageSpec, w *Work) error {
	img, from, err := w.store.pull(ctx, hub, s.refs[0], s.digest)
	if err != nil {
		return err
	}
	w.came(from)
	layer, err := trustLayer(s.trust)
	if err != nil {
		return err
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return fmt.Errorf("append the trust layer to %s: %w", s.refs[0], err)
	}
	return saveArchive(img, s.refs, filepath.Join(w.Out, ImageArchive))
}
