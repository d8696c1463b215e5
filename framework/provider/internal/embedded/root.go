//go:build linux

package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/lockfile"
)

// bakedRoot returns a containerd root folder in which the set's images are unpacked and in which
// nothing ever ran, made once for each set of images. A used root would bring dead sandboxes back.
func (p *Provider) bakedRoot(ctx context.Context, set *components.Set) (string, error) {
	key := rootKey(set)
	dir := filepath.Join(p.home.store.Root, "roots", key)
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return filepath.Join(dir, "containerd"), nil
	}
	lock, err := waitLock(ctx, filepath.Join(p.home.store.Root, "roots", key+".lock"))
	if err != nil {
		return "", fmt.Errorf("wait for another run that unpacks the images: %w", err)
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return filepath.Join(dir, "containerd"), nil
	}
	if err := p.bake(ctx, set, dir, lock); err != nil {
		return "", errors.Join(fmt.Errorf("unpack the images: %w", err), os.RemoveAll(dir))
	}
	return filepath.Join(dir, "containerd"), nil
}

func (p *Provider) bake(ctx context.Context, set *components.Set, dir string, lock *os.File) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	s := &spec{Name: "bake", Dir: dir, Mode: modeBake, Root: filepath.Join(dir, "containerd"), Pause: components.PauseImage, Parts: partDirs(set), Created: time.Now()}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return err
	}
	s.Hosts = hosts
	for _, n := range sortedKeys(set.Images) {
		s.Images = append(s.Images, set.Images[n].Path(components.ImageArchive))
	}
	h, err := launch(s, lock)
	if err != nil {
		return err
	}
	defer h.lifeline.Close()
	if err := h.await(ctx, "gone"); err != nil {
		return errors.Join(err, h.end(context.WithoutCancel(ctx)))
	}
	return touch(filepath.Join(dir, "complete"))
}

// Prune removes the unpacked roots of image archives that are no longer in the cache, and those that
// were never completed. Clusters that came from one keep their files: they are hard links.
func (p *Provider) Prune() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(p.home.store.Root, "roots", "*", "logs"))
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, logs := range dirs {
		dir := filepath.Dir(logs)
		if rootInUse(dir) {
			continue
		}
		lock, err := takeLock(dir + ".lock")
		if errors.Is(err, lockfile.ErrHeld) {
			continue // it is being made
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(dir), lock.Close())
		}
		if err != nil {
			return removed, fmt.Errorf("remove the unpacked images %s: %w", dir, err)
		}
		removed = append(removed, dir)
	}
	return removed, nil
}

func rootInUse(dir string) bool {
	s, err := readSpec(dir)
	if err != nil {
		return false
	}
	for _, f := range append(slices.Clone(s.Images), filepath.Join(dir, "complete")) {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func rootKey(set *components.Set) string {
	h := sha256.New()
	fmt.Fprintln(h, "containerd", set.Parts["containerd"].Manifest.Key)
	for _, n := range sortedKeys(set.Images) {
		fmt.Fprintln(h, n, set.Images[n].Manifest.Digest())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := takeLock(path)
		if !errors.Is(err, lockfile.ErrHeld) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// copyRoot makes a cluster's own containerd root: files are hard links, except the databases that
// containerd writes in place. Unpacked image layers are never written to by containers.
func copyRoot(src, dst string) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			st, err := d.Info()
			if err != nil {
				return err
			}
			return makeDirLike(to, st)
		case strings.HasSuffix(p, ".db"):
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(to, b, 0o600)
		}
		return os.Link(p, to)
	})
}

// makeDirLike keeps mode (sticky bit included) whatever the umask.
func makeDirLike(path string, like fs.FileInfo) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, like.Mode().Perm()|like.Mode()&(fs.ModeSticky|fs.ModeSetgid))
}
